"""Turns a pydantic error into one line for the user."""

import difflib
import reprlib
import typing
from datetime import date

from pydantic import BaseModel, ValidationError


def nearest(word: str, known: list[str]) -> str:
    """The end of a message about an unknown word: the nearest known word, or all of them if none is near.

    Example:
        >>> nearest("vent", ["vnet", "dtml"]), nearest("x", ["vnet", "dtml"])
        (", did you mean 'vnet'?", '; known: vnet, dtml')
    """
    matches = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {matches[0]!r}?" if matches else f"; known: {', '.join(known) or 'none'}"


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of an error: the key, what is wrong with it, and the value or the nearest known key.

    Args:
        error: that creating a `model` raised.
        model: whose keys are known.

    Example:
        >>> class Settings(BaseModel, extra="forbid"):
        ...     weight: float
        >>> try:
        ...     Settings(weight="much")
        ... except ValidationError as error:
        ...     print(describe(error, Settings))
        key 'weight': input should be a valid number, unable to parse string as a number, got 'much'
    """
    errors = error.errors()
    first = errors[0]
    if first["type"] == "literal_error" and isinstance(first["input"], dict):  # the key takes a word or a block
        first = next((e for e in errors if e["type"] != "literal_error"), first)
    known = _keys(model)
    if first["type"] == "extra_forbidden":
        known.append(first["loc"][-1])
    # pydantic's location also holds the names of union members, which the user has not written.
    path = [str(part) for part in first["loc"] if isinstance(part, int) or part in known]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"unknown key {_SHORT.repr(key)}{nearest(path[-1], known[:-1])}"
    if first["type"] == "invalid_key":
        return f"key {_SHORT.repr(first['input'])} must be text: put it in quotes, or remove it"
    if first["type"] == "missing":
        return f"key {key!r} is missing"
    if first["type"] == "union_tag_invalid":
        tags = first["ctx"]["expected_tags"].replace("'", "").split(", ")
        tag = first["ctx"]["tag"]
        return f"key '{key}.source': unknown {_SHORT.repr(tag)}{nearest(tag, tags)}"
    # For a value that may have several types, pydantic reports an error for each type.
    same = [e for e in errors if [str(p) for p in e["loc"] if isinstance(p, int) or p in known] == path]
    message = " or ".join(dict.fromkeys(map(_message, same)))
    if any(e["type"] == "string_type" for e in same) and isinstance(first["input"], bool | int | float | date):
        message += ", and YAML took what stands there for another kind: put it in quotes"
    return f"key {key!r}: {message}, got {_SHORT.repr(first['input'])}" if key else message


# A value may be long: YAML aliases can expand a few lines to gigabytes.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100
_SHORT.maxlevel, _SHORT.maxlong = 2, 30
_WORDS = {
    "too_short": "must not be empty",
    "tuple_type": "input should be a valid list",
    "int_from_float": "input should be a valid integer",
} | dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "input should be a mapping of keys")


def _message(error: dict) -> str:
    message = _WORDS.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _keys(annotation) -> list[str]:
    """All keys that a model knows, at any depth, in order of appearance."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inner = [key for f in annotation.model_fields.values() for key in _keys(f.annotation)]
        return list(dict.fromkeys([*annotation.model_fields, *inner]))
    return [key for argument in typing.get_args(annotation) for key in _keys(argument)]
