"""The sources that cases can come from: one file each, and one line below."""

from typing import Annotated, Protocol

from pydantic import Field

from data.case import Case
from data.la import LASettings, LASource
from data.phantom import PhantomSettings, PhantomSource

__all__ = ["DataSettings", "LASettings", "PhantomSettings", "Source", "open_source"]

DataSettings = Annotated[PhantomSettings | LASettings, Field(discriminator="source")]

_SOURCES = {PhantomSettings: PhantomSource, LASettings: LASource}


class Source(Protocol):
    """A set of cases: which there are, what decides each, and how to read one."""

    name: str  # for tables
    classes: int  # foreground classes C
    train_ids: list[str]
    test_ids: list[str]

    def content_key(self, case_id: str) -> str:
        """A sha256 of what decides the case: of its files, or of what it is computed from."""

    def read(self, case_id: str) -> Case:
        """The case on its own grid; raises DataError where it cannot be had."""


def open_source(settings: DataSettings) -> Source:
    """The source that the settings describe; raises DataError where its cases are not all there."""
    return _SOURCES[type(settings)](settings)
