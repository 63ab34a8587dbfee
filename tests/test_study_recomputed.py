"""Every test and interval of the first study, computed again from its raw files with the csv module and scipy."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.written_out import contrast, holm, run_pool, seed_aware_p
from scipy import stats

from reports.merging import read_folders
from reports.statistics import holm as holm_of_reports
from reports.tables import make_tables

ARCHIVE = Path(__file__).parents[1] / "docs" / "results" / "la_half_dev.tar.xz"
BUDGETS = (4, 8)
MEASURES = {"dice_percent": ("dice", "", 100), "hd95_voxel": ("hd95", "voxel", 1)}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    shutil.unpack_archive(ARCHIVE, folder)
    return folder / ARCHIVE.name.removesuffix(".tar.xz")


@pytest.fixture(scope="module")
def report(study):
    [made] = make_tables(read_folders([study]))
    return made


@pytest.fixture(scope="module")
def raw(study):
    """{(measure, role, labelled): {display name: scores, runs by cases}}"""
    plan = json.loads((study / "plan.json").read_text(encoding="utf-8"))
    found = {}
    for cell in plan["cells"]:
        with (study / "records" / cell["trial"] / "cases.csv").open(encoding="utf-8") as file:
            lines = [line for line in csv.DictReader(file) if line["checkpoint"] == "last"]
        for measure, (metric, unit, factor) in MEASURES.items():
            wanted = (metric, unit, plan["evaluation"]["postprocessing"])
            run = {line["case"]: factor * float(line["value"]) for line in lines
                   if (line["metric"], line["unit"], line["postprocessing"]) == wanted}  # fmt: skip
            role = "ceiling" if cell["role"] == "ceiling" else "competing"
            family = found.setdefault((measure, role, cell["labelled"]), {})
            family.setdefault(cell["display"], []).append([run[case] for case in sorted(run)])
    return {key: {name: np.array(runs) for name, runs in family.items()} for key, family in found.items()}


def statistics_of(report, measure, labelled):
    frame = report.statistics
    return frame[(frame["measure"] == measure) & (frame["labelled"] == labelled)].set_index("display")


@pytest.mark.parametrize("labelled", BUDGETS)
@pytest.mark.parametrize("measure", MEASURES)
def test_p_values_intervals_and_verdicts(report, raw, measure, labelled):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    family, found = raw[measure, "competing", labelled], statistics_of(report, measure, labelled)
    reference = family["DTML"]
    pool = run_pool(family.values())
    p_values = {"cases": {}, "wilcoxon": {}, "seeds": {}, "equivalence": {}}
    for name in (name for name in family if name != "DTML"):
        row, line = family[name], found.loc[name]
        paired = stats.ttest_rel(reference.mean(0), row.mean(0))
        p_values["cases"][name] = paired.pvalue
        p_values["wilcoxon"][name] = stats.wilcoxon(reference.mean(0), row.mean(0)).pvalue
        p_values["seeds"][name] = seed_aware_p(reference, row, family.values())
        assert tuple(line[["cases_low", "cases_high"]]) == pytest.approx(tuple(paired.confidence_interval()))
        difference, error, df = contrast([1, -1], [reference, row], [pool, pool])
        half_width = stats.t.ppf(0.975, df) * error
        ends = (difference - half_width, difference + half_width)
        assert tuple(line[["seeds_low", "seeds_high"]]) == pytest.approx(ends)
        if measure == "dice_percent":
            p_values["equivalence"][name] = max(
                stats.t.sf((difference + 1) / error, df), stats.t.cdf((difference - 1) / error, df)
            )
        better = np.sign(np.subtract.outer(reference, row).transpose(1, 3, 0, 2)[np.diag_indices(row.shape[1])])
        better = better if measure == "dice_percent" else -better
        assert line["reference_better"] == pytest.approx((1 + better.mean()) / 2)
    for kind, p in p_values.items():
        if p:
            assert found.loc[list(p), f"{kind}_p"].to_dict() == pytest.approx(p)
            corrected = multitest.multipletests(list(p.values()), method="holm")[1]
            assert found.loc[list(p), f"{kind}_p_holm"].tolist() == pytest.approx(corrected)
            assert holm(p) == pytest.approx(dict(zip(p, corrected, strict=True)))
            assert holm_of_reports(list(p.values())) == pytest.approx(corrected)
    assert set(found["verdict"].dropna()) == {"open"}


@pytest.mark.parametrize("labelled", BUDGETS)
@pytest.mark.parametrize("measure", MEASURES)
def test_ranks_within_cases(report, raw, measure, labelled):
    family, found = raw[measure, "competing", labelled], statistics_of(report, measure, labelled)
    sign = -1 if measure == "dice_percent" else 1
    by_case = pd.DataFrame({name: sign * scores.mean(0) for name, scores in family.items()})
    ranks = by_case.rank(axis=1).mean()
    assert found["mean_case_rank"].to_dict() == pytest.approx(ranks.to_dict())
    assert found["friedman_p"].to_numpy() == pytest.approx(stats.friedmanchisquare(*by_case.to_numpy().T).pvalue)
    n, k = by_case.shape
    apart = abs(ranks - ranks["DTML"]) / np.sqrt(k * (k + 1) / (6 * n))
    nemenyi = stats.studentized_range.sf(apart * np.sqrt(2), k, np.inf)
    rows = [name for name in family if name != "DTML"]
    assert found.loc[rows, "nemenyi_p"].tolist() == pytest.approx(
        [p for name, p in zip(apart.index, nemenyi, strict=True) if name != "DTML"], abs=1e-6
    )
    order = by_case.mean().rank()
    assert found["rank"].to_dict() == pytest.approx(order.to_dict())


@pytest.mark.parametrize("labelled", BUDGETS)
def test_the_bootstrap_is_repeated_with_other_code_and_other_random_numbers(report, raw, labelled):
    family, found = raw["dice_percent", "competing", labelled], statistics_of(report, "dice_percent", labelled)
    rng = np.random.default_rng(123)
    reference, row = family["DTML"], family["URPC"]
    gaps = []
    for _ in range(4000):
        cases = rng.integers(0, reference.shape[1], reference.shape[1] - 1)
        means = [of[rng.integers(0, len(of), len(of) - 1)][:, cases].mean() for of in (reference, row)]
        gaps.append(means[0] - means[1])
    low, high = np.quantile(gaps, [0.025, 0.975])
    near = 0.08 * (high - low)
    assert tuple(found.loc["URPC", ["bootstrap_low", "bootstrap_high"]]) == pytest.approx((low, high), abs=near)


@pytest.mark.parametrize("labelled", BUDGETS)
def test_gaps_closed_and_labels_saved_end_where_the_test_turns(report, raw, labelled):
    [sweep] = [table.frame for table in report.tables if table.name == "sweep"]
    lines = sweep[(sweep["role"] == "method") & (sweep["labelled"] == labelled)].set_index("display")
    families = {count: raw["dice_percent", "competing", count] for count in BUDGETS}
    pools = {count: run_pool(family.values()) for count, family in families.items()}
    [ceiling] = raw["dice_percent", "ceiling", 28].values()
    floors = [families[count]["V-Net"] for count in BUDGETS]

    def beyond(weights, tables, pools):
        """The sum of means over half the width of its interval: 1 or -1 at an end."""
        value, error, df = contrast(weights, tables, pools)
        return value / (stats.t.ppf(0.975, df) * error)

    bounded = 0
    for name, line in lines.iterrows():
        tables, of = [families[labelled][name], families[labelled]["V-Net"], ceiling], pools[labelled]
        apart = beyond([0, -1, 1], tables, [of, of, None])
        assert np.isinf(line["gap_low"]) == np.isinf(line["gap_high"]) == (abs(apart) <= 1)
        for share in [end for end in line[["gap_low", "gap_high"]] if np.isfinite(end)]:
            assert abs(beyond([1, share - 1, -share], tables, [of, of, None])) == pytest.approx(1, abs=0.02)
        tables, of = [families[labelled][name], *floors, ceiling], [pools[labelled], pools[4], pools[8], None]
        for saved in [end for end in line[["saved_low", "saved_high"]] if np.isfinite(end)]:
            count = labelled + saved
            left = int(count > 8)
            share = np.interp(np.log(count), np.log([4, 8, 28][left : left + 2]), [0, 1])
            weights = [1, 0, 0, 0]
            weights[1 + left], weights[2 + left] = share - 1, -share
            assert abs(beyond(weights, tables, of)) == pytest.approx(1, abs=0.02)
            bounded += 1
    assert bounded > 10


@pytest.mark.parametrize("labelled, shares", [(4, [63, 3, 14, 4, 16]), (8, [76, 1, 0, 12, 10])])
def test_where_the_variance_comes_from(report, raw, labelled, shares):
    """ANOVA of balanced data, from sums of squares: k methods, s seeds of each, n cases."""
    scores = np.array(list(raw["dice_percent", "competing", labelled].values()))
    k, s, n = scores.shape
    cells, runs = scores.mean(1), scores.mean(2)
    of_seeds = n * ((runs - runs.mean(1, keepdims=True)) ** 2).sum() / (k * (s - 1))
    rest = scores - cells[:, None] - runs[:, :, None] + runs.mean(1)[:, None, None]
    of_rest = (rest**2).sum() / (k * (s - 1) * (n - 1))
    both = cells - cells.mean(1, keepdims=True) - cells.mean(0) + cells.mean()
    of_both = s * (both**2).sum() / ((k - 1) * (n - 1))
    of_cases, of_methods = s * k * cells.mean(0).var(ddof=1), s * n * cells.mean(1).var(ddof=1)
    expected = [
        (of_cases - of_both) / (s * k), (of_methods - of_both - of_seeds + of_rest) / (s * n), (of_both - of_rest) / s,
        (of_seeds - of_rest) / n, of_rest,
    ]  # fmt: skip
    frame = report.variances[report.variances["labelled"] == labelled]
    assert frame["variance"].tolist() == pytest.approx(expected)
    assert [round(100 * share) for share in frame["share"]] == shares
