"""Where the variance of Dice comes from in each budget of an experiment."""

import numpy as np
import pandas as pd

from reports import statistics
from reports.measures import Scores
from reports.results import Results
from reports.significance import families

COLUMNS = ["labelled", "component", "variance", "sd", "share", "methods", "draws", "cases"]


def variance_frame(results: Results, scores: Scores) -> pd.DataFrame:
    """One line for each budget and component of `statistics.variance_components`, over floor and methods.

    variance and sd: in points of Dice. share: of the sum. A budget that cannot be divided has no line.
    """
    lines = []
    for labelled, tables in sorted(families(results, scores).items()):
        found = statistics.variance_components(tables.values())
        counts = {"methods": found.methods, "draws": found.draws, "cases": found.cases}
        for component, variance in found.variances.items():
            figures = {"variance": variance, "sd": np.sqrt(variance), "share": found.shares[component]}
            lines.append({"labelled": labelled, "component": component} | figures | counts)
    return pd.DataFrame(lines, columns=COLUMNS)


def variance_note(frame: pd.DataFrame, labelled: int) -> str:
    """One line of a budget of `variance_frame`; "" where it has none."""
    shares = frame[frame["labelled"] == labelled].set_index("component")["share"]
    if shares.empty:
        return ""
    parts = ", ".join(f"{component} {100 * share:.0f}" for component, share in shares.items())
    return f"Where the variance of a single Dice (one run in one case) comes from: {parts} %."
