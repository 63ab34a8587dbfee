"""The settings that say how an image's file becomes the array that a network gets."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from data.settings import Number, Sizes

AXES = ("LR", "PA", "SI")  # an orientation has one letter of each


class Reading(BaseModel):
    """How an image file becomes the array that a network gets. Records hold it, to read new scans in the same way.

    Args:
        orientation: what the axes of the array increase towards, such as "RAS" or "LPS"; "stored" for the file's axes.
        normalise: "zscore" of the whole scan; a window [low, high] that is clipped to and scaled to 0..1; or "none".
        voxel: mm of a voxel of files that state none or several, or which of a NIfTI file's fields is right.
        grid_tolerance: how far the grid of a label may be from that of its image, in voxels.
        channel: which of nnU-Net's channels <case>_0000, <case>_0001, … is read.

    Raises:
        pydantic.ValidationError: no such orientation, or a window whose low is not below its high.

    Example:
        >>> Reading(normalise=[-100, 300]).orientation
        'RAS'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    orientation: str = Field(
        "RAS", description='what the three axes increase towards, such as RAS or LPS; "stored" for those of the file'
    )
    normalise: Literal["zscore", "none"] | Annotated[list[Number], Field(min_length=2, max_length=2)] = Field(
        "zscore", description="zscore: of the whole scan; [low, high]: clipped to it and scaled to 0..1 (CT); or none"
    )
    voxel: Sizes | Literal["pixdim", "sform"] | None = Field(
        None,
        description="voxel size of files that state none, or different ones: three numbers in mm, one an axis of the "
        "file. Or which field of a NIfTI file is right, pixdim or sform",
    )
    grid_tolerance: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="how far, in voxels, a label's grid may lie from its image's; sizes a tenth of it",
    )
    channel: int | None = Field(None, ge=0, description="which channel of nnU-Net's <case>_0000, <case>_0001, …")

    @field_validator("orientation")
    @classmethod
    def _three_axes(cls, orientation: str) -> str:
        letters = len(orientation) == 3 and all(sum(o in axis for o in orientation) == 1 for axis in AXES)
        if orientation != "stored" and not letters:
            raise ValueError("must be stored, or three letters, one of each of L R, P A, S I, for instance RAS")
        return orientation

    @field_validator("normalise")
    @classmethod
    def _a_window(cls, normalise: str | list[float]) -> str | list[float]:
        if not isinstance(normalise, str) and not normalise[0] < normalise[1]:
            raise ValueError("the window's low must be below its high")
        return normalise

    def cache_key(self) -> dict[str, Any]:
        """The settings that decide a cache entry.

        A setting that came later counts only if it is not at its default, so that earlier entries stay valid.
        """
        later = {"grid_tolerance"} if self.grid_tolerance == type(self).model_fields["grid_tolerance"].default else None
        return self.model_dump(mode="json", exclude=later)
