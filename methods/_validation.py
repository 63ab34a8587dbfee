"""One line for the user out of a pydantic error."""

import difflib
import typing

from pydantic import BaseModel, ValidationError


def nearest(word: str, known: list[str]) -> str:
    """ ", did you mean 'x'?" for the known word nearest to `word`, else what is known."""
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}?" if close else f"; known: {', '.join(known) or 'none'}"


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of `error`: which key, what is wrong, what was given, the nearest known key."""
    first = error.errors()[0]
    known = _keys(model)
    if first["type"] == "extra_forbidden":
        known.append(first["loc"][-1])
    # pydantic's location also holds the names of union members, which are no words of the user's.
    path = [str(part) for part in first["loc"] if isinstance(part, int) or part in known]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(path[-1], known[:-1])}"
    if first["type"] == "invalid_key":
        return f"key {first['input']!r} must be text: put it in quotes, or remove it"
    if first["type"] == "missing":
        return f"key {key!r} is missing"
    if first["type"] == "union_tag_invalid":
        tags = first["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"key '{key}.source': unknown {first['ctx']['tag']!r}{nearest(first['ctx']['tag'], tags)}"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"key {key!r}: {message}, got {first['input']!r}" if key else message


def _keys(annotation) -> list[str]:
    """All keys a model knows, at any depth, in order of appearance."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inner = [key for f in annotation.model_fields.values() for key in _keys(f.annotation)]
        return list(dict.fromkeys([*annotation.model_fields, *inner]))
    return [key for argument in typing.get_args(annotation) for key in _keys(argument)]
