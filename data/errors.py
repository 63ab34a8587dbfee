"""Errors meant for users. Every package may import this module; it imports nothing of the project."""


class UserError(ValueError):
    """Something that the user can mend. The message is one line: what is wrong, where, and what to do.

    The command line catches this class alone and prints the message without a traceback.
    """


def one_line(error: BaseException | str) -> str:
    """An error's text, or any text, with every run of white space as one space.

    Example:
        >>> one_line("first\\n  second")
        'first second'
    """
    return " ".join(str(error).split())
