"""Calls the command line in this process."""

import sys

import pytest

from benchmark.command_line import app


@pytest.fixture
def command(monkeypatch, capsys, own_registry):
    """command(argument, …) -> (exit status, stdout, stderr)."""
    # rich would break lines at 80 columns where there is no terminal.
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr(app.console, "width", 1000)  # it may have been made before

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["run_benchmark.py", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            app.main()
        return (stop.value.code or 0, *capsys.readouterr())

    return call


def one_line_error(outcome) -> str:
    """What a command that was refused says on stderr, which must be one line."""
    status, _, stderr = outcome
    assert status == 2
    assert stderr.startswith("error: ") and stderr.count("\n") == 1 and "Traceback" not in stderr
    return stderr
