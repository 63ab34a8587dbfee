"""Errors meant for users. Every package may import this module; it imports nothing of the project."""

import re


class UserError(ValueError):
    """Something that the user can mend. The message is one line: what is wrong, where, and what to do.

    The command line catches only this class, and prints the message without a traceback.
    """


def one_line(error: BaseException | str) -> str:
    """A text, such as an error's, in one line: white space becomes one space, control characters are `visible`.

    Example:
        >>> one_line("first\\n  second")
        'first second'
    """
    return visible(" ".join(str(error).split()))


# Control characters, which a terminal obeys; marks that turn the direction of writing; halves of surrogate pairs.
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """A text with its control characters spelled out. Names and messages may come from other people's files.

    Example:
        >>> visible("\\x1b[31mred")
        '\\\\x1b[31mred'
    """
    return _INVISIBLE.sub(lambda found: ascii(found[0])[1:-1], text)
