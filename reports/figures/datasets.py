"""Mean ranks over several data sets: on a line with what Nemenyi's test does not tell apart, and on each data set."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures import style
from reports.figures.captioned import Drawn, LeftOut
from reports.figures.ranks import diagram, nemenyi_diagram
from reports.figures.style import FLOOR, LOWEST, MARKERS, Look, drawable, looks, new_figure, wrapped
from reports.statistics import means_by_dataset
from reports.tables.dataset_notes import friedman_sentence
from reports.tables.datasets import ComparedLevel

CRITICAL = "Mean ranks over data sets"
RANGES = "Ranks on each data set"
BESIDE = 0.014  # distance of two marks, as a share of the axis


def draw_over_datasets(levels: Sequence[ComparedLevel], folder: Path) -> tuple[list[Drawn], list[LeftOut]]:
    """Draw two figures of each level.

    Args:
        levels: what is compared.
        folder: where the files go. It is created.

    Returns:
        The figures drawn, and those left out with the reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn, left_out = [], []
    for number, of in enumerate(levels, start=1):
        names = {f"critical_difference_{number}": CRITICAL, f"dataset_ranks_{number}": RANGES}
        titles = {name: f"{title}, {of.level.name}" for name, title in names.items()}
        ranks = of.ranks[of.ranks["mean_rank"].notna()]
        if len(ranks) < 2:
            reason = "Fewer than two methods have results on every data set."
            left_out += [LeftOut(name, title, reason) for name, title in titles.items()]
            continue
        with style.applied():
            figures = (_critical(of, ranks), _ranges(of, ranks))
            for (name, title), (figure, caption) in zip(titles.items(), figures, strict=True):
                drawn.append(Drawn(name, title, caption, *style.save(figure, folder, name)))
    return drawn, left_out


def _look(of: ComparedLevel) -> dict[str, Look]:
    """How each method is drawn, in the order of the first data set that has it."""
    lines = pd.concat(of.rows.values())
    lines = lines[~lines["is_ceiling"]].drop_duplicates("label")
    methods = looks(lines.loc[lines["role"] != "floor", "label"])
    return {drawable(label): methods.get(label, FLOOR) for label in lines["label"]}


def _critical(of: ComparedLevel, ranks: pd.DataFrame) -> tuple[Figure, str]:
    """The critical-difference diagram; without bars where no test could be made."""
    look, test = _look(of), of.test
    begin = f"Mean rank by Dice over {len(of.rows)} data sets ({', '.join(of.rows)}); 1 is the best."
    if test.reason:
        mean_ranks = ranks["mean_rank"].rename(drawable)
        no_bars = pd.DataFrame(0.0, mean_ranks.index, mean_ranks.index)  # a bar would claim that there was a test
        figure, axes = diagram(mean_ranks, no_bars, look)
        axes.set_title("mean rank by Dice (1 = best), without a test", pad=10)
        return (
            figure,
            f"{begin} No bars, because no test was made: {test.reason}. Ranks describe these data sets alone.",
        )
    test = replace(
        test,
        mean_ranks=test.mean_ranks.rename(drawable),
        pairwise=test.pairwise.rename(index=drawable, columns=drawable),
    )
    return nemenyi_diagram(test, look), (
        f"{begin} {friedman_sentence(test)} Bars join methods that lie no further apart. A data set counts once, with "
        "the mean of each method: its cases share trained networks, so they are not samples of data sets."
    )


def _ranges(of: ComparedLevel, ranks: pd.DataFrame) -> tuple[Figure, str]:
    """Each method's rank on each data set, its mean rank and how far that moves."""
    look = _look(of)
    by_dataset = means_by_dataset(of.scores).rank(axis=1, ascending=False)
    figure = new_figure(max(0.9 + 0.3 * len(ranks), LOWEST))
    axes = figure.subplots()
    for place, (label, line) in enumerate(ranks.iterrows()):
        colour = look[drawable(label)].colour
        axes.plot(line[["rank_low", "rank_high"]], [place] * 2, color=colour, linewidth=0.8)
        axes.plot(line[["fixed_low", "fixed_high"]], [place] * 2, color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(line["mean_rank"], place, color=colour, marker="o", markersize=5.5)
    key = []
    aside = BESIDE * (len(ranks) - 0.6)  # marks of data sets with the same rank stand side by side
    for number, name in enumerate(of.rows):
        marker = MARKERS[1 + number % (len(MARKERS) - 1)]  # discs are the means
        shape = {"linestyle": "none", "marker": marker, "color": "black", "markersize": 4}
        x = by_dataset.loc[name, ranks.index] + aside * (number - (len(of.rows) - 1) / 2)
        axes.plot(x, [place - 0.28 for place in range(len(ranks))], **shape)
        key.append(Line2D([], [], **shape, label=wrapped(drawable(name), 30)))
    axes.set_yticks(range(len(ranks)), [wrapped(drawable(label), 30) for label in ranks.index])
    axes.set_ylim(len(ranks) - 0.5, -0.6)
    axes.set_xlim(0.8, len(ranks) + 0.2)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("rank by mean Dice (1 = best)")
    axes.grid(axis="x")
    figure.legend(handles=key, loc="outside lower center", ncols=min(len(key), 4))
    return figure, (
        "Black marks: rank by mean Dice on each data set. Discs: mean rank. Thick lines: the middle 95 % of mean ranks "
        "when seeds and test cases are drawn again on these data sets. Thin lines: when data sets are drawn, too."
    )
