"""Intensity augmentation as an experiment declares it. This module imports nothing of the project."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Range = tuple[
    Annotated[float, Field(ge=0, allow_inf_nan=False)], Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
]


class Intensity(BaseModel):
    """What happens to the intensities of a patch. A strength of 0 is off, and so is every strength by default.

    Args:
        brightness: what is added lies in -brightness..brightness, in deviations of the patch.
        contrast: differences from the patch's mean are multiplied by 1 - contrast..1 + contrast.
        gamma: exponent in 1 - gamma..1 + gamma, of intensities scaled to 0..1 in the patch.
        bias_field: largest logarithm of a smooth field that multiplies intensities above the patch's lowest.
        probability: of brightness and contrast together, of gamma, and of the bias field.
        blur: range of the deviation of a Gaussian blur, in voxels.
        blur_probability: of the blur.
        noise: range of the deviation of Gaussian noise.
        noise_probability: of the noise.

    Raises:
        pydantic.ValidationError: a strength outside its range, or a range whose low is above its high.

    Example:
        >>> Intensity().is_off, Intensity(gamma=0.5).is_off
        (True, False)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    brightness: float = Field(0.0, ge=0, le=10)
    contrast: float = Field(0.0, ge=0, lt=1)
    gamma: float = Field(0.0, ge=0, lt=1)
    bias_field: float = Field(0.0, ge=0, le=10)
    probability: Probability = 0.8
    blur: Range = (0.0, 0.0)
    blur_probability: Probability = 0.5
    noise: Range = (0.0, 0.0)
    noise_probability: Probability = 0.2

    @model_validator(mode="after")
    def _ranges_are_in_order(self) -> "Intensity":
        for name in ("blur", "noise"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: [{low:g}, {high:g}] begins above its end: exchange the numbers")
        return self

    @property
    def is_off(self) -> bool:
        """Whether nothing is changed."""
        return not any((self.brightness, self.contrast, self.gamma, self.bias_field, self.blur[1], self.noise[1]))


# Brightness, contrast and blur as UniMatch has them in 2D; gamma and bias field as CrossMatch has them in 3D.
STRONG = Intensity(brightness=0.5, contrast=0.5, gamma=0.5, bias_field=0.5, blur=(0.1, 2.0))
