"""The settings that the data block of an experiment has for every source."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from data.case import DataError

Number = Annotated[float, Field(allow_inf_nan=False)]
Size = Annotated[Number, Field(gt=0)]  # mm
Sizes = tuple[Size, Size, Size]


class CommonSettings(BaseModel):
    """The training grid, and cases held out of training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spacing: Size | Sizes | None = Field(
        None, description="voxel size in mm to train at, one number or one an axis; none: as stored"
    )
    validation: list[str] = Field(
        [], description="training cases that are scored instead of the test cases, which are then not opened"
    )

    validation_cases: Annotated[int, Field(ge=0)] | list[str] | str = Field(
        0,
        description="labelled cases that choose a checkpoint and are not trained on: how many of each budget, their "
        "names, or a list file below the root folder",
    )

    @field_validator("validation", "validation_cases")
    @classmethod
    def _no_repetition(cls, cases: int | list[str] | str) -> int | list[str] | str:
        names = cases if isinstance(cases, list) else []
        if repeated := sorted({case for case in names if names.count(case) > 1}):
            raise ValueError(f"names {repeated[0]} twice: remove one")
        return cases


def existing_folder(root: str, holds: str) -> Path:
    """The folder that `data.root` names, as an absolute path.

    Args:
        root: may contain ~ and variables of the environment.
        holds: what the folder must contain, for the message.

    Raises:
        DataError: a variable is not set, or there is no such folder.
    """
    expanded = os.path.expandvars(os.path.expanduser(root))
    if unset := re.search(r"\$\{?(\w+)", expanded):
        raise DataError(
            f"data.root is {root}, but the environment variable {unset[1]} is not set: export {unset[1]}=FOLDER"
        )
    if not expanded:
        raise DataError(f"data.root is {root!r}, which is empty; set it to the folder that holds {holds}")
    if not Path(expanded).is_dir():
        raise DataError(
            f"data.root: there is no folder {os.path.abspath(expanded)}; set it to the folder that holds {holds}"
        )
    return Path(expanded).absolute()
