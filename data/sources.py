"""The sources of cases. A new source is one file, and one entry in each of the two lines below."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field

from data.case import Case
from data.folder import FolderSettings, FolderSource
from data.geometry import Geometry
from data.la import LASettings, LASource
from data.phantom import PhantomSettings, PhantomSource
from data.reading import Reading

__all__ = ["DataSettings", "FolderSettings", "LASettings", "PhantomSettings", "Source", "open_source"]

DataSettings = Annotated[PhantomSettings | LASettings | FolderSettings, Field(discriminator="source")]

_SOURCES = {PhantomSettings: PhantomSource, LASettings: LASource, FolderSettings: FolderSource}


class Source(Protocol):
    """A set of cases: which cases there are, and how to read one.

    Attributes:
        name: of the data set, for tables.
        classes: the number C of foreground classes.
        channels: the number M of channels of an image.
        channel_names: one name a channel; empty text where it is not known.
        class_names: the structures, with their values in the files.
        train_ids, test_ids: the cases of the two sides of the split.
        reading: how a new scan has to be read to look like these cases.
        recipe: the published protocol by which data and split were made, "" for others.
        preparation: what was done to the images before they were stored, for tables; None if nothing is known.
        patient_of: the patient of a case.
        problems: problems of single cases that file names already show, one line each.
        notes: files that are clearly no scans, for `data info`, one line each.
    """

    name: str
    classes: int
    channels: int
    channel_names: list[str]
    class_names: dict[str, int]
    train_ids: list[str]
    test_ids: list[str]
    reading: Reading
    recipe: str
    preparation: str | None
    patient_of: Callable[[str], str]
    problems: list[str]
    notes: list[str]

    def content_key(self, case_id: str) -> str:
        """A sha256 of what determines the case: its files, or what it is computed from."""

    def read(self, case_id: str) -> Case:
        """The case on its native grid. Raises DataError if it cannot be read."""

    def label_files(self, case_id: str) -> list[Path]:
        """The files that hold the label of a case; none if it has no label, or is computed."""

    def geometry(self, case_id: str) -> Geometry | None:
        """The position of the native grid in space; None if the case's file does not state it."""


def open_source(settings: DataSettings) -> Source:
    """The source that the settings describe. Raises DataError if a case is missing."""
    return _SOURCES[type(settings)](settings)
