"""Hashes of source code that ignore comments and formatting, and the files that a plug-in consists of."""

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path

from methods.shared.plugin_imports import find_helpers

CHECKOUT = Path(__file__).resolve().parents[2]


def path_of(method_file: str) -> Path:
    """Where a method's file lies: built-in ones are named relative to the checkout, plug-ins absolutely."""
    return CHECKOUT / method_file


def name_of(path: Path) -> str:
    """The inverse of `path_of`: a moved checkout is the same code."""
    return path.relative_to(CHECKOUT).as_posix() if path.is_relative_to(CHECKOUT / "methods") else str(path)


def plugin_files(plugin: Path) -> dict[str, Path]:
    """A plug-in and every helper module that lies beside it and that it imports, directly or through another.

    Args:
        plugin: the file that registers a method.

    Returns:
        Files by their path relative to the plug-in's folder, the plug-in first. A package counts with all its modules.
    """
    files = [plugin]
    for helper in find_helpers(plugin).values() if is_file(plugin) else ():
        files += sorted(helper.rglob("*.py")) if helper.is_dir() else [helper]
    return {file.relative_to(plugin.parent).as_posix(): file for file in files}


def is_file(path: Path) -> bool:
    """As `Path.is_file`, which raises where a name is longer than a file system takes or its folder is closed."""
    try:
        return path.is_file()
    except OSError:
        return False


def source_hash(path: Path) -> str:
    """Twelve hex digits of a file's syntax tree without docstrings: comments and formatting do not count.

    A missing file hashes as "missing"; one with a syntax error by its bytes.
    """
    if not is_file(path):
        return "missing"
    return _source_hash(path, path.stat().st_mtime_ns)


@cache
def _source_hash(path: Path, modified: int) -> str:
    source = path.read_bytes()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return hashlib.sha256(source).hexdigest()[:12]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _docstring(node):
            node.body = node.body[1:]
    return hashlib.sha256(_text(tree).encode()).hexdigest()[:12]


def _docstring(node: ast.AST) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _text(tree: ast.AST) -> str:
    """The tree as Python 3.11 writes it. Python 3.12 knows type parameters and 3.13 leaves out empty lists."""
    whole = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(tree, **whole).replace(", type_params=[]", "")
