"""Hashes of source code that ignore comments and formatting, and the local modules that a plug-in imports."""

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = ("methods", "data", "benchmark", "reports")


def path_of(method_file: str) -> Path:
    """Where a method's file lies: built-in ones are named relative to the checkout, plug-ins absolutely."""
    return CHECKOUT / method_file


def name_of(path: Path) -> str:
    """The inverse of `path_of`: a moved checkout is the same code."""
    return path.relative_to(CHECKOUT).as_posix() if path.is_relative_to(CHECKOUT / "methods") else str(path)


def plugin_files(plugin: Path) -> dict[str, Path]:
    """A plug-in and every local module that it imports, directly or through another.

    Args:
        plugin: the file that registers a method.

    Returns:
        Files by their path relative to the plug-in's folder, the plug-in first. Modules count as local if they lie in
        that folder and have no name of this project's packages.
    """
    folder, found, waiting = plugin.parent, {}, [plugin]
    while waiting:
        file = waiting.pop()
        name = file.relative_to(folder).as_posix()
        if name not in found:
            found[name] = file
            waiting += _local_imports(file, folder)
    return found


def source_hash(path: Path) -> str:
    """Twelve hex digits of a file's syntax tree without docstrings: comments and formatting do not count.

    A missing file hashes as "missing"; one with a syntax error by its bytes.
    """
    if not path.is_file():
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


def _local_imports(file: Path, folder: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = ".".join([*_package(file, folder, node.level), *filter(None, [node.module])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)] if module else []
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] in PACKAGES:
                continue
            for depth in range(1, len(parts) + 1):  # importing a.b runs a/__init__.py, too
                place = folder.joinpath(*parts[:depth])
                yield from (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file())


def _package(file: Path, folder: Path, level: int) -> tuple[str, ...]:
    """The package that a relative import with so many dots begins from; none for an absolute import."""
    parents = file.relative_to(folder).parts[:-1]
    return parents[: max(0, len(parents) + 1 - level)] if level else ()
