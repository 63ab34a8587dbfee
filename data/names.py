"""Names of cases, which become file names, and names of rows. Unusable names are refused before training."""

import unicodedata
from collections.abc import Iterable

from data.case import shorten, shorten_list

MOST_BYTES = 200  # of a case: file systems take 255, and files are named after a case with up to 40 more
LONGEST_NAME = 100  # characters of an experiment's name or of a row's


def name_problems(names: Iterable[str]) -> list[str]:
    """What is wrong with names of cases, one line each.

    Args:
        names: of all cases, each once.

    Example:
        >>> name_problems(["a", "b/c"])
        ["case 'b/c': rename it, a name of a case must not hold '/'"]
        >>> len(name_problems(["a", "A"]))
        1
    """
    problems = []
    first: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if reason := _reason(name):
            problems.append(f"case {shorten(name)!r}: rename it, {reason}")
        elif (other := first.setdefault(folded(name), name)) != name:
            problems.append(
                f"cases {other!r} and {name!r}: rename one, their names differ only in case or in the form of letters, "
                "and some file systems treat these as one name"
            )
    return problems


def folded(name: str) -> str:
    """A name as a file system sees it that ignores case and Unicode forms."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def nearly(name: str, names: Iterable[str]) -> str:
    """A remark if another of `names` differs only in case or Unicode form; else ""."""
    same = [other for other in names if other != name and folded(other) == folded(name)]
    return f" ({shorten_list([ascii(other) for other in same])} differs in case or in the form of letters)" * bool(same)


def _reason(name: str) -> str:
    if any(0xD800 <= ord(letter) < 0xE000 for letter in name):
        return "its file's name is not in UTF-8"
    if name in ("", ".", ".."):
        return "a name of a case must have letters"
    if wrong := [letter for letter in name if letter in "/\\" or unicodedata.category(letter) in ("Cc", "Zl", "Zp")]:
        return f"a name of a case must not hold {wrong[0]!r}"
    if name != name.strip():
        return "a name of a case must not begin or end with a blank"
    if (length := len(name.encode())) > MOST_BYTES:
        return f"it has {length} bytes, and at most {MOST_BYTES} make names of files everywhere"
    return ""


def problem_of(text: str) -> str | None:
    """Why a text cannot stand in a table; None if it can.

    Example:
        >>> problem_of("DTML ($L_{dis}$)"), problem_of("two\\nlines")
        (None, 'must not hold control characters or line breaks')
    """
    if any(unicodedata.category(character) == "Cs" for character in text):
        return "must be valid Unicode: it holds half of a surrogate pair"
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text):
        return "must not hold control characters or line breaks"
    return None


def problem_of_name(name: str) -> str | None:
    """Why a text cannot name a row of the tables; None if it can."""
    if not name.strip():
        return "must not be empty"
    if len(name) > LONGEST_NAME:
        return f"must not have more than {LONGEST_NAME} characters, not {len(name)}"
    return problem_of(name)
