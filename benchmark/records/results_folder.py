"""The paths of a results folder, what lies there, and how a record gets there in one rename.

    plan.json, experiment.yaml         what is planned, and from what
    cases/<id>.npz                     picture of a test case
    running/<trial>/                   checkpoints, heartbeat, a record that is being put together
    records/<trial>/                   a finished record; trial.yaml is written last
    traces/, tensorboard/, tuned/      profiles, event files, the same experiment with tuned settings

Nothing here imports torch or ray, so that `status` and `report` start quickly.
"""

import json
import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from benchmark.records.files import ResultsError, flush_to_disk, remove, write_text
from benchmark.records.models import READABLE, Heartbeat, Record, StoredPlan, first_problem
from data.errors import one_line

MOST_DIGITS = 300  # of an integer: larger ones are no floating-point numbers
TUNED = "tuned"  # below a results folder whose experiment was tuned
PLAN_AGAIN = "`run` the experiment again, which rewrites it and keeps all records"

Model = TypeVar("Model", bound=BaseModel)

# the parser in C takes a tenth of the time, and there may be hundreds of records
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ResultsFolder:
    """A results folder. Making this object touches no file.

    Args:
        folder: where it lies, or is to lie.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).absolute()

    @property
    def plan_file(self) -> Path:
        return self.folder / "plan.json"

    @property
    def experiment_file(self) -> Path:
        return self.folder / "experiment.yaml"

    def parts(self) -> list["ResultsFolder"]:
        """The folder, and that of its tuned settings if there is one."""
        tuned = ResultsFolder(self.folder / TUNED)
        return [self, tuned] if os.path.exists(tuned.plan_file) else [self]

    def running(self, trial: str) -> Path:
        return self.folder / "running" / trial

    def record(self, trial: str) -> Path:
        return self.folder / "records" / trial

    def trace(self, trial: str) -> Path:
        return self.folder / "traces" / f"{trial}.json.gz"

    def tensorboard(self, trial: str) -> Path:
        return self.folder / "tensorboard" / trial

    def check_place(self) -> None:
        """Raise ResultsError if no folder can be there, because a file is in the way. Nothing is written."""
        for path in (self.folder, *self.folder.parents):
            if os.path.isdir(path):
                return
            if os.path.lexists(path):
                raise ResultsError(
                    f"results folder {self.folder} cannot be made ({path} is no folder): choose another with --results"
                )

    def create(self) -> None:
        """Make the folder. Raises ResultsError if it cannot be written."""
        try:
            for name in ("cases", "running", "records"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            write_text(self.folder / "running" / ".writable", "")
        except OSError as error:
            raise ResultsError(
                f"results folder {self.folder} cannot be written ({error.strerror}): choose another with "
                "--results or free it"
            ) from error

    def read_plan(self) -> StoredPlan:
        """plan.json. Raises ResultsError with one line if it is missing or unusable."""
        try:
            content = _parsed_json(self.plan_file)
        except (FileNotFoundError, NotADirectoryError) as error:
            what = "is no results folder: it has no plan.json; `run` makes one"
            raise ResultsError(f"{self.folder} {what if os.path.isdir(self.folder) else 'does not exist'}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise ResultsError(f"{self.plan_file} cannot be read ({one_line(error)}): {PLAN_AGAIN}") from error
        if not isinstance(content, dict):
            raise ResultsError(f"{self.plan_file} holds no mapping: {PLAN_AGAIN}")
        if content.get("format") not in READABLE:
            raise ResultsError(
                f"{self.plan_file} is of format {content.get('format')}: use the version of the harness that wrote it"
            )
        try:
            return StoredPlan.model_validate(content)
        except ValidationError as error:
            raise ResultsError(f"{self.plan_file} {first_problem(error)}: {PLAN_AGAIN}") from error

    def write_plan(self, plan: StoredPlan) -> None:
        text = json.dumps(plan.model_dump(mode="json"), indent=1, ensure_ascii=False)
        write_text(self.plan_file, text + "\n")

    def check_format(self) -> None:
        """Raise ResultsError if the plan or a record has another format: it must not be overwritten."""
        found = {}
        with suppress(OSError, ValueError, RecursionError):
            plan = _parsed_json(self.plan_file)
            found[self.plan_file] = plan.get("format", READABLE[0]) if isinstance(plan, dict) else READABLE[0]
        for path in self.folder.glob("records/*/trial.yaml"):
            with suppress(OSError, ValueError), path.open(encoding="utf-8") as file:
                number = re.fullmatch(r"format: (\d+)\s*", file.readline(100))  # stands first in every version
                found[path] = int(number[1]) if number else READABLE[0]
        for path, number in found.items():
            if number not in READABLE:
                raise ResultsError(
                    f"{path} is of format {number}: use the version of the harness that wrote it, or another folder"
                )

    def read_record(self, trial: str) -> Record | None:
        """trial.yaml of a record, or None where there is no record.

        Raises:
            ResultsError: with a few words on what is wrong with the file.
        """
        path = self.record(trial) / "trial.yaml"
        try:
            content = _writable(yaml.load(path.read_text(encoding="utf-8-sig"), _SafeLoader))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise ResultsError(f"trial.yaml: {one_line(error)}") from None
        if not isinstance(content, dict):
            raise ResultsError("trial.yaml holds no mapping")
        if content.get("format") not in READABLE:
            raise ResultsError(f"trial.yaml is of format {content.get('format')}, which this version does not read")
        record = _parsed(Record, content, "trial.yaml")
        for found in (record.trial, record.cell.trial):
            if found != trial:
                raise ResultsError(f"trial.yaml is that of {found}")
        return record

    def finished_record(self, trial: str) -> Record | None:
        """The record of a finished trial; None if it is missing, failed or unreadable."""
        with suppress(ResultsError):
            record = self.read_record(trial)
            if record is not None and record.state == "done":
                return record
        return None

    def has_record(self, trial: str) -> bool:
        """Whether there is a readable record, also that of a failed trial."""
        with suppress(ResultsError):
            return self.read_record(trial) is not None
        return False

    def write_record(self, folder: Path, record: Record) -> None:
        """trial.yaml, written last: without it there is no record."""
        content = record.model_dump(mode="json")
        write_text(folder / "trial.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def read_provenance(self, trial: str) -> dict:
        """Where, when and with what a trial ran; empty if unknown. Raises ResultsError if the file is damaged."""
        try:
            return dict(_parsed_json(self.record(trial) / "provenance.json"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ResultsError(f"provenance.json: {one_line(error)}") from None

    def heartbeat(self, trial: str) -> Heartbeat | None:
        """The last sign of life of a running trial, or None. Raises ResultsError if the file is damaged."""
        try:
            content = _parsed_json(self.running(trial) / "heartbeat.json")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise ResultsError(f"heartbeat.json: {one_line(error)}") from None
        return _parsed(Heartbeat, content, "heartbeat.json")

    def last_step(self, trial: str) -> int:
        """The last known step of a running trial; 0 if unknown."""
        with suppress(ResultsError):
            beat = self.heartbeat(trial)
            return beat.step if beat else 0
        return 0

    def write_heartbeat(self, trial: str, state: dict) -> None:
        """Write a sign of life. It is not flushed to disk, and a full disk does not stop the trial."""
        path = self.running(trial) / "heartbeat.json"
        partial = path.with_suffix(".partial")
        with suppress(OSError):
            partial.write_text(json.dumps(state | {"time": time.time()}), encoding="utf-8")
            partial.replace(path)

    # A record is put together in running/<trial>/record and moved in one go.

    def start(self, trial: str) -> Path:
        """The folder for a trial's working files. What lies in its place and is no folder holds no work: it goes.

        Raises:
            OSError: the results folder is gone. It is not made anew, half of what it was.
        """
        folder = self.running(trial)
        if not folder.is_dir():
            folder.unlink(missing_ok=True)
            folder.mkdir()
        return folder

    def unpublished(self, trial: str) -> Path:
        """An empty folder in which to put a record together."""
        folder = self.start(trial) / "record"
        remove(folder)
        folder.mkdir()
        return folder

    def publish(self, trial: str) -> bool:
        """Move a finished record to its place, over an older one; False if there is none to move.

        A record is finished when its trial.yaml is there. Called again after a stop in between, it goes on. The
        working files of a failed trial stay: a retry goes on from its checkpoint.
        """
        finished = self.running(trial) / "record"
        if not (finished / "trial.yaml").exists():
            return False
        flush_to_disk(finished)
        replaced = self.running(trial) / "replaced"
        remove(replaced)
        if os.path.lexists(self.record(trial)):  # also a link that leads nowhere
            self.record(trial).rename(replaced)
        finished.rename(self.record(trial))
        flush_to_disk(self.record(trial).parent, recursive=False)
        if self.finished_record(trial) is not None:
            self.clear(trial)
        return True

    def clear(self, trial: str) -> None:
        """Remove the working files of a finished trial. A kill during publishing may have left them."""
        shutil.rmtree(self.running(trial), ignore_errors=True)


def _parsed_json(path: Path) -> object:
    """Raises OSError, ValueError or RecursionError where there is none that can be used."""
    return _writable(json.loads(path.read_text(encoding="utf-8-sig"), parse_int=_number))


def _number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _writable(content: object) -> object:
    """The content, if each text in it can be written again; else raise ValueError.

    JSON and YAML can spell half a surrogate pair. Every table that showed it would fail.
    """
    json.dumps(content, ensure_ascii=False, skipkeys=True, default=str).encode()
    return content


def _parsed(model: type[Model], content: object, file: str) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ResultsError(f"{file} {first_problem(error)}") from None
