"""The token that Ray's processes show each other. Whoever reads it can run code as its owner."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

GIVEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # environment variables of Ray that replace the file


def make_private() -> None:
    """Make ~/.ray/auth_token readable for its owner alone, before Ray makes it readable for everybody.

    A file that is missing is created with a token, as Ray would. Nothing is done where Ray does not use the file, or it
    cannot be written: Ray itself says so then.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or any(os.environ.get(name) for name in GIVEN):
        return
    with suppress(OSError, RuntimeError):  # RuntimeError: there is no home directory
        path = Path.home() / ".ray" / "auth_token"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # The mode stands in the call that creates the file: at no moment can others open it.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
            return
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
