"""Methods by name. A built-in method is a file of the folder `methods`; a plug-in is a file anywhere."""

import hashlib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
import typing
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

from pydantic import ValidationError
from pydantic.fields import FieldInfo

import methods
from data.errors import UserError, one_line
from methods.shared import plugin_imports
from methods.shared.method import Info, Method, MethodSettings
from methods.shared.networks import registry as networks
from methods.shared.validation import describe, nearest

BASELINE = "vnet"  # the supervised lower and upper bound of an experiment that names no other method

LONGEST_NAME = 64  # characters

_METHODS: dict[str, type[Method]] = {}


class MethodError(UserError):
    """A method, a setting or a plug-in cannot be used. The message is one line for the user."""


def register(name: str) -> Callable[[type[Method]], type[Method]]:
    """Make a method available under a name. Write it above the class.

    Args:
        name: lower-case letters, digits and underscores, beginning with a letter. It names folders and rows of results.

    Returns:
        A class decorator that returns the class unchanged.

    Raises:
        MethodError: the name is taken or not allowed, or the class lacks what the benchmark needs.

    Example::

        @register("my_method")
        class MyMethod(Method):
            info = Info(title="Mine", year=2026, source="this work", fidelity="adapted", passes=Passes(train=4))
    """

    if not isinstance(name, str):
        raise MethodError(f'@register was given {name!r} instead of a name: write @register("my_method")')

    def decorator(cls: type[Method]) -> type[Method]:
        _check_name(name)
        if name in _METHODS:
            new, registered = inspect.getsourcefile(cls), inspect.getsourcefile(_METHODS[name])
            raise MethodError(f"method name {name!r} of {new} is taken by {registered}: choose another")
        if not (isinstance(cls, type) and issubclass(cls, Method)):
            raise MethodError(
                f"method {name!r} is not a Method: write class {cls.__name__}(Method), see methods/shared/method.py"
            )
        if not isinstance(getattr(cls, "info", None), Info):
            raise MethodError(f"method {name!r} has no `info`: add `info = Info(title=…, year=…, …)` to its class")
        if callable(getattr(cls, "views", None)) and cls.extra_arrays is Method.extra_arrays:
            raise MethodError(f"method {name!r} defines views(), which is called extra_arrays() now: rename it")
        _check_settings(name, cls.Settings)
        limits = cls.dead_below
        if not (isinstance(limits, dict) and all(isinstance(loss, str) for loss in limits)) or not all(
            isinstance(limit, int | float) for limit in limits.values()
        ):
            raise MethodError(
                f"dead_below of method {name!r} is {limits!r}: give a number for the name of each loss, as in "
                '{"active_fraction": 0.0001}'
            )
        _METHODS[name] = cls
        return cls

    return decorator


def _check_settings(name: str, settings: type) -> None:
    if not (isinstance(settings, type) and issubclass(settings, MethodSettings)):
        raise MethodError(f"Settings of method {name!r} is not a MethodSettings: write class Settings(MethodSettings)")
    if required := [key for key, field in settings.model_fields.items() if field.is_required()]:
        raise MethodError(
            f"setting {required[0]!r} of method {name!r} has no default: "
            f"write {required[0]}: … = setting(default, meaning)"
        )


@cache
def _import_built_in() -> None:
    for module in pkgutil.iter_modules(methods.__path__):
        if not module.ispkg:
            importlib.import_module(f"methods.{module.name}")


def load_plugin(path: str | Path) -> list[str]:
    """Import a file that registers methods or networks. Loading a file again replaces them.

    The file may import modules and packages that lie beside it, as in `from helper import f`. For this its folder
    becomes the last entry of `sys.path` and stays there. Packages of this project therefore win over the folder's.

    Args:
        path: a Python file, anywhere.

    Returns:
        The names of the methods that the file and its helper modules registered; none if it registers networks alone.

    Raises:
        MethodError: the file does not exist, fails to import or registers nothing, or a helper module has the name of
            another module.
    """
    _import_built_in()
    path = Path(os.path.realpath(path))
    if not os.path.isfile(path):
        raise MethodError(
            f"plug-in {path} " + ("is a folder: give a .py file" if os.path.isdir(path) else "does not exist")
        )
    if path.suffix != ".py":
        raise MethodError(f"plug-in {path} is not a Python file: give the .py file that defines your method")
    # The path is part of the module's name: two plug-ins may have the same file name.
    module_name = f"semiseg_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    helpers = plugin_imports.find_helpers(path)
    search_path = list(sys.path)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        if clash := plugin_imports.find_own_packages(path, helpers) or plugin_imports.find_clash(helpers):
            raise MethodError(f"plug-in {path}: {clash}")
        if module_name in sys.modules:  # it is loaded again, perhaps because a helper has changed
            _forget(_modules_below(helpers))
        _forget([module_name])
        _execute(path, module_name, helpers)
        modules = [module_name, *_modules_below(helpers)]
        registered = [name for name, cls in _METHODS.items() if cls.__module__ in modules]
        if not registered and not networks.names_of(modules):
            raise MethodError(
                f'plug-in {path} registers no method and no network: decorate its class with @register("name"), or its '
                'function with @register_network("name")'
            )
    except UserError:
        sys.path[:] = search_path
        raise
    return registered


def _execute(path: Path, module_name: str, helpers: Collection[str]) -> None:
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    loaded_before = _modules_below(helpers)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script may end with sys.exit()
        _forget([module_name, *(name for name in _modules_below(helpers) if name not in loaded_before)])
        if isinstance(error, MethodError | networks.NetworkError):
            raise
        reason = plugin_imports.explain(error, path.parent) or one_line(f"{type(error).__name__}: {error}")
        raise MethodError(f"plug-in {path} cannot be imported: {reason}") from error


def write_starting_file(name: str, folder: Path, year: int, teacher: bool = False) -> Path:
    """Write `folder/<name>.py`: a small method that works, as the start of a new one.

    Args:
        name: of the method, see `register`.
        folder: an existing folder.
        year: that tables show.
        teacher: whether it has an EMA teacher.

    Returns:
        The path of the file.

    Raises:
        MethodError: the name is taken or not allowed, or the file exists or cannot be written.
    """
    _check_name(name)
    if name in names():
        raise MethodError(f"method name {name!r} is taken by {inspect.getsourcefile(_METHODS[name])}: choose another")
    title = name.replace("_", " ").title()
    template = "new_teacher_method.py.txt" if teacher else "new_method.py.txt"
    text = (Path(__file__).parent / template).read_text(encoding="utf-8")
    for word, value in (("NAME", name), ("TITLE", title), ("CLASS", title.replace(" ", "")), ("YEAR", str(year))):
        text = text.replace(word, value)
    path = folder / f"{name}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise MethodError(f"{path} exists already: choose another name, or remove it") from error
    except OSError as error:
        raise MethodError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):  # it becomes a folder's name
        raise MethodError(f"method name {name!r}: use lower-case letters, digits and underscores")
    if len(name) > LONGEST_NAME:
        raise MethodError(f"method name {name[:20]}…: use at most {LONGEST_NAME} characters, for it names folders")


def _modules_below(helpers: Collection[str]) -> list[str]:
    """The imported modules of these top-level names, submodules included."""
    return [name for name in sys.modules if name.split(".")[0] in helpers]


def _forget(modules: Collection[str]) -> None:
    for module in modules:
        sys.modules.pop(module, None)
    for name in [name for name, cls in _METHODS.items() if cls.__module__ in modules]:
        del _METHODS[name]
    networks.forget(modules)


def names() -> list[str]:
    """The names of all registered methods, sorted.

    Example:
        >>> names()[:3]
        ['ad_mt', 'asdnet', 'bcp']
    """
    _import_built_in()
    return sorted(_METHODS)


def names_in(given: str) -> list[str]:
    """The methods that a file registers, or the one of that name.

    Args:
        given: what a user typed: the path of a plug-in, or a name, which need not be registered.

    Raises:
        MethodError: the file cannot be used.

    Example:
        >>> names_in("ua_mt")
        ['ua_mt']
    """
    return load_plugin(given) if given.endswith(".py") or os.path.isfile(given) else [given]


def is_built_in(name: str) -> bool:
    """Whether a method of this name is a file of the folder `methods`, and so no plug-in.

    Example:
        >>> is_built_in("ua_mt"), is_built_in("no_such_method")
        (True, False)
    """
    return name in names() and _METHODS[name].__module__.startswith("methods.")


def get(name: str) -> type[Method]:
    """The class that is registered under a name.

    Raises:
        MethodError: there is none. The message has the nearest name.

    Example:
        >>> get("ua_mt").info.title
        'UA-MT'
    """
    if name not in names():
        raise MethodError(f"unknown method {name!r}{nearest(name, names())} (`run_benchmark.py methods` lists them)")
    return _METHODS[name]


def settings_of(name: str, values: dict) -> MethodSettings:
    """The settings of a method.

    Args:
        name: of the method.
        values: the settings that differ from their defaults, by name.

    Returns:
        An instance of the method's `Settings`, which cannot be changed.

    Raises:
        MethodError: an unknown method or setting, or a value that is not allowed.

    Example:
        >>> settings = settings_of("mean_teacher", {"ema_decay": 0.999})
        >>> settings.ema_decay, settings.consistency_weight
        (0.999, 0.1)
    """
    settings = get(name).Settings
    try:
        return settings(**values)
    except ValidationError as error:
        raise MethodError(f"settings of method {name!r}: {describe(error, settings)}") from error


def search_of(field: FieldInfo) -> list | None:
    """The range [low, high] or the choices that a search tries for a setting; None if it declares neither.

    Example:
        >>> search_of(get("mean_teacher").Settings.model_fields["consistency_weight"])
        [0.01, 1]
    """
    return (field.json_schema_extra or {}).get("search")


def is_range(search: list) -> bool:
    """Whether `search` is a range [low, high]; otherwise it is a list of choices.

    Example:
        >>> is_range([0.01, 1]), is_range([True, False])
        (True, False)
    """
    return len(search) == 2 and all(type(end) in (int, float) for end in search)


def choices_of(field: FieldInfo) -> list[str]:
    """The values that a setting may have, or that a search tries; empty for a range.

    Example:
        >>> choices_of(get("ua_mt").Settings.model_fields["consistency_on"])
        ['all', 'unlabelled']
    """
    if typing.get_origin(field.annotation) is typing.Literal:
        return [str(choice) for choice in typing.get_args(field.annotation)]
    if field.annotation is bool:
        return ["True", "False"]
    search = search_of(field)
    return [] if search is None or is_range(search) else list(map(str, search))
