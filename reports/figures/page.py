"""A figure of pictures, laid out in inches from its upper left corner."""

import itertools

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from reports.figures.style import DASHES, PREDICTED, SMALL, TRUE, WIDTH, new_figure

LINE = 0.13  # inches: a line of type
KEY = 0.5  # inches at the foot


class Page:
    """One pair of axes for all pictures, since dozens of pairs would take a minute to draw."""

    def __init__(self, height: float):
        """height: in inches, without the key at the foot."""
        self.height = height + KEY
        self.figure = new_figure(self.height, constrained=False)
        self._axes = self.figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set_autoscale_on(False)
        self._axes.set_xlim(0, WIDTH)
        self._axes.set_ylim(self.height, 0)

    def image(self, pixels: np.ndarray, left: float, top: float, width: float, height: float) -> None:
        """A picture, (rows, columns) uint8 in grey or (rows, columns, 3)."""
        extent = (left, left + width, top + height, top)
        self._axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")

    def lines(
        self, points: list[np.ndarray], colour: str, dash, left: float, top: float, width: float, height: float
    ) -> None:
        """Lines (N,2) within a picture, as fractions of its width and height; what is beyond is cut off."""
        for line in points:
            (drawn,) = self._axes.plot(
                left + line[:, 0] * width, top + line[:, 1] * height, color=colour, linewidth=0.8, linestyle=dash
            )
            drawn.set_clip_path(Rectangle((left, top), width, height, transform=self._axes.transData))

    def text(self, left: float, top: float, text: str, ha: str = "left", va: str = "bottom", **more) -> None:
        self._axes.text(left, top, text, **{"ha": ha, "va": va, "fontsize": SMALL, "linespacing": 1.05} | more)

    def scale_bar(self, length: float, left: float, top: float, width: float, height: float, mm: float) -> None:
        """A bar of `length` inches that stands for `mm`, in the lower right of a picture."""
        right, foot = left + 0.95 * width, top + 0.93 * height
        self._axes.plot([right - length, right], [foot, foot], color="white", linewidth=1.5, solid_capstyle="butt")
        outline = [withStroke(linewidth=1.2, foreground="black")]
        self.text(right, foot - 0.04, f"{mm:g} mm", ha="right", color="white", path_effects=outline)

    def contour_key(self, structures: list[str]) -> None:
        """Which contour is which, on the grey of an image; where there are several structures, each has its dashes."""
        lines = [Line2D([], [], color=colour, label=f"{what} contour")
                 for what, colour in (("true", TRUE), ("predicted", PREDICTED))]  # fmt: skip
        if len(structures) > 1:
            dashed = zip(structures, itertools.cycle(DASHES), strict=False)
            lines += [Line2D([], [], color="white", linestyle=dash, label=name) for name, dash in dashed]
        self.figure.legend(handles=lines, loc="lower left", ncols=len(lines), facecolor="#404040", framealpha=1,
                           labelcolor="white", frameon=True, edgecolor="none")  # fmt: skip

    def error_key(self, colours: str, limit: float) -> None:
        """The colours of surface errors from -limit to limit mm."""
        place = (4.2 / WIDTH, 0.36 / self.height, 2.8 / WIDTH, 0.08 / self.height)
        scale = ScalarMappable(Normalize(-limit, limit), matplotlib.colormaps[colours])
        bar = self.figure.colorbar(scale, cax=self.figure.add_axes(place), orientation="horizontal", extend="both")
        bar.set_ticks([-limit, 0, limit])
        bar.set_label("surface error [mm]: − inside, + outside the truth", labelpad=1)
        bar.outline.set_linewidth(0.4)
        bar.ax.tick_params(width=0.4, length=2, pad=1)
