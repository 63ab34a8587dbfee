"""The settings that say how an image's file becomes the array that a network gets."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, field_validator

from data.settings import Number, Sizes

AXES = ("LR", "PA", "SI")  # an orientation has one letter of each
Window = Annotated[list[Number], Field(min_length=2, max_length=2)]
Normalise = Literal["zscore", "none"] | Window


class Reading(BaseModel):
    """How an image file becomes the array that a network gets. Records hold it, to read new scans in the same way.

    Args:
        orientation: what the axes of the array increase towards, such as "RAS" or "LPS"; "stored" for the file's axes.
        normalise: "zscore" of the whole scan; a window [low, high] that is clipped to and scaled to 0..1; or "none". Of
            several channels each is normalised by itself; a list gives each channel its own of these three.
        voxel: mm of a voxel of files that state none or several, or which of a NIfTI file's fields is right.
        grid_tolerance: how far the grid of a label may be from that of its image, in voxels.
        channel: which of nnU-Net's channels <case>_0000, <case>_0001, … is read: a number, a list of numbers, or "all".

    Raises:
        pydantic.ValidationError: no such orientation, a window whose low is not below its high, or a channel twice.

    Example:
        >>> Reading(normalise=[-100, 300]).orientation
        'RAS'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    orientation: str = Field(
        "RAS", description='what the three axes increase towards, such as RAS or LPS; "stored" for those of the file'
    )
    normalise: Normalise | Annotated[list[Normalise], Field(min_length=2)] = Field(
        "zscore",
        description="zscore: of the whole scan; [low, high]: clipped to it and scaled to 0..1 (CT); or none; or a list "
        "of these, one a channel",
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
    channel: NonNegativeInt | Annotated[list[NonNegativeInt], Field(min_length=2)] | Literal["all"] | None = Field(
        None,
        description="channels of nnU-Net's <case>_0000, <case>_0001, … that are read: a number, a list of them, or all",
    )

    @field_validator("orientation")
    @classmethod
    def _three_axes(cls, orientation: str) -> str:
        letters = len(orientation) == 3 and all(sum(o in axis for o in orientation) == 1 for axis in AXES)
        if orientation != "stored" and not letters:
            raise ValueError("must be stored, or three letters, one of each of L R, P A, S I, for instance RAS")
        return orientation

    @field_validator("normalise")
    @classmethod
    def _windows(cls, normalise: str | list) -> str | list:
        for window in [normalise, *(normalise if isinstance(normalise, list) else [])]:
            if isinstance(window, list) and isinstance(window[0], float) and not window[0] < window[1]:
                raise ValueError("the window's low must be below its high")
        return normalise

    @field_validator("channel")
    @classmethod
    def _no_channel_twice(cls, channel: int | list[int] | str | None) -> int | list[int] | str | None:
        if isinstance(channel, list) and len(set(channel)) < len(channel):
            raise ValueError("names a channel twice: remove one")
        return channel

    @property
    def channels(self) -> int:
        """The number M of channels of an image. With "all" it is known once a source has found them."""
        return max(len(self.channel_numbers), 1)

    @property
    def channel_numbers(self) -> list[int]:
        """The numbers in the names of the channels' files; none if names have no number."""
        return self.channel if isinstance(self.channel, list) else [] if self.channel is None else [self.channel]

    def of_channels(self) -> list["Reading"]:
        """How each channel is read.

        Example:
            >>> [each.normalise for each in Reading(channel=[0, 1], normalise=["zscore", [0, 80]]).of_channels()]
            ['zscore', [0.0, 80.0]]
        """
        one_for_all = isinstance(self.normalise, str) or isinstance(self.normalise[0], float)
        each = [self.normalise] * self.channels if one_for_all else self.normalise
        return [self.model_copy(update={"normalise": of_channel}) for of_channel in each]

    def cache_key(self) -> dict[str, Any]:
        """The settings that decide a cache entry.

        A setting that came later counts only if it is not at its default, so that earlier entries stay valid.
        """
        later = {"grid_tolerance"} if self.grid_tolerance == type(self).model_fields["grid_tolerance"].default else None
        return self.model_dump(mode="json", exclude=later)
