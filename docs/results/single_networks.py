"""Dice of every network inside the stored weights of a results folder: python docs/results/single_networks.py RESULTS

A teacher beside its student, a distance network beside its segmenter, one decoder beside the other. On the training
grid, with windows half a patch apart and no component removed: quicker than the evaluation, and lower.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmark.planning.experiment_file import load_stored_experiment
from benchmark.records.models import EXTERNAL
from benchmark.records.protocol import Training
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial.inference import predict_volume
from benchmark.trial.process_state import configure_torch
from benchmark.trial.training import build_method
from data.cache import Dataset, prepare
from methods.shared import registry
from methods.shared.method import Method
from methods.shared.networks.vnet import VNet, VNetOutput
from methods.shared.signed_distance import distance_to_mask


def main(folder: str) -> None:
    results = ResultsFolder(folder)
    experiment = load_stored_experiment(results.experiment_file)
    configure_torch(experiment.training)
    dataset = prepare(experiment.data)
    for cell in results.read_plan().cells:
        if cell.method == EXTERNAL or results.finished_record(cell.trial) is None:
            continue
        settings = registry.settings_of(cell.method, cell.settings)
        method = build_method(
            cell.method, settings, experiment.training, dataset.classes, 0, torch.device("cpu")
        ).eval()
        method.load_state_dict(torch.load(results.record(cell.trial) / "weights.pt", weights_only=True))
        for name, predict in networks(method):
            score = 100 * np.mean([dice(predict, dataset, case, experiment.training) for case in dataset.test_ids])
            print(f"{cell.display}, {cell.labelled} labelled, {name}: {score:.1f}", flush=True)


def networks(method: Method) -> Iterator[tuple[str, Callable]]:
    for name, network in method.named_modules():
        if isinstance(network, VNet):
            for i in range(len(network.decoders)):
                yield f"{name}, decoder {i}", lambda x, network=network, i=i: mask(network.forward_decoders(x)[i])


def mask(output: VNetOutput) -> torch.Tensor:
    return distance_to_mask(output.signed_distance) if output.logits is None else output.logits.sigmoid()


def dice(predict: Callable, dataset: Dataset, case: str, training: Training) -> float:
    image, label = dataset.image(case), dataset.label(case)
    stride = tuple(size // 2 for size in training.patch)
    probabilities = predict_volume(predict, image, dataset.classes, training.patch, stride, 8, torch.device("cpu"))
    predicted, truth = probabilities.max(0) > 0.5, label > 0
    return 2 * (predicted & truth).sum() / max(1, predicted.sum() + truth.sum())


if __name__ == "__main__":
    main(sys.argv[1])
