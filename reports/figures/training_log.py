"""The curves of our runs beside that of a training log. No part of a report: `compare-log` draws it."""

from pathlib import Path

import numpy as np

from reports.figures import style
from reports.log_comparison import LogComparison


def draw(compared: LogComparison, folder: Path, name: str) -> tuple[Path, Path]:
    """Write NAME.png and NAME.svg: a thin line for each run with a dot at its end, a thick line for the log."""
    with style.applied():
        figure = style.new_figure(3.0)
        axes = figure.subplots()
        for place, (seed, curve) in enumerate(compared.runs):
            colour = style.COLOURS[place % len(style.COLOURS)]
            axes.plot(curve.index, curve, color=colour, linewidth=0.8, label=f"seed {seed}")
            axes.plot(curve.index[-1], curve.iloc[-1], "o", color=colour)
        axes.plot(compared.log.index, compared.log, color="black", label=style.drawable(f"log, {compared.log.name}"))
        axes.plot(compared.log.index[-1], compared.log.iloc[-1], "o", color="black")
        if not np.isnan(compared.low):
            ends = (max(compared.low, 0), min(compared.high, 100))
            axes.axhspan(*ends, color="#8c8c8c", alpha=0.25, linewidth=0, label="95 % prediction interval")
        axes.set_title(style.drawable(compared.row))
        axes.set_xlabel("iteration")
        axes.set_ylabel("Dice [%]")
        axes.grid()
        figure.legend(loc="outside lower center", ncols=4)
        return style.save(figure, folder, name)
