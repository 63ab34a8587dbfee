"""Which code a process runs: functions of torch, numpy and this project that a plug-in might replace."""

import sys
from operator import is_
from types import FunctionType, ModuleType
from typing import Any

from methods.shared.plugin_imports import OURS

LIBRARIES = (
    "builtins", "math", "random", "numpy", "numpy.linalg", "numpy.random", "scipy.ndimage", "scipy.spatial", "torch",
    "torch.autograd", "torch.fft", "torch.linalg", "torch.special", "torch.nn", "torch.nn.functional", "torch.nn.init",
    "torch.utils.data",
)  # fmt: skip
WITH_SUBMODULES = ("torch.nn.modules.", "torch.optim.", *(f"{package}." for package in OURS))
OF_HOOKS = ("torch.nn.modules.module", "torch.optim.optimizer")  # hold hooks that are called for all modules
PLAIN = (bool, int, float, str, tuple)
MEMBERS = (FunctionType, classmethod, staticmethod, property)


class CodeInUse:
    """What the names of the watched modules and of their classes mean now.

    Example:
        >>> import math
        >>> code, floor = CodeInUse(), math.floor
        >>> math.floor = math.ceil
        >>> code.changes()
        ['math.floor was replaced']
        >>> math.floor = floor
    """

    def __init__(self):
        self._modules = {name: module for name, module in list(sys.modules.items()) if _is_watched(name, module)}
        self._names = {name: dict(vars(space)) for name, space in self._namespaces().items()}
        self._contents = self._containers()

    def changes(self) -> list[str]:
        """What is another than it was, a phrase each. Modules that were imported meanwhile do not count."""
        found = [f"{name} was replaced" for name, module in self._modules.items() if sys.modules.get(name) != module]
        spaces = self._namespaces()
        for name, before in self._names.items():
            now = dict(vars(spaces[name])) if name in spaces else {}
            if len(before) != len(now) or not all(map(is_, before.values(), now.values())):
                found += _changed_names(name, before, now, isinstance(spaces.get(name), type))
        contents = self._containers()
        return found + [
            f"{name} was changed" for name, value in self._contents.items() if contents.get(name, value) != value
        ]

    def _namespaces(self) -> dict[str, ModuleType | type]:
        spaces: dict[str, ModuleType | type] = dict(self._modules)
        for name, module in self._modules.items():
            for attribute, value in vars(module).items():
                if isinstance(value, type) and attribute[0] != "_" and (value.__module__ == name or name == "torch"):
                    spaces[f"{name}.{attribute}"] = value
        return spaces

    def _containers(self) -> dict[str, Any]:
        """Copies of what can change in place: constants of this project, and torch's hooks."""
        found = {}
        for module_name, module in self._modules.items():
            if module_name in OF_HOOKS:
                found |= {f"{module_name}.{name}": [*vars(module)[name]] for name in vars(module) if _is_hooks(name)}
            elif module_name.split(".")[0] in OURS:
                for name, value in vars(module).items():
                    if name[0] != "_" and isinstance(value, dict | list | set):
                        found[f"{module_name}.{name}"] = value.copy()
        return found


def _is_hooks(name: str) -> bool:
    return name.startswith("_global_") and name.endswith("_hooks")


def _is_watched(name: str, module: object) -> bool:
    return (name in LIBRARIES or f"{name}.".startswith(WITH_SUBMODULES)) and isinstance(module, ModuleType)


def _changed_names(space: str, before: dict[str, Any], now: dict[str, Any], is_class: bool) -> list[str]:
    found = []
    for name, old in before.items():
        if name not in now:
            found += [f"{space}.{name} was removed"] * _matters(name, old, is_class)
        elif not _same(old, now[name]):
            found += [f"{space}.{name} was replaced"] * _matters(name, old, is_class)
    if is_class:  # a method that is added hides the one that is inherited
        found += [f"{space}.{name} was added" for name in now.keys() - before if _matters(name, now[name], True)]
    return found


def _same(old: Any, new: Any) -> bool:
    if old is new or (isinstance(old, PLAIN) and type(old) is type(new) and old == new):
        return True
    # The first optimiser of a class wraps its step() for hooks, and marks it.
    return getattr(new, "hooked", False) is True and getattr(new, "__wrapped__", None) is old


def _matters(name: str, value: Any, in_class: bool) -> bool:
    """Private names, and modules that libraries import as they need them, come and go."""
    if in_class and isinstance(value, MEMBERS):
        return True
    return name[0] != "_" and (callable(value) or isinstance(value, PLAIN))
