"""Hashes of the code that decides numbers, so that a result of changed code is noticed and neither reused nor lost."""

import ast
import hashlib
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from benchmark.cluster import plugin_files

PACKAGES = ("benchmark", "data", "methods")

# Everything a trial's weights pass through, the method's own file aside ...
TRAINING = (
    "data/augment.py", "data/batches.py", "data/randomness.py", "data/resample.py",
    "methods/shared/ema.py", "methods/shared/losses.py", "methods/shared/method.py", "methods/shared/noise.py",
    "methods/shared/schedules.py",
    "methods/shared/signed_distance.py", "methods/shared/networks/autocast.py",
    "methods/shared/networks/discriminators.py",
    "methods/shared/networks/heads.py", "methods/shared/networks/vnet.py", "benchmark/trial/training.py",
)  # fmt: skip
# ... and then its figures: when one of these changes, stored weights are scored again.
SCORING = ("benchmark/trial/inference.py", "benchmark/trial/metrics.py", "benchmark/trial/scoring.py")
# (file, hash of an earlier version, hash of the one after it) where both give every record there is the same numbers:
# such a record stays current, until the file changes again. Each says why, and was seen by training with both.
SAME_NUMBERS = {
    ("benchmark/trial/training.py", "42280a69ac6c", "b7cbf80cbf1a"): "fp16 on a GPU alone, of which there is no record",
    ("methods/bcp.py", "7ddf13589714", "966a7c9a335e"): "a batch size is refused that ended in an error",
    ("methods/ict.py", "74c57b146b46", "bed29807aae1"): "a batch size is refused that ended in an error",
}


def code_fingerprint(method_file: str) -> dict[str, str]:
    """A short hash a file: of the fixed lists above, and of the method's, as `name_of` gives it; of masks that were
    made elsewhere, which have no method, of what scores them."""
    if not method_file:
        return {file: _hash(path_of(file)) for file in SCORING}
    return {file: _hash(path_of(file)) for file in (*TRAINING, *SCORING, method_file)}


def name_of(path: Path) -> str:
    """A built-in method's file by its package, so that a moved checkout is the same code; a plug-in's absolute path."""
    package = path_of("methods/")
    return f"methods/{path.relative_to(package)}" if path.is_relative_to(package) else str(path)


def path_of(file: str) -> Path:
    """Where a file lies on this machine. On a cluster each package has a place of its own."""
    path = plugin_files.here(file)
    if path.is_absolute() or path.parts[0] not in PACKAGES:
        return path
    return Path(find_spec(path.parts[0]).submodule_search_locations[0]).resolve().joinpath(*path.parts[1:])


def training_fingerprint(method_file: str) -> dict[str, str]:
    """The part that decides weights."""
    return {file: hash_ for file, hash_ in code_fingerprint(method_file).items() if file not in SCORING}


def changed_files(recorded: dict[str, str], method_file: str) -> list[str]:
    """Files whose meaning differs from what a record was made with, in order; new and vanished ones included."""
    current = code_fingerprint(method_file)
    return [
        file
        for file in current | recorded
        if (old := recorded.get(file)) != (new := current.get(file)) and (file, old, new) not in SAME_NUMBERS
    ]


@cache
def _hash(path: Path) -> str:
    """Of the syntax tree without docstrings: comments and formatting do not count. A missing file hashes as such."""
    if not path.is_file():
        return "missing"
    source = path.read_bytes()
    try:
        tree = ast.parse(source)
    except SyntaxError:  # being edited at this moment: different from whatever ran
        return hashlib.sha256(source).hexdigest()[:12]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return hashlib.sha256(_text(tree).encode()).hexdigest()[:12]


def _text(tree: ast.AST) -> str:
    """The tree as Python 3.11 writes it. 3.12 knows of type parameters, and 3.13 leaves out what is empty: without this
    every record would be stale on another Python."""
    whole = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(tree, **whole).replace(", type_params=[]", "")
