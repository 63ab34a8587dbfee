"""The sources that cases can come from: one file each, and one line below."""

from collections.abc import Callable
from typing import Annotated, Protocol

from pydantic import Field

from data.case import Case
from data.folder import FolderSettings, FolderSource
from data.la import LASettings, LASource
from data.phantom import PhantomSettings, PhantomSource
from data.scans import Geometry, Reading

__all__ = ["DataSettings", "FolderSettings", "LASettings", "PhantomSettings", "Source", "open_source"]

DataSettings = Annotated[PhantomSettings | LASettings | FolderSettings, Field(discriminator="source")]

_SOURCES = {PhantomSettings: PhantomSource, LASettings: LASource, FolderSettings: FolderSource}


class Source(Protocol):
    """A set of cases: which there are, what decides each, and how to read one."""

    name: str  # for tables
    classes: int  # foreground classes C
    class_names: dict[str, int]  # and their values in the files
    train_ids: list[str]
    test_ids: list[str]
    reading: Reading  # how a new scan has to be read to look like the cases
    preparation: str | None  # what else was done to the images before they came here, for tables
    patient_of: Callable[[str], str]  # whose scan a case is
    problems: list[str]  # what is wrong with single cases, as far as file names tell

    def content_key(self, case_id: str) -> str:
        """A sha256 of what decides the case: of its files, or of what it is computed from."""

    def read(self, case_id: str) -> Case:
        """The case on its own grid; raises DataError where it cannot be had."""

    def geometry(self, case_id: str) -> Geometry | None:
        """Where the case's own grid lies in its file; None where its file does not say."""


def open_source(settings: DataSettings) -> Source:
    """The source that the settings describe; raises DataError where its cases are not all there."""
    return _SOURCES[type(settings)](settings)
