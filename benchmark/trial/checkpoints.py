"""Checkpoints of a training: a corrupt one never costs more than the steps since its predecessor."""

import zipfile
from pathlib import Path

import torch

from benchmark.records.files import write_atomically
from benchmark.records.selection import missing_weights
from benchmark.trial.training import TrainingState

CHECKPOINT_FORMAT = 2


def save_checkpoint(state: TrainingState, folder: Path, numerics: dict) -> None:
    """Write checkpoint-<step>.pt and remove all but the two written last: a corrupt one has a predecessor.

    Args:
        state: the training.
        folder: where checkpoints lie.
        numerics: versions that decide weights (`Numerics.of_weights`): other versions start anew.

    Raises:
        DivergedError: a loss, a weight or an optimiser's state is not finite. The checkpoints stay as they are.
    """
    state.flush()
    state.check_finite()
    content = {
        "format": CHECKPOINT_FORMAT,
        "numerics": numerics,
        "step": state.step,
        "method": state.method.state_dict(),
        "scaler": state.scaler.state_dict(),
        "optimizers": {phase: optimizer.state_dict() for phase, optimizer in state.optimizers.items()},
        "history": state.history,
    }
    write_atomically(folder / f"checkpoint-{state.step:08d}.pt", lambda partial: torch.save(content, partial))
    written = sorted(_checkpoints(folder), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for old in written[2:]:
        old.unlink(missing_ok=True)


def load_checkpoint(state: TrainingState, folder: Path, numerics: dict, stored_every: int | None = None) -> None:
    """Bring `state` to the newest readable checkpoint of the same numerics in `folder`; with none it stays as it is.

    `stored_every`: of `evaluation.checkpoints`. A training that lacks stored weights of before is not continued.
    """
    for path in sorted(_checkpoints(folder), reverse=True):
        content = _read_checkpoint(path)
        if (content.get("format"), content.get("numerics")) != (CHECKPOINT_FORMAT, numerics):
            continue
        if not _fits(content, state) or missing_weights(folder, stored_every, content["step"]):
            continue
        state.method.load_state_dict(content["method"])
        for phase, optimizer in state.optimizers.items():
            optimizer.load_state_dict(content["optimizers"][phase])
        if state.scaler.is_enabled():
            state.scaler.load_state_dict(content["scaler"])
        state.step, state.history = content["step"], content["history"]
        return


def _fits(content: dict, state: TrainingState) -> bool:
    """Whether a checkpoint has all that `load_checkpoint` takes, of the right shapes: half of one must not be taken."""
    try:
        return (
            isinstance(content["step"], int)
            and content["step"] == len(content["history"]) > 0
            and all(_is_row(row) for row in content["history"])
            and _shapes(content["method"]) == _shapes(state.method.state_dict())
            and content["optimizers"].keys() == state.optimizers.keys()
            and all(_optimizer_fits(content["optimizers"][phase], own) for phase, own in state.optimizers.items())
            and (not state.scaler.is_enabled() or content["scaler"].keys() == state.scaler.state_dict().keys())
        )
    except (AttributeError, KeyError, TypeError, IndexError):
        return False


def _is_row(row: dict) -> bool:
    return "seconds" in row and all(isinstance(value, int | float) for value in row.values())


def _shapes(state: dict) -> dict:
    """Shapes of tensors by name; None for what a method keeps besides."""
    return {name: getattr(value, "shape", None) for name, value in state.items()}


def _optimizer_fits(stored: dict, optimizer: torch.optim.Optimizer) -> bool:
    own = optimizer.state_dict()
    groups, own_groups = ([(group["params"], group.keys()) for group in part["param_groups"]] for part in (stored, own))
    return groups == own_groups and isinstance(stored["state"], dict)


def _read_checkpoint(path: Path) -> dict:
    """What the file holds, or nothing if it is damaged anywhere."""
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None  # torch.load does not look at the checksums that torch.save writes
        # To the CPU: load_state_dict copies to where each tensor belongs, and Adam's step counts belong on the CPU.
        content = torch.load(path, map_location="cpu", weights_only=True) if whole else {}
    except Exception:  # garbage makes torch.load raise nearly anything
        return {}
    return content if isinstance(content, dict) else {}


def _checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob("checkpoint-*.pt"))
