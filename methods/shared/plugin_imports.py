"""What a plug-in imports: helper modules that lie beside it, and why an import of it failed."""

import ast
import importlib
import importlib.util
import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

OURS = ("data", "methods", "benchmark", "reports")  # packages of this project: they win over a plug-in's folder
OURS_IN = Path(__file__).resolve().parents[2]  # where they lie


def find_helpers(plugin: Path) -> dict[str, Path]:
    """The modules and packages beside a plug-in that it imports, directly or through one another.

    The text is searched for `import` statements, also within functions. Nothing is executed.

    Args:
        plugin: the plug-in's file.

    Returns:
        For each top-level name the file `<name>.py`, or the folder `<name>` of a package.
    """
    helpers: dict[str, Path] = {}
    unread = [plugin]
    while unread:
        for name in _imported_names(unread.pop()):
            helper = _module_in(plugin.parent, name)
            if helper is not None and name not in (*OURS, *helpers, plugin.stem):
                helpers[name] = helper
                unread += sorted(helper.rglob("*.py")) if helper.is_dir() else [helper]
    return helpers


def find_clash(helpers: dict[str, Path]) -> str | None:
    """Why a helper would not be the module that Python finds under its name.

    The folder of the plug-in must be on `sys.path`.

    Args:
        helpers: as `find_helpers` returns them.

    Returns:
        Both files and what to do, or None if every helper is found.
    """
    importlib.invalidate_caches()  # a helper may be younger than Python's listing of its folder
    for name, helper in helpers.items():
        found = _location(name)
        if found not in (helper, helper / "__init__.py"):
            return f"its helper {helper} has the name of another module, {found or name}: rename the helper"
    return None


def find_own_packages(plugin: Path, helpers: dict[str, Path]) -> str | None:
    """Which import of a plug-in means a package of its own folder that has the name of one of this project.

    Python would look for the module in this project's package and not find it, or find another. The text is searched,
    so that an import within a function is found before hours of training.

    Args:
        plugin: the plug-in's file.
        helpers: as `find_helpers` returns them.

    Returns:
        What clashes and what to do, or None.
    """
    files = [plugin]
    for helper in helpers.values():
        files += sorted(helper.rglob("*.py")) if helper.is_dir() else [helper]
    for file in files:
        for module in _imported_modules(file):
            package = module.split(".")[0]
            own = package in OURS and _own(plugin.parent, module)
            if own and _location(package) not in (own, own / "__init__.py"):
                return (
                    f"{file.name} imports {module}, but {package} is a package of this benchmark and hides {own}: "
                    "rename yours"
                )
    return None


def explain(error: BaseException, folder: Path) -> str | None:
    """What to change in a plug-in whose import failed because of a module of this project.

    Args:
        error: what the import raised.
        folder: the folder of the plug-in.

    Returns:
        One line, or None if the project's modules have nothing to do with it.
    """
    if not isinstance(error, ImportError):
        return None
    if "no known parent package" in str(error):
        return "a plug-in is no part of a package: write `from helper import …`, without the dot"
    if not error.name:
        return None
    missing = re.match(r"cannot import name '(\w+)'", str(error))
    module = f"{error.name}.{missing[1]}" if missing else error.name
    package, _, rest = module.partition(".")
    if package not in OURS:
        return None
    if package == "methods" and (moved := _moved_to(rest)):
        return f"{module} is now {moved}: change the import"
    hidden = _module_in(folder, package)
    if hidden is not None and Path(sys.modules[package].__file__).parent != hidden:
        return f"{package} is a package of this benchmark, which has no {module} and hides {hidden}: rename yours"
    return None


def _imported_names(file: Path) -> list[str]:
    """The top-level names that a file imports."""
    return [module.split(".")[0] for module in _imported_modules(file)]


def _imported_modules(file: Path) -> list[str]:
    """What a file imports, `from a import b` as a.b; nothing if it is no valid Python, which its import will say."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    modules = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    return modules


def _own(folder: Path, module: str) -> Path | None:
    """The file or folder of this name in a folder, if it is what the import of a module there would need.

    A package `data` beside a plug-in that imports `data.masks` is no clash if it has no `masks`: ours is meant.
    """
    package, *rest = module.split(".")
    top = folder / package
    if not rest:
        return top if any(top.rglob("*.py")) else _file(top)
    if not top.is_dir():  # `from data import load` of data.py; but data.masks.x can only be the project's
        return _file(top) if len(rest) == 1 and not _is_module(OURS_IN / package, rest[0]) else None
    if _is_module(top, rest[0]):
        return top
    from_init = len(rest) == 1 and (top / "__init__.py").is_file() and not _is_module(OURS_IN / package, rest[0])
    return top if from_init and rest[0] != "*" else None


def _file(path: Path) -> Path | None:
    module = path.with_name(f"{path.name}.py")
    return module if module.is_file() else None


def _is_module(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file() or any((folder / name).rglob("*.py"))


def _module_in(folder: Path, name: str) -> Path | None:
    """The module or package of that name in a folder, by Python's own order; a folder without code is none."""
    package, module = folder / name, folder / f"{name}.py"
    if (package / "__init__.py").is_file():
        return package
    if module.is_file():
        return module
    return package if any(package.glob("*.py")) else None


def _location(name: str) -> Path | None:
    """The file from which Python takes a module, imported or not yet; a package's folder if it has no file."""
    try:
        spec: ModuleSpec | None = importlib.util.find_spec(name)
    except ValueError:  # a module without a specification, such as __main__
        return None
    if spec is None:
        return None
    if spec.has_location:
        return Path(spec.origin).resolve()
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0]).resolve() if folders else None


def _moved_to(rest: str) -> str | None:
    """The module of methods.shared that was directly in methods in earlier versions; None if there is none."""
    parts = rest.split(".")
    for count in range(len(parts), 0, -1):
        module = Path(__file__).parent.joinpath(*parts[:count])
        if module.is_dir() or module.with_suffix(".py").is_file():
            return ".".join(["methods.shared", *parts[:count]])
    return None
