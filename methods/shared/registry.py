"""Methods by name. A built-in method is a file of this folder; a plug-in is a file anywhere."""

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
import typing
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pydantic import ValidationError
from pydantic.fields import FieldInfo

import methods
from data.errors import UserError
from methods.shared.method import Info, Method, MethodSettings
from methods.shared.validation import describe, nearest

BASELINE = "vnet"  # the supervised floor and ceiling of an experiment that names no other

_METHODS: dict[str, type[Method]] = {}


class MethodError(UserError):
    """A method, setting or plug-in that cannot be used; the message is one line for the user."""


def register(name: str) -> Callable[[type[Method]], type[Method]]:
    """Class decorator that makes a `Method` available under `name`.

    Raises MethodError if the name is taken or unfit, or the class lacks what tables need.
    """

    if not isinstance(name, str):
        raise MethodError(f'@register was given {name!r}, which is no name: write @register("my_method")')

    def decorator(cls: type[Method]) -> type[Method]:
        _check_name(name)
        if name in _METHODS:
            here, there = inspect.getsourcefile(cls), inspect.getsourcefile(_METHODS[name])
            raise MethodError(f"method name {name!r} of {here} is taken by {there}: choose another")
        if not (isinstance(cls, type) and issubclass(cls, Method)):
            raise MethodError(
                f"method {name!r} is no Method: write class {cls.__name__}(Method), see methods/shared/method.py"
            )
        if not isinstance(getattr(cls, "info", None), Info):
            raise MethodError(f"method {name!r} has no `info`: add `info = Info(title=…, year=…, …)` to its class")
        _check_settings(name, cls.Settings)
        _METHODS[name] = cls
        return cls

    return decorator


def _check_settings(name: str, settings: type) -> None:
    if not (isinstance(settings, type) and issubclass(settings, MethodSettings)):
        raise MethodError(f"Settings of method {name!r} is no MethodSettings: write class Settings(MethodSettings)")
    if bare := [key for key, field in settings.model_fields.items() if field.is_required()]:
        raise MethodError(
            f"setting {bare[0]!r} of method {name!r} has no default: write {bare[0]}: … = setting(default, meaning)"
        )


@cache
def _import_built_in() -> None:
    for module in pkgutil.iter_modules(methods.__path__):
        importlib.import_module(f"methods.{module.name}")


def load_plugin(path: str | Path) -> list[str]:
    """Import a file that registers methods; returns the names it registered. Loading it again renews them.

    Raises MethodError if the file is missing, fails to import or registers nothing.
    """
    _import_built_in()
    path = Path(path).resolve()
    if not path.is_file():
        raise MethodError(f"plug-in {path} " + ("is a folder: give a .py file" if path.is_dir() else "does not exist"))
    if path.suffix != ".py":
        raise MethodError(f"plug-in {path} is no Python file: give the .py file that defines your method")
    # The path is part of the module's name: two plug-ins may have the same file name.
    module_name = f"semiseg_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    _forget(module_name)
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script may end with sys.exit()
        _forget(module_name)
        if isinstance(error, MethodError):
            raise
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise MethodError(f"plug-in {path} cannot be imported: {message}") from error
    registered = [name for name, cls in _METHODS.items() if cls.__module__ == module_name]
    if not registered:
        raise MethodError(f'plug-in {path} registers no method: decorate its class with @register("name")')
    return registered


def write_starting_file(name: str, folder: Path, year: int) -> Path:
    """Write `folder/<name>.py`, a small method that works, to begin a new one from; returns its path.

    Raises MethodError if the name is unfit or taken, or the file exists or cannot be written.
    """
    _check_name(name)
    if name in names():
        raise MethodError(f"method name {name!r} is taken by {inspect.getsourcefile(_METHODS[name])}: choose another")
    title = name.replace("_", " ").title()
    text = (Path(__file__).parent / "new_method.py.txt").read_text(encoding="utf-8")
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


def _forget(module_name: str) -> None:
    sys.modules.pop(module_name, None)
    for name in [name for name, cls in _METHODS.items() if cls.__module__ == module_name]:
        del _METHODS[name]


def names() -> list[str]:
    """All registered names, sorted."""
    _import_built_in()
    return sorted(_METHODS)


def get(name: str) -> type[Method]:
    """The class registered under `name`. Raises MethodError, with the nearest name, if there is none."""
    if name not in names():
        raise MethodError(f"unknown method {name!r}{nearest(name, names())} (`run_benchmark.py methods` lists them)")
    return _METHODS[name]


def settings_of(name: str, values: dict) -> MethodSettings:
    """The method's settings, `values` over its defaults. Raises MethodError naming the key that is wrong."""
    settings = get(name).Settings
    try:
        return settings(**values)
    except ValidationError as error:
        raise MethodError(f"settings of method {name!r}: {describe(error, settings)}") from error


def search_of(field: FieldInfo) -> list | None:
    """What a setting may be when it is searched: (low, high) or choices; None if its method declares no such range."""
    return (field.json_schema_extra or {}).get("search")


def is_range(search: list) -> bool:
    """Whether what is searched is (low, high) rather than choices."""
    return len(search) == 2 and all(type(end) in (int, float) for end in search)


def choices_of(field: FieldInfo) -> list[str]:
    """The values that a setting may have, or that are searched, where these are few; else none."""
    if typing.get_origin(field.annotation) is typing.Literal:
        return [str(choice) for choice in typing.get_args(field.annotation)]
    if field.annotation is bool:
        return ["True", "False"]
    search = search_of(field)
    return [] if search is None or is_range(search) else list(map(str, search))
