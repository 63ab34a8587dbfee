"""The grid of a scan in space, as SimpleITK has it: origin, direction cosines and voxel size in mm."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)  # direction cosines of unturned axes
LARGEST_TOLERANCE = 0.5  # of data.grid_tolerance


@dataclass(frozen=True)
class Geometry:
    """The grid of a file, by which labels can be written back onto it.

    Args:
        size: voxels along each axis of the file.
        spacing: mm of a voxel along each axis of the file.
        origin: the position of the first voxel, in mm.
        direction: the direction cosines of the axes, nine numbers, row by row.
        orientation: of the arrays that were read from the file, see `Reading`.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    orientation: str

    @property
    def array_spacing(self) -> tuple[float, ...]:
        """mm of a voxel along each axis of the arrays that were read."""
        return tuple(reorient(blank_image(self, (1, 1, 1)), self.orientation).GetSpacing())

    def differences(self, other: "Geometry", tolerance: float = 0.01) -> list[str]:
        """How this grid differs from another by more than rounding, one line each.

        Args:
            other: the grid that it should be.
            tolerance: how far the first voxels may be apart, in voxels (of the smallest side). Voxel sizes and
                directions may differ by a tenth of it.

        Example:
            >>> axes = (1, 0, 0, 0, 1, 0, 0, 0, 1)
            >>> grid = Geometry((64, 64, 40), (1, 1, 2), (0, 0, 0), axes, "RAS")
            >>> grid.differences(Geometry((64, 64, 40), (1, 1, 2), (0, 0, 5), axes, "RAS"))
            ['an origin 5 mm away']
        """
        found = [] if self.size == other.size else [f"{by(self.size)} voxels, not {by(other.size)}"]
        side = min(self.spacing)
        if not np.allclose(self.spacing, other.spacing, rtol=0, atol=tolerance / 10 * side):
            found.append(f"voxels of {by(self.spacing)} mm, not {by(other.spacing)}")
        if not np.allclose(self.direction, other.direction, rtol=0, atol=tolerance / 10):
            found.append("another direction of the axes")
        if (distance := np.linalg.norm(np.subtract(self.origin, other.origin))) > tolerance * side:
            found.append(f"an origin {distance:.3g} mm away")
        return found

    def mismatch(self, other: "Geometry", tolerance: float) -> str:
        """The differences in one line, with the tolerance that would accept them; "" without differences."""
        differences = self.differences(other, tolerance)
        if not differences:
            return ""
        side = min(self.spacing)
        needed = max(
            np.abs(np.subtract(self.spacing, other.spacing)).max() * 10 / side,
            np.abs(np.subtract(self.direction, other.direction)).max() * 10,
            np.linalg.norm(np.subtract(self.origin, other.origin)) / side,
        )
        digits = 10.0 ** (1 - math.floor(math.log10(needed))) if needed > 0 else 1.0
        accepts = math.ceil(needed * digits * (1 + 1e-6)) / digits  # rounded up to two digits
        advice = f"; data.grid_tolerance {accepts:g} accepts this"
        fits = self.size == other.size and accepts <= LARGEST_TOLERANCE
        return ", ".join(differences) + (advice if fits else "")


def reorient(image: sitk.Image, orientation: str) -> sitk.Image:
    """The image with axes turned and mirrored as `Reading.orientation` says; "stored" leaves it as it is."""
    return image if orientation == "stored" else sitk.DICOMOrient(image, orientation)


def orientation_of(image: sitk.Image) -> str:
    """The three letters of an image's axes."""
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


def blank_image(geometry: Geometry, size: tuple[int, ...]) -> sitk.Image:
    """An image of zeros with this position in space, and this many voxels."""
    image = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def by(numbers: Iterable[float]) -> str:
    """Sizes for a message.

    Example:
        >>> by((64, 64, 40))
        '64 x 64 x 40'
    """
    return " x ".join(f"{number:g}" for number in numbers)
