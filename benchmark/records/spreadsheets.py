"""Text in CSV files that spreadsheets open: a name that begins like a formula must stay a name."""

import re

# What Excel, LibreOffice and Google Sheets take for the beginning of a formula, or skip before one. Some take the
# full-width signs of Asian keyboards, too.
_FORMULA = "[=+\\-@\t\r\n＝＋－＠]"
_FORMULA_OR_QUOTED = re.compile(f"'*{_FORMULA}")
_QUOTED = re.compile(f"'+{_FORMULA}")


def neutral(value: object) -> object:
    """A value for a CSV file: a text that a spreadsheet would calculate gets an apostrophe in front.

    Numbers stay numbers, also where they are given as text.

    Example:
        >>> neutral("=1+1"), neutral("-0.5"), neutral(-0.5), neutral("V-Net")
        ("'=1+1", '-0.5', -0.5, 'V-Net')
    """
    if isinstance(value, str) and _FORMULA_OR_QUOTED.match(value) and not _is_number(value):
        return f"'{value}"
    return value


def original(text: str) -> str:
    """The inverse of `neutral`, for what is read back.

    Example:
        >>> original("'=1+1"), original("'quoted'")
        ('=1+1', "'quoted'")
    """
    return text[1:] if _QUOTED.match(text) else text


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII) is not None
