"""Networks by name: built-in ones, and those that a plug-in file registers."""

import importlib
import inspect
from collections.abc import Callable, Collection
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from methods.shared.networks.network import NetworkError, Parts
from methods.shared.validation import describe, nearest

BUILT_IN = ("vnet", "unet", "monai")  # files of this folder that register networks
DEFAULT = "vnet"

MakeParts = Callable[..., Parts]

_NETWORKS: dict[str, MakeParts] = {}


def register_network(name: str) -> Callable[[MakeParts], MakeParts]:
    """Make a network available to `training.network` under a name. Write it above a function that returns `Parts`.

    The function takes channels, dimensions and width. Its further arguments are keywords with a type and a default;
    an experiment file may set them.

    Args:
        name: that experiment files use.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        NetworkError: the name is taken, or the function takes other arguments.

    Example::

        @register_network("my_net")
        def my_net(channels, dimensions, width, *, depth: int = 3) -> Parts:
            return whole(MyNet(channels, width, depth), channels=width, multiple=8)
    """

    def decorator(make: MakeParts) -> MakeParts:
        if name in _NETWORKS and _file(_NETWORKS[name]) != _file(make):
            raise NetworkError(f"network name {name!r} of {_file(make)} is taken by {_file(_NETWORKS[name])}")
        _arguments(name, make)
        _NETWORKS[name] = make
        return make

    return decorator


def network_names() -> list[str]:
    """The names of all registered networks, sorted.

    Example:
        >>> "vnet" in network_names(), "unet_2d" in network_names()
        (True, True)
    """
    _import_built_in()
    return sorted(_NETWORKS)


def network_function(name: str) -> MakeParts:
    """The function that is registered under a name. Raises NetworkError if there is none."""
    if name not in network_names():
        raise NetworkError(f"key 'training.network': unknown network {name!r}{nearest(name, network_names())}")
    return _NETWORKS[name]


def network_arguments(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a network that an experiment may set, with their defaults.

    Args:
        name: of the network.
        values: those that differ from their defaults.

    Raises:
        NetworkError: an unknown network or argument, or a value that is not allowed.

    Example:
        >>> network_arguments("vnet", {"normalisation": "instance"})
        {'normalisation': 'instance'}
    """
    model = _arguments(name, network_function(name))
    try:
        return model(**values).model_dump()
    except ValidationError as error:
        raise NetworkError(f"key 'training.network': {name}: {describe(error, model)}") from error


def network_plugin(name: str) -> str:
    """The plug-in file that registers a network; "" for a built-in one."""
    make = network_function(name)
    return "" if make.__module__.startswith("methods.") else _file(make)


def names_of(modules: Collection[str]) -> list[str]:
    """The networks that functions of these modules registered."""
    return [name for name, make in _NETWORKS.items() if make.__module__ in modules]


def forget(modules: Collection[str]) -> None:
    """Remove the networks that functions of these modules registered."""
    for name in names_of(modules):
        del _NETWORKS[name]


def _file(make: MakeParts) -> str:
    return inspect.getsourcefile(make) or "?"


@cache
def _import_built_in() -> None:
    for module in BUILT_IN:
        importlib.import_module(f"methods.shared.networks.{module}")


def _arguments(name: str, make: MakeParts) -> type[BaseModel]:
    """A model of a function's keywords. Raises NetworkError if the function cannot be called as a network's."""
    taken = inspect.signature(make, eval_str=True).parameters
    keywords = {key: p for key, p in taken.items() if p.kind == p.KEYWORD_ONLY}
    others = [key for key in taken if key not in keywords]
    if others != ["channels", "dimensions", "width"]:
        raise NetworkError(
            f"network {name!r} of {_file(make)} takes {', '.join(others) or 'nothing'}: it must take channels, "
            "dimensions and width, and further ones as keywords after *"
        )
    if bare := [key for key, p in keywords.items() if p.annotation is p.empty or p.default is p.empty]:
        raise NetworkError(f"argument {bare[0]!r} of network {name!r} needs a type and a default: {bare[0]}: int = 3")
    fields = {key: (p.annotation, p.default) for key, p in keywords.items()}
    return create_model(name, __config__=ConfigDict(extra="forbid", frozen=True), **fields)
