"""Weights that networks begin with: a file that an experiment names, known by the hash of its content.

The path is not part of a trial's id, the hash is. A run copies the file into its results folder, which every machine of
a cluster sees. So a folder can be continued and evaluated wherever the file was.
"""

import hashlib
import io
import os
from pathlib import Path

import torch
from torch import Tensor

from benchmark.planning.experiment import Execution, Experiment, ExperimentError
from benchmark.records.files import write_atomically
from benchmark.records.results_folder import ResultsFolder
from methods.shared.method import Method
from methods.shared.networks.network import SegmentationNetwork

HASH = "sha256:"
FOLDER = "pretrained"  # of a results folder


def resolved(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with the hash of its weights in place of their path, which moves to `execution`.

    Args:
        experiment: as it was read.
        folder: of the experiment file, to which the path is relative.

    Raises:
        ExperimentError: the file cannot be read.
    """
    given = experiment.training.pretrained
    if given is None or given.startswith(HASH):
        return experiment
    path = os.path.realpath(folder / os.path.expanduser(given))
    training = experiment.training.model_copy(update={"pretrained": _hash_of(_read(Path(path)))})
    execution = experiment.execution.model_copy(update={"pretrained_file": path})
    return experiment.model_copy(update={"training": training, "execution": execution})


def keep(experiment: Experiment, results: ResultsFolder) -> None:
    """Copy the file of weights into the results folder, unless it is there.

    Raises:
        ExperimentError: the file has changed since the experiment was read, or is gone.
    """
    if (wanted := experiment.training.pretrained) is None or (kept := _kept(results, wanted)).exists():
        return
    content = _read(Path(experiment.execution.pretrained_file))
    if _hash_of(content) != wanted:
        raise ExperimentError(f"training.pretrained: {experiment.execution.pretrained_file} has changed: restore it")
    kept.parent.mkdir(exist_ok=True)
    write_atomically(kept, lambda partial: partial.write_bytes(content))


def load_pretrained(method: Method, wanted: str | None, results: ResultsFolder, execution: Execution) -> str:
    """Give the encoder and decoders of every network of a method the weights of the file. Heads stay as they are.

    Args:
        method: freshly built.
        wanted: the hash in `training.pretrained`; None: nothing is done.
        results: which holds the copy.
        execution: which knows the original.

    Returns:
        What was loaded, in one line; "" if nothing was to be.

    Raises:
        ExperimentError: the file has other weights than the network.
    """
    if wanted is None:
        return ""
    kept = _kept(results, wanted)
    path = kept if kept.exists() else Path(execution.pretrained_file)
    content = _read(path)
    if _hash_of(content) != wanted:
        raise ExperimentError(f"training.pretrained: {path} has changed since the experiment was planned: restore it")
    found = _weights_in(content, path)
    counts = [_load(network, found, path) for network in method.modules() if isinstance(network, SegmentationNetwork)]
    return f"{len(counts)} networks begin with {counts[0]} tensors of {path.name}" if counts else ""


def _load(network: SegmentationNetwork, found: dict[str, Tensor], path: Path) -> int:
    """The number of tensors loaded. A missing decoder stays as it was drawn; the encoder must be whole."""
    state = network.state_dict()
    trunk = [key for key in state if key.startswith(("encoder.", "decoders."))]
    fitting = {key: found[key] for key in trunk if key in found and found[key].shape == state[key].shape}
    lacking = [key for key in trunk if key.startswith("encoder.") and key not in fitting]
    if lacking or not fitting:
        raise ExperimentError(
            f"training.pretrained: {path} has no {(lacking or trunk)[0]} of the network's shape: give weights of the "
            "same network, width and channels"
        )
    network.load_state_dict(state | fitting)
    return len(fitting)


def _weights_in(content: bytes, path: Path) -> dict[str, Tensor]:
    """Tensors by the names that a network has: of a network's state_dict, or of the first network of a record's."""
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)  # a pickle could run anything
        names = [key for key, value in state.items() if isinstance(value, Tensor)]
    except Exception as error:  # garbage makes torch.load raise nearly anything
        raise ExperimentError(f"training.pretrained: {path} is no file of weights that torch can read") from error
    begins = [key.partition("encoder.")[0] for key in names if "encoder." in key]
    prefix = begins[0] if begins else ""
    return {key.removeprefix(prefix): state[key] for key in names if key.startswith(prefix)}


def _kept(results: ResultsFolder, wanted: str) -> Path:
    return results.folder / FOLDER / f"{wanted.removeprefix(HASH)[:16]}.pt"


def _hash_of(content: bytes) -> str:
    return HASH + hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExperimentError(f"training.pretrained: {path} cannot be read: {error.strerror or error}") from error
