"""Two steps and one window of a trial: does it run, and what does it need of a GPU?"""

import gc
import time

import torch

from benchmark.planning.experiment import Execution
from benchmark.trial.scoring import predict_labels, score_case
from benchmark.trial.setup import set_up
from benchmark.trial.specification import Trial
from benchmark.trial.training import initial_state, make_stream, train

NOT_MEASURED = (0, 0)  # bytes that a trial needs of a GPU, and bytes that the GPU has


def smoke_test(trial: Trial, execution: Execution) -> float:
    """Two training steps and one window of inference, leaving nothing; returns the seconds of the second step."""
    device, dataset, method = set_up(trial, execution)
    training = trial.training
    state = initial_state(method, training)
    stream = make_stream(method, dataset, trial.labelled, trial.unlabelled, training, trial.seed)
    steps = train(state, stream, training, trial.seed, device, data_workers=0)
    next(steps)
    begin = time.perf_counter()
    next(steps, None)
    state.flush()
    seconds = time.perf_counter() - begin
    steps.close()
    method.eval()
    case_id = trial.test[0]
    labels = predict_labels(method, dataset, case_id, training, trial.evaluation, window_batch=1, max_windows=1)
    score_case(labels, dataset.native(case_id), dataset.classes, trial.evaluation)
    return seconds


def memory_needs(trials: list[Trial], execution: Execution) -> list[tuple[int, int]]:
    """For each trial the bytes of the GPU that are taken after two steps and one window, CUDA's own included, and those
    it has; NOT_MEASURED where there is no CUDA, or the trial does not run: it will say why itself."""
    needs = []
    for trial in trials:
        try:
            smoke_test(trial, execution)
            # The allocator gives nothing back meanwhile, so that what is taken now was taken at the peak, too.
            free, total = torch.cuda.mem_get_info() if torch.cuda.is_available() else NOT_MEASURED
            needs.append((total - free, total))
        except Exception:
            needs.append(NOT_MEASURED)
        gc.collect()
        torch.cuda.empty_cache()
    return needs
