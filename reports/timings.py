"""Times of training and inference, and whether other trials shared the machine meanwhile."""

import pandas as pd

from benchmark.records.models import SHARING
from reports.results import INFERENCE_SHARING

# {a time in provenance.json: how many trials shared the machine while it was taken}
TIMES = {
    "seconds_training": SHARING, "iterations_per_second": SHARING, "inference_seconds_per_case": INFERENCE_SHARING,
}  # fmt: skip


def mean_times(provenance: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    """The mean times of each row: over runs that had their machine alone. If there is none, over those that shared it.

    Args:
        provenance: as in `Results`.
        rows: the row of each run, by trial.

    Returns:
        One line a row. Columns: TIMES, and for each `…_shared`, whether its mean is over runs that shared the machine.

    Example:
        >>> facts = {"seconds_training": [60.0, 90.0, 80.0], "trials_sharing_the_machine": [1, 2, 2]}
        >>> found = mean_times(pd.DataFrame(facts, index=list("abc")), pd.Series([0, 0, 1], index=list("abc")))
        >>> found["seconds_training"].tolist(), found["seconds_training_shared"].tolist()
        ([60.0, 80.0], [False, True])
    """
    facts = provenance.reindex(index=rows.index, columns=[*TIMES, *set(TIMES.values())])
    facts = facts.apply(pd.to_numeric, errors="coerce").astype(float)
    means = {}
    for name, sharing in TIMES.items():
        of_all = facts[name].groupby(rows).mean()
        alone = facts[name].where(~(facts[sharing] > 1)).groupby(rows).mean()
        means |= {name: alone.fillna(of_all), f"{name}_shared": alone.isna() & of_all.notna()}
    return pd.DataFrame(means)
