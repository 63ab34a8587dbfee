"""How long a plan will take, roughly: from the V-Net's operations and this machine's matrix-multiplication rate."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.planning.experiment import Experiment
from benchmark.trial.setup import choose_device
from benchmark.trial.specification import Trial
from benchmark.trial.training import AMP_DTYPES
from methods.shared.networks.autocast import CPU_HAS_BF16
from methods.shared.networks.vnet import VNet

EFFICIENCY = 0.45  # of the matmul rate that a V-Net step reaches; between 0.3 (8 filters) and 0.65 (16, large patches)


def seconds_of_training(trials: list[Trial], experiment: Experiment) -> float:
    """Seconds to train all trials one after another on this machine's device, evaluation left out."""
    device = choose_device(experiment.execution.device)
    rate = EFFICIENCY * _matmul_rate(device, experiment)
    return sum(trial.cost for trial in trials) * 3 * _forward_operations(experiment) / rate


def _forward_operations(experiment: Experiment) -> int:
    """Floating-point operations of one patch's forward pass; a pass with gradient has three times as many."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        VNet(width=experiment.training.width).eval()(torch.empty(1, 1, *experiment.training.patch))
    return counter.get_total_flops()


def _matmul_rate(device: torch.device, experiment: Experiment) -> float:
    """Operations a second of a matrix multiplication in the precision that the experiment's convolutions are computed
    in here, and in its threads."""
    on_cpu = device.type == "cpu"
    size = 1024 if on_cpu else 8192
    torch.set_num_threads(experiment.training.threads)
    dtype = AMP_DTYPES[experiment.training.precision] or torch.float32
    if on_cpu and not CPU_HAS_BF16:
        dtype = torch.float32
    a = torch.randn(size, size, device=device, dtype=dtype)
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        (a @ a).sum().item()
        rates.append(2 * size**3 / (time.perf_counter() - start))
    return max(rates)
