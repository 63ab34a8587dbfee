"""Surfaces of masks: their meshes, how far they are from the truth, and pictures of them."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

FINENESS = 64  # cells of a mesh along the structure's longest extent
# From behind and above for arrays along left, back and up, as the left-atrium cases are: where the veins enter.
AZIMUTH, ELEVATION = 205.0, 30.0  # degrees
LIGHT = np.array([-0.4, 0.5, 0.77])  # right, up, towards the viewer
BEHIND = np.array([0.8, 0.8, 0.8])


@dataclass(frozen=True)
class Mesh:
    """vertices (V,3) in mm from the centre of the image's first voxel, normals (V,3), faces (F,3) of vertices."""

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray


def surface(mask: np.ndarray, spacing: tuple[float, ...]) -> Mesh:
    """The surface of a mask (H,W,D) that is not empty, on cells of a 64th of its extent, lightly smoothed."""
    spacing = np.asarray(spacing, float)
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    extent = np.array([axis.stop - axis.start for axis in box]) * spacing
    cell = max(extent.max() / FINENESS, 0.5 * spacing.min())
    sigma = 0.7 * cell / spacing
    pad = np.ceil(4 * sigma + 1).astype(int)
    volume = ndimage.gaussian_filter(np.pad(mask[box].astype(np.float32), pad[:, None]), sigma)
    grid = [np.arange(0, n - 1 + 1e-6, cell / mm) for n, mm in zip(volume.shape, spacing, strict=True)]
    volume = ndimage.map_coordinates(volume, np.meshgrid(*grid, indexing="ij"), order=1)
    # structures of a few voxels may be smoothed below one half everywhere
    level = min(0.5, 0.5 * float(volume.max()))
    vertices, faces, normals, _ = marching_cubes(volume, level, spacing=(cell,) * 3)
    corner = np.array([axis.start for axis in box]) - pad
    # skimage turns the corners of a face clockwise as seen from outside
    return Mesh(vertices + corner * spacing, normals, faces[:, ::-1])


class Truth:
    """The true surface of a structure, to measure others against."""

    def __init__(self, mask: np.ndarray, spacing: tuple[float, ...]):
        self.mask, self.spacing = mask, np.asarray(spacing, float)
        box = ndimage.find_objects(mask.astype(np.uint8))[0]
        corner = np.array([axis.start for axis in box]) - 1
        vertices = marching_cubes(np.pad(mask[box].astype(np.float32), 1), 0.5, spacing=tuple(self.spacing))[0]
        self._tree = cKDTree(vertices + corner * self.spacing)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance in mm of points (N,3) to the true surface: positive outside of the structure, negative inside."""
        voxels = np.rint(points / self.spacing).astype(int)
        within = ((voxels >= 0) & (voxels < self.mask.shape)).all(axis=1)
        inside = np.zeros(len(points), bool)
        inside[within] = self.mask[tuple(voxels[within].T)]
        return np.where(inside, -1, 1) * self._tree.query(points)[0]


def viewed(points: np.ndarray) -> np.ndarray:
    """Points or directions (N,3) as seen: right, up, towards the viewer."""
    azimuth, elevation = np.radians(AZIMUTH), np.radians(ELEVATION)
    right = np.array([np.cos(azimuth), np.sin(azimuth), 0])
    towards = np.array([np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)])
    return points @ np.stack([right, np.cross(towards, right), towards]).T


def picture(
    meshes: list[tuple[Mesh, np.ndarray]], behind: list[Mesh], frame: tuple[float, float, float, float], width: int
) -> np.ndarray:
    """Meshes as seen, on white: (height, width, 3) uint8.

    meshes: each with the colours (V,3) of its vertices, which light shades; behind: flat and grey behind all of them;
    frame: left, right, bottom, top of what is seen, in mm.
    """
    left, right, bottom, top = frame
    pixel = (right - left) / (2 * width)  # drawn at twice the size, for smooth edges
    rows, columns = 2 * round((top - bottom) / pixel / 2), 2 * width
    drawn = np.ones((rows, columns, 3), np.float32)
    layers = [[_facing(mesh, None) for mesh in behind], [_facing(mesh, colours) for mesh, colours in meshes]]
    for triangles in filter(None, layers):
        corners, colours = (np.concatenate(parts).astype(np.float32) for parts in zip(*triangles, strict=True))
        order = np.argsort(corners[..., 2].mean(axis=1), kind="stable")  # the nearest last, over the others
        shares = _shares(int(np.ceil(np.ptp(corners, axis=1).max(initial=0) / pixel)) + 1)
        x, y = np.moveaxis(shares @ corners[order][..., :2], -1, 0)
        x, y = ((x - left) / pixel).astype(int), ((top - y) / pixel).astype(int)
        seen = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        drawn[y[seen], x[seen]] = (shares @ colours[order])[seen]
    halved = drawn.reshape(rows // 2, 2, width, 2, 3).mean(axis=(1, 3))
    return np.rint(255 * halved).astype(np.uint8)


def _facing(mesh: Mesh, colours: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The triangles that face the viewer (F,3,3) as seen, and the colours of their corners (F,3,3), shaded by light."""
    corners = viewed(mesh.vertices)[mesh.faces]
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0
    if colours is None:
        return corners[facing], np.broadcast_to(BEHIND, corners[facing].shape)
    light = np.clip(viewed(mesh.normals) @ (LIGHT / np.linalg.norm(LIGHT)), 0, 1)
    return corners[facing], (colours * (0.55 + 0.45 * light)[:, None])[mesh.faces[facing]]


def _shares(steps: int) -> np.ndarray:
    """Barycentric coordinates (P,3) of a grid of points on a triangle, `steps` along each side."""
    a, b = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1))
    a, b = a[a + b <= steps], b[a + b <= steps]
    return (np.stack([a, b, steps - a - b], axis=1) / steps).astype(np.float32)
