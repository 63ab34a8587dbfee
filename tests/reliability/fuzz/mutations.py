"""Changes to bytes, to text, and to trees of mappings, lists and values as YAML and JSON have them."""

import copy
import math
import random
from datetime import date
from typing import Any

WORDS = (
    "", " ", "a\nb", "a\tb", "\0", "\x1b[31mred", "é", "e\u0301", "\ud800", "😀", "\u202eabc", "\ufeff", "x" * 300,
    "[", "{}", "null", "nan", "-inf", "010", "1e5", "12:30", "yes", "first", "auto", "none", "..", "../x", "a/b", ".",
    "/dev/null/x", "~", "~nobody/x", "$NO_SUCH", "${HOME}", "=1+1", "@x", "a,b", "$\\bm{L}$", "US$ or CA$", "<b>x</b>",
    "(", "a|b", "#", "%s", "{x}", "C:\\x", "-x", "--help", "x\u2028y", "vnet", "dtml", "official", "given", "stored",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 3, 7, 16, 255, 256, 1000, 65536, 10**6, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63 - 1, 2**63, 2**64,
    10**30, 10**400, 0.5, -0.5, 1.5, 1e-3, 1e-300, 1e308, -1e308, -0.0, math.nan, math.inf, -math.inf,
)  # fmt: skip
OTHERS = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"b": []}},
    [1, 1],
    [1, "a"],
    date(2024, 2, 29),
    b"\xff",
)

Place = tuple  # the keys that lead from the root of a tree to one of its nodes


def hostile(chance: random.Random) -> Any:
    """A value that few keys expect."""
    return copy.deepcopy(chance.choice(chance.choice((WORDS, NUMBERS, OTHERS))))


def mutated(chance: random.Random, tree: Any) -> tuple[Any, str]:
    """A copy of a tree with one to three changes, and what they are."""
    tree, changes = copy.deepcopy(tree), []
    possible = chance.choice((_CHANGES, (_alike,)))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = [place for place in _places(tree) if place]
        if not places:
            break
        place = chance.choice(places)
        change = chance.choice(possible)
        change(chance, _at(tree, place[:-1]), place[-1])
        changes.append(f"{change.__name__.strip('_')} {'.'.join(map(str, place))}")
    return tree, ", ".join(changes)


def _places(tree: Any, place: Place = ()) -> list[Place]:
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place, *(inner for key, child in children for inner in _places(child, (*place, key)))]


def _at(tree: Any, place: Place) -> Any:
    for key in place:
        tree = tree[key]
    return tree


def _replace(chance, parent, key):
    parent[key] = hostile(chance)


def _remove(chance, parent, key):
    del parent[key]


def _retype(chance, parent, key):
    value = parent[key]
    makers = (str, lambda v: [v], lambda v: {"value": v}, lambda v: [v, v], bool, lambda v: str(v).encode())
    parent[key] = chance.choice(makers)(value)


def _scale(chance, parent, key):
    """A number that has the right type and a wrong size."""
    value = parent[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _replace(chance, parent, key)
    parent[key] = chance.choice((-value, value * 1000, value * 10**9, value + 0.5, value + 1, value - 1, float(value)))


def _alike(chance, parent, key):
    """A value that has the right type and may be right."""
    value = parent[key]
    if isinstance(value, bool):
        parent[key] = not value
    elif isinstance(value, int):
        parent[key] = chance.choice((value + 1, value - 1, value * 2, value * 20, 1, 0, 2, 16, 48))
    elif isinstance(value, float):
        parent[key] = chance.choice((value / 3, value * 2, value * 1e-6, value * 1e6, 1, 0.5, -value))
    elif isinstance(value, str):
        parent[key] = chance.choice(WORDS)
    elif isinstance(value, list):
        parent[key] = chance.choice((value[::-1], value[:-1], value[1:], value + value))
    elif isinstance(value, dict):
        parent[key] = {}


def _rename(chance, parent, key):
    if not isinstance(parent, dict):
        return _replace(chance, parent, key)
    new = chance.choice((f"{key}x", str(key).upper(), f" {key}", str(key)[:-1], *WORDS, 1, None, True))
    parent[new] = parent.pop(key)


def _add(chance, parent, key):
    if isinstance(parent, dict):
        parent[chance.choice((*WORDS, "further"))] = hostile(chance)
    else:
        parent.insert(key, hostile(chance))


def _repeat(chance, parent, key):
    if isinstance(parent, list):
        parent[key:key] = [parent[key]] * chance.choice((1, 1, 2, 300))
    else:
        parent[key] = [parent[key]] * chance.choice((1, 2, 300))


def _swap(chance, parent, key):
    other = chance.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    parent[key], parent[other] = parent[other], parent[key]


_CHANGES = (
    _replace, _replace, _remove, _retype, _scale, _scale, _alike, _alike, _alike, _alike, _rename, _add, _repeat, _swap,
)  # fmt: skip


def mutated_bytes(chance: random.Random, content: bytes) -> tuple[bytes, str]:
    """A copy of a file's content with one to four changes; the first bytes are changed more often than others."""
    content, changes = bytearray(content), []
    for _ in range(chance.choice((1, 1, 2, 4))):
        size = len(content)
        within = chance.choice((64, 400, max(size, 1)))
        at = chance.randrange(min(within, size)) if size else 0
        change = chance.choice(("flip", "flip", "set", "cut", "take out", "insert", "double", "number", "zeros"))
        if change == "flip" and size:
            content[at] ^= 1 << chance.randrange(8)
        elif change == "set" and size:
            content[at] = chance.choice((0, 1, 127, 128, 255, 10, 32, 48))
        elif change == "cut":
            del content[at:]
        elif change == "take out":
            del content[at : at + chance.choice((1, 2, 16, 300))]
        elif change == "insert":
            content[at:at] = chance.randbytes(chance.choice((1, 2, 16, 300)))
        elif change == "double":
            content[at:at] = content[at : at + chance.choice((4, 100, 1000))]
        elif change == "number":
            number = chance.choice((0, 1, -1, 2**31 - 1, -(2**31), 2**30, 1000000))
            content[at : at + 4] = number.to_bytes(4, chance.choice(("little", "big")), signed=True)
        elif change == "zeros":
            content[at : at + 64] = bytes(64)
        changes.append(f"{change} at byte {at}")
    return bytes(content), ", ".join(changes)


def mutated_text(chance: random.Random, text: str) -> tuple[bytes, str]:
    """The bytes of a text file whose lines or whose encoding are changed."""
    lines = text.splitlines() or [""]
    at = chance.randrange(len(lines))
    changes = {
        "byte order mark": lambda: "\ufeff".encode() + text.encode(),
        "UTF-16": lambda: text.encode("utf-16"),
        "Latin-1": lambda: ("# é\n" + text).encode("latin-1", "replace"),
        "DOS lines": lambda: text.replace("\n", "\r\n").encode(),
        "old Mac lines": lambda: text.replace("\n", "\r").encode(),
        "line removed": lambda: "\n".join(lines[:at] + lines[at + 1 :]).encode(),
        "line twice": lambda: "\n".join(lines[: at + 1] + lines[at:]).encode(),
        "lines swapped": lambda: "\n".join(lines[at:] + lines[:at]).encode(),
        "cut": lambda: text[: chance.randrange(len(text) + 1)].encode(),
        "tabs": lambda: text.replace("  ", "\t").encode(),
        "hostile line": lambda: "\n".join([*lines[:at], str(hostile(chance)), *lines[at:]]).encode("utf-8", "replace"),
        "empty": lambda: b"",
        "blank": lambda: b" \n\n",
        "long line": lambda: text.encode() + b"x" * 10**6,
        "null bytes": lambda: text.encode() + bytes(100),
        "bytes": lambda: mutated_bytes(chance, text.encode())[0],
    }
    change = chance.choice(list(changes))
    return changes[change](), change
