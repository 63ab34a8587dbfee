"""The other side of process.py: hands the messages of a trial to the logger of one file."""

import importlib.util
import signal
import sys

from benchmark.trial.loggers.protocol import Logger, Run
from data.errors import one_line
from data.reader import receive


def serve(path: str) -> None:
    """Take messages from the standard input until it ends. What fails is the last line of the standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the trial tells when to end
    try:
        _take_messages(_load(path))
    except Exception as error:
        sys.exit(one_line(f"{type(error).__name__}: {error}"))


def _load(path: str) -> Logger:
    spec = importlib.util.spec_from_file_location("logger_of_trial", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Logger()


def _take_messages(logger: Logger) -> None:
    step = 0
    while True:
        try:
            message, picture = receive(sys.stdin.buffer)
        except EOFError:  # the trial was killed
            return logger.end(step, {})
        step = message.get("step", step)
        match message["call"]:
            case "start":
                logger.start(Run(**message["run"]))
            case "scalars":
                logger.scalars(step, message["values"])
            case "image":
                logger.image(step, message["name"], picture)
            case "end":
                return logger.end(step, message["values"])
