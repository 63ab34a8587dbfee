"""Weights, losses and provenance read back from a record."""

import json
import textwrap
from pathlib import Path

import torch

from benchmark.records.files import ResultsError
from benchmark.trial.finite import DivergedError, not_finite
from methods.shared.method import Method


def load_record(record: Path, method: Method, device: torch.device) -> tuple[str, dict]:
    """Give `method` the weights of a record; returns its history and provenance."""
    load_weights(record, method, device)
    try:
        history = (record / "history.csv").read_text(encoding="utf-8")
        return history, dict(json.loads((record / "provenance.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(record, error) from error


def load_weights(record: Path, method: Method, device: torch.device) -> None:
    """Give `method` the weights of a record. Raises ResultsError, or DivergedError if they are not finite."""
    began_infinite = not_finite(method.state_dict())
    try:
        # weights_only: a pickle can run anything, and records are passed on
        method.load_state_dict(torch.load(record / "weights.pt", map_location=device, weights_only=True))
    except Exception as error:  # garbage makes torch.load raise nearly anything
        raise _unreadable(record, error) from error
    loaded = method.state_dict()
    if bad := [name for name in not_finite(loaded) if name not in began_infinite]:
        raise DivergedError(
            f"{len(bad)} of {len(loaded)} tensors in {record / 'weights.pt'} are not finite: remove {record} and "
            "`run` trains it again"
        )


def _unreadable(record: Path, error: Exception) -> ResultsError:
    reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
    return ResultsError(f"{record} cannot be read, remove it to train the trial again ({reason})")
