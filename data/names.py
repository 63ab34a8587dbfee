"""Names that become file names or stand in tables. What cannot is refused before anything is trained."""

import unicodedata
from collections.abc import Iterable

from data.case import raise_problems

LONGEST_CASE = 200  # bytes: a file system takes 255, and a file has endings and, while it is written, a longer name
LONGEST_NAME = 100  # characters of an experiment's name or of a row's


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


def check_case_names(names: Iterable[str]) -> None:
    """Refuse cases whose predictions and pictures could not be written, or would be one file on some file systems.

    Args:
        names: of all cases of an experiment.

    Raises:
        DataError: with every such case.
    """
    problems, seen = [], {}
    for name in dict.fromkeys(names):
        if reason := problem_of(name):
            problems.append(f"case {name!r} {reason}: rename its files")
            continue
        if (size := len(name.encode())) > LONGEST_CASE:
            problems.append(f"case {name[:40]}… has a name of {size} bytes, more than {LONGEST_CASE}: rename its files")
        alike = seen.setdefault(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()), name)
        if alike != name:
            problems.append(
                f"cases {alike!r} and {name!r} differ only in case or in how accents are encoded, and would be one "
                "file on some file systems: rename one"
            )
    raise_problems(problems)
