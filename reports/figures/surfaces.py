"""Surfaces of masks: their meshes, their distance to the truth, and how they look from one direction."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from data.masks import bounding_box

FINENESS = 64  # cells of a mesh along the structure's longest side
# From behind and above for arrays along left, back and up, such as the left-atrium cases: where the veins enter.
AZIMUTH, ELEVATION = np.radians(205.0), np.radians(30.0)
LIGHT = np.array([-0.4, 0.5, 0.77])  # right, up, towards the viewer; of length 1
SILHOUETTE = 0.8  # grey


@dataclass(frozen=True)
class Mesh:
    """A surface of triangles.

    Attributes:
        vertices: (V, 3) in mm from the centre of the image's first voxel.
        normals: (V, 3), pointing outwards.
        faces: (F, 3), the vertices of each triangle.
    """

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray


def surface(mask: np.ndarray, spacing: tuple[float, ...]) -> Mesh:
    """The lightly smoothed surface of a mask (H, W, D) that is not empty. `spacing` is mm per voxel."""
    spacing = np.asarray(spacing, float)
    box = bounding_box(mask)
    extent = np.array([axis.stop - axis.start for axis in box]) * spacing
    cell = max(extent.max() / FINENESS, 0.5 * spacing.min())
    sigma = 0.7 * cell / spacing
    pad = np.ceil(4 * sigma + 1).astype(int)
    volume = ndimage.gaussian_filter(np.pad(mask[box].astype(np.float32), pad[:, None]), sigma)
    grid = [np.arange(0, n - 1 + 1e-6, cell / mm) for n, mm in zip(volume.shape, spacing, strict=True)]
    volume = ndimage.map_coordinates(volume, np.meshgrid(*grid, indexing="ij"), order=1)
    # a structure of a few voxels may be smoothed below one half everywhere
    level = min(0.5, 0.5 * float(volume.max()))
    vertices, faces, normals, _ = marching_cubes(volume, level, spacing=(cell,) * 3)
    corner = np.array([axis.start for axis in box]) - pad
    # skimage turns the corners of a face clockwise as seen from outside
    return Mesh(vertices + corner * spacing, normals, faces[:, ::-1])


class Truth:
    """The true surface of a structure, from which distances are measured."""

    def __init__(self, mask: np.ndarray, spacing: tuple[float, ...]):
        self.mask, self.spacing = mask, np.asarray(spacing, float)
        box = bounding_box(mask)
        corner = np.array([axis.start for axis in box]) - 1
        vertices = marching_cubes(np.pad(mask[box].astype(np.float32), 1), 0.5, spacing=tuple(self.spacing))[0]
        self._tree = cKDTree(vertices + corner * self.spacing)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance in mm of points (N, 3) to the true surface: positive outside the structure, negative inside."""
        voxels = np.rint(points / self.spacing).astype(int)
        within = ((voxels >= 0) & (voxels < self.mask.shape)).all(axis=1)
        inside = np.zeros(len(points), bool)
        inside[within] = self.mask[tuple(voxels[within].T)]
        return np.where(inside, -1, 1) * self._tree.query(points)[0]


def viewed(points: np.ndarray) -> np.ndarray:
    """Turn points or directions (N, 3) to the viewer's axes: right, up, towards the viewer."""
    right = np.array([np.cos(AZIMUTH), np.sin(AZIMUTH), 0])
    towards = np.array([np.sin(AZIMUTH) * np.cos(ELEVATION), -np.cos(AZIMUTH) * np.cos(ELEVATION), np.sin(ELEVATION)])
    return points @ np.stack([right, np.cross(towards, right), towards]).T


def draw_meshes(axes: Axes, meshes: list[Mesh], colours: list[np.ndarray], silhouettes: list[Mesh]) -> None:
    """Draw meshes as seen, in mm right and up.

    Args:
        axes: where to draw.
        meshes: they may hide one another.
        colours: of each mesh, (F, 3), one colour per triangle, which light shades.
        silhouettes: meshes that are drawn flat and grey behind the others.
    """
    grey = [np.full((len(mesh.faces), 3), SILHOUETTE) for mesh in silhouettes]
    layers = [_visible(silhouettes, grey, lit=False)] if silhouettes else []
    layers += [_visible(meshes, colours, lit=True)] if meshes else []
    corners, shades = (np.concatenate(parts) for parts in zip(*layers, strict=True))
    triangles = PolyCollection(corners, facecolors=shades, edgecolors=shades, linewidths=0.3, rasterized=True)
    axes.add_collection(triangles, autolim=False)


def _visible(meshes: list[Mesh], colours: list[np.ndarray], lit: bool) -> tuple[np.ndarray, np.ndarray]:
    """The triangles that face the viewer, the nearest last: their corners (F, 3, 2) in mm and their colours (F, 3)."""
    corners = np.concatenate([viewed(mesh.vertices)[mesh.faces] for mesh in meshes])
    shades = np.concatenate(colours)
    if lit:
        light = np.concatenate([viewed(mesh.normals)[mesh.faces].mean(axis=1) @ LIGHT for mesh in meshes])
        shades = shades * (0.55 + 0.45 * np.clip(light, 0, 1))[:, None]
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0
    order = np.flatnonzero(facing)[np.argsort(corners[facing, :, 2].mean(axis=1), kind="stable")]
    return corners[order, :, :2], shades[order]
