"""What a report says of chance equals what scipy says of the raw cases.csv files."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from helpers import results_folder
from helpers.results_folder import (
    CASES,
    cell,
    cells_of,
    plan,
    scored,
    write_folder,
    write_plan,
    write_record,
    write_tables_of,
)
from helpers.written_out import holm, seed_aware_p
from scipy import stats

from reports.figures import pairwise_map
from reports.figures.measured import measured_in
from reports.measures import scores
from reports.results import read_results
from reports.significance import significance
from reports.tables import make_tables


def raw(folder, trial, metric, postprocessing):
    """{case: mean over classes}, read with the csv module alone."""
    found = {}
    with (folder / "records" / trial / "cases.csv").open() as file:
        for line in csv.DictReader(file):
            if (line["metric"], line["unit"], line["postprocessing"]) == (*metric, postprocessing):
                found.setdefault(line["case"], []).append(float(line["value"]))
    return {case: np.mean(values) for case, values in found.items()}


def runs_by_cases(folder, method, seeds, metric=("dice", ""), postprocessing="none", factor=100):
    of_runs = [raw(folder, f"{method}-8-{seed}-first", metric, postprocessing) for seed in seeds]
    return factor * np.array([[run[case] for case in CASES] for run in of_runs])


def statistics_of(folder, measure="dice_percent"):
    table = pd.read_csv(write_tables_of(folder) / "statistics.csv")
    if len(set(table["structure"])) > 1:
        table = table[table["structure"] == "mean"]
    return table[table["measure"] == measure].set_index("method")


@pytest.mark.slow
@pytest.mark.parametrize("classes, postprocessing", [(1, "none"), (2, "largest_component")])
def test_p_values_equal_scipys_on_the_raw_files(tmp_path, classes, postprocessing):
    seeds = {"b": (1, 2, 3), "a": (1, 2), "c": (4, 5, 6, 7), "d": (1,), "e": (1, 2, 3)}
    planned = plan(
        [cell for method, of in seeds.items() for cell in cells_of(method, seeds=of)],
        data={"classes": classes},
        evaluation={"postprocessing": postprocessing},
    )
    write_folder(tmp_path, planned)
    for measure, metric, factor in (("dice_percent", ("dice", ""), 100), ("hd95_voxel", ("hd95", "voxel"), 1)):
        table = statistics_of(tmp_path, measure)
        runs = {m: runs_by_cases(tmp_path, m, of, metric, postprocessing, factor) for m, of in seeds.items()}
        paired = {m: stats.ttest_rel(runs["b"].mean(0), runs[m].mean(0)).pvalue for m in "acde"}
        signed = {m: stats.wilcoxon(runs["b"].mean(0), runs[m].mean(0)).pvalue for m in "acde"}
        by_seed = {m: seed_aware_p(runs["b"], runs[m], runs.values()) for m in "ace"}
        for method in "acde":
            line = table.loc[method]
            assert line["difference"] == pytest.approx(runs["b"].mean() - runs[method].mean())
            assert (line["cases_p"], line["wilcoxon_p"]) == pytest.approx((paired[method], signed[method]))
            assert line["cases_p_holm"] == pytest.approx(holm(paired)[method])
            assert line["wilcoxon_p_holm"] == pytest.approx(holm(signed)[method])
            assert (line["runs_reference"], line["runs"], line["comparisons"]) == (3, len(seeds[method]), 4)
        for method in "ace":
            assert table.loc[method, "seeds_p"] == pytest.approx(by_seed[method])
            assert table.loc[method, "seeds_p_holm"] == pytest.approx(holm(by_seed)[method])
            assert table.loc[method, "bootstrap_low"] < table.loc[method, "difference"]
            assert table.loc[method, "bootstrap_high"] > table.loc[method, "difference"]
        assert table.loc["d", ["seeds_p", "seeds_p_holm", "bootstrap_low", "seeds_detectable"]].isna().all()
        assert table.loc["d", "seeds_reason"].startswith("one seed")
        assert table.loc["b", ["cases_p", "seeds_p", "difference"]].isna().all()
        means = {method: runs[method].mean() for method in "abcde"}
        order = sorted(means, key=means.get, reverse=measure == "dice_percent")
        assert list(table.loc[order, "rank"]) == [1, 2, 3, 4, 5]
        friedman = stats.friedmanchisquare(*(runs[method].mean(0) for method in "abcde")).pvalue
        assert table["friedman_p"].to_numpy() == pytest.approx(friedman)


def found_in(folder):
    results = read_results(folder)
    return significance(results, scores(results))


def test_a_family_is_one_budget_and_ceilings_stay_out(tmp_path):
    cells = [cell("full", 28, role="ceiling", unlabelled=0), cell("b", 8), cell("a", 8), cell("c", 8), cell("a", 4)]
    table = found_in(write_folder(tmp_path, plan(cells)))
    table = table[table["measure"] == "dice_percent"].set_index(["method", "labelled"])
    assert list(table.index) == [("a", 4), ("b", 8), ("a", 8), ("c", 8)]
    assert table["cases_p"].notna().tolist() == [False, False, True, True]
    assert table["reference"].fillna("").tolist() == ["", "B", "B", "B"]
    assert table["comparisons"].dropna().tolist() == [2, 2]
    assert table["rank"].isna().tolist() == [True, False, False, False]  # alone in its budget


def test_draws_are_what_the_seed_aware_test_counts(tmp_path):
    cells = [cell(m, seed=seed, draw=draw) for m in "ab" for draw in ("first", 0, 1) for seed in (1, 2)]
    table = found_in(write_folder(tmp_path, plan(cells))).set_index(["method", "measure"])
    assert table.loc[("a", "dice_percent"), ["runs_reference", "runs"]].tolist() == [3, 3]


def test_a_row_without_figures_is_no_comparison(tmp_path):
    planned = plan([cell("b"), cell("a"), cell("c")])
    write_plan(tmp_path, planned)
    for planned_cell in planned["cells"][:2]:
        write_record(tmp_path, planned, planned_cell)
    table = found_in(tmp_path)
    assert set(table["method"]) == {"a", "b"} and table["comparisons"].dropna().eq(1).all()


SHIFT = [0.010, 0.011, 0.009, 0.012, 0.008, 0.010]  # nearly the same in every case: found even with six of them


def write_shifted(folder, seeds, seed_shift):
    """B is better than A by SHIFT; a seed changes all cases of a run by up to `seed_shift`."""
    planned = plan(cells_of("b", "a", seeds=seeds))
    rng = np.random.default_rng(0)
    base = rng.uniform(0.7, 0.9, len(CASES))
    tables = {}
    for c in planned["cells"]:
        dice = base + (np.array(SHIFT) if c["method"] == "b" else 0) + seed_shift * (c["seed"] - np.mean(seeds))
        dice = dice + rng.normal(0, 1e-4, len(CASES))
        tables[c["trial"]] = scored(planned, dice=list(dice))
    return write_folder(folder, planned, tables)


def comparison_of(folder):
    return (write_tables_of(folder) / "comparison.md").read_text(encoding="utf-8")


def line_of(text, method):
    return next(line for line in text.splitlines() if line.startswith(f"| {method} |"))


def dice_of(line):
    text = line.split("|")[4].strip()
    for before, after in (("**", "**"), ("<ins>", "</ins>")):
        text = text.removeprefix(before).removesuffix(after)
    return text


def test_significance_by_seeds_is_marked_and_said(tmp_path):
    text = comparison_of(write_shifted(tmp_path, seeds=(1, 2, 3), seed_shift=0.0001))
    assert dice_of(line_of(text, "A")).endswith(r" \*") and r"\*" not in line_of(text, "B")
    assert r"(p &lt; 0.05, Holm-corrected): \* differs from the reference by the seed-aware test;" in text
    assert "where no seed-aware test is possible. 1 of 1 rows have one." in text
    assert "Seed-aware test with 3 seeds: " in text and "One seed" not in text
    line = statistics_of(tmp_path).loc["a"]
    assert f"{line['difference']:+.2f} \\[{line['seeds_low']:+.2f}, {line['seeds_high']:+.2f}\\]" in line_of(text, "A")


@pytest.mark.parametrize("margin, verdict", [(0.5, "different"), (1.5, "different within margin")])
def test_a_row_that_differs_may_do_so_within_the_margin(tmp_path, margin, verdict):
    """B is one point better, and neither seeds nor cases change that by much."""
    folder = write_shifted(tmp_path, seeds=(1, 2, 3), seed_shift=0.0001)
    write_plan(folder, json.loads((folder / "plan.json").read_text()) | {"report": {"margin": margin}})
    text = comparison_of(folder)
    assert f", {verdict} |" in line_of(text, "A") and f"is within ±{margin:g} points (report.margin)" in text
    assert statistics_of(folder).loc["a", ["verdict", "margin"]].tolist() == [verdict, margin]


@pytest.mark.slow
@pytest.mark.parametrize("run_sd, verdict", [(0.0005, "equivalent"), (0.02, "open")])
def test_methods_that_are_alike_are_equivalent_if_seeds_say_so(tmp_path, run_sd, verdict):
    methods, seeds = "abcd", (1, 2, 3, 4, 5)
    planned, rng = plan(cells_of(*methods, seeds=seeds)), np.random.default_rng(0)
    base = rng.uniform(0.7, 0.9, len(CASES))
    tables = {
        c["trial"]: scored(planned, dice=list(base + rng.normal(0, run_sd) + rng.normal(0, 0.001, len(CASES))))
        for c in planned["cells"]
    }
    folder = write_folder(tmp_path, planned, tables)
    table, text = statistics_of(folder), comparison_of(folder)
    runs = {m: runs_by_cases(folder, m, seeds) for m in methods}
    p_values = {}
    for method in "acd":
        line = table.loc[method]
        assert line["verdict"] == verdict and f", {verdict} |" in line_of(text, method.upper())
        half_width = (line["seeds_high"] - line["seeds_low"]) / 2
        error = half_width / stats.t.ppf(0.975, line["seeds_df"])
        gap = runs["b"].mean() - runs[method].mean()
        p_values[method] = max(stats.t.sf((gap + 1) / error, line["seeds_df"]),
                               stats.t.cdf((gap - 1) / error, line["seeds_df"]))  # fmt: skip
        assert line["equivalence_p"] == pytest.approx(p_values[method])
        wins = [np.sign(b - a) for b in runs["b"] for a in runs[method]]
        assert line["reference_better"] == pytest.approx((1 + np.mean(wins)) / 2)
    assert table.loc[list("acd"), "equivalence_p_holm"].to_dict() == pytest.approx(holm(p_values))
    assert statistics_of(folder, "hd95_voxel")["equivalence_p"].isna().all()


def test_seeds_that_vary_take_the_mark_away(tmp_path):
    text = comparison_of(write_shifted(tmp_path, seeds=(1, 2, 3), seed_shift=0.03))
    assert not dice_of(line_of(text, "A")).endswith("*") and "0 of 1 rows have one." in text
    assert "| <0.001 |".replace("<", "&lt;") in line_of(text, "A")  # the customary test finds it all the same


def test_two_seeds_of_few_methods_have_no_mark_and_say_why(tmp_path):
    folder = write_shifted(tmp_path, seeds=(1, 2), seed_shift=0.0001)
    text = comparison_of(folder)
    assert "*" not in dice_of(line_of(text, "A")) and "| two seeds |" in line_of(text, "A")
    assert "Two seeds: no row has a p over seeds. With two seeds" in text and "0 of 1 rows have one." in text
    assert "needs three seeds of each of fewer than four methods." in text
    found = statistics_of(folder).loc["a"]
    assert found["seeds_low"] < found["difference"] < found["seeds_high"] and np.isnan(found["seeds_p"])
    assert np.isnan(found["equivalence_p"]) and found["verdict"] == "open"


def test_a_row_that_is_steady_by_luck_has_no_star(tmp_path):
    """Two methods whose seeds agree closely among six whose seeds do not: what was starred in the first study."""
    methods = "abcdef"
    planned = plan(cells_of(*methods, seeds=(1, 2, 3)))
    rng = np.random.default_rng(1)
    base = rng.uniform(0.7, 0.8, len(CASES))
    tables = {}
    for c in planned["cells"]:
        steady = c["method"] in "ab"
        run = rng.normal(0, 0.0005 if steady else 0.03)
        shift = {"b": 0.03}.get(c["method"], 0)
        tables[c["trial"]] = scored(planned, dice=list(base + shift + run + rng.normal(0, 1e-4, len(CASES))))
    folder = write_folder(tmp_path, planned, tables)
    line = statistics_of(folder).loc["a"]
    runs = {m: runs_by_cases(folder, m, (1, 2, 3)) for m in methods}
    alone = stats.ttest_ind(runs["b"].mean(1), runs["a"].mean(1), equal_var=False).pvalue
    assert 5 * alone < 0.05 < line["seeds_p_holm"]
    assert "*" not in dice_of(line_of(comparison_of(folder), "A"))


def test_one_seed_is_marked_otherwise_and_has_no_seed_aware_p(tmp_path):
    text = comparison_of(write_shifted(tmp_path, seeds=(1,), seed_shift=0))
    assert dice_of(line_of(text, "A")).endswith(r" (\*)") and "| one seed |" in line_of(text, "A")
    assert r"(\*) differs by the paired t-test over cases, where no seed-aware test is possible. 1 of 1" in text
    assert "One seed: no row has a p over seeds" in text
    assert "With one seed of the row or of the reference it is the paired t-test's over cases." in text
    line = statistics_of(tmp_path).loc["a"]
    assert f"{line['difference']:+.2f} \\[{line['cases_low']:+.2f}, {line['cases_high']:+.2f}\\]" in line_of(text, "A")
    assert line["verdict"] == "open" and np.isnan(line["equivalence_p"])
    assert "Seed-aware test: unknown, because it needs two seeds of each method." in text


def test_what_can_be_resolved_is_the_noncentral_ts(tmp_path):
    folder = write_shifted(tmp_path, seeds=(1,), seed_shift=0)
    runs = {m: runs_by_cases(folder, m, (1,)) for m in "ab"}
    sd = (runs["b"] - runs["a"]).std(ddof=1)
    found = statistics_of(folder).loc["a", "cases_detectable"]
    n = len(CASES)
    critical = stats.t.isf(0.025, n - 1)
    assert stats.nct.sf(critical, n - 1, found / sd * np.sqrt(n)) == pytest.approx(0.8, abs=1e-6)


def test_no_figures_of_the_reference(tmp_path):
    planned = plan([cell("b"), cell("a"), cell("c")])
    write_plan(tmp_path, planned)
    for planned_cell in planned["cells"][1:]:
        write_record(tmp_path, planned, planned_cell)
    text = comparison_of(tmp_path)
    assert "No tests here: the reference B has no results." in text
    assert "Holm" not in text


def test_rows_with_one_seed_are_named_once_with_their_budgets(tmp_path):
    cells = [cell(method, labelled, seed) for labelled in (4, 8) for method in "AB" for seed in (1, 2)]
    cells += [cell("C", labelled, 1) for labelled in (4, 8)]
    text = comparison_of(write_folder(tmp_path, plan(cells)))
    assert "One seed: C (4, 8 labelled): no p over seeds." in text


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
@pytest.mark.parametrize("cases", [2, 5, 6])
def test_a_mark_needs_six_test_cases(tmp_path, monkeypatch, cases, seeds):
    """Three methods that differ by 20 points in every case, with 0.1 points of noise."""
    monkeypatch.setattr(results_folder, "CASES", CASES[:cases])
    cells = cells_of("a", "b", "c", seeds=seeds)
    planned = plan(cells, data={"test": cases})
    rng = np.random.default_rng(0)
    tables = {
        c["trial"]: scored(planned, dice=list(0.4 + 0.2 * "abc".index(c["method"]) + 0.001 * rng.normal(size=cases)))
        for c in cells
    }
    results = read_results(write_folder(tmp_path, planned, tables))
    [made] = make_tables([results])
    comparison, enough = made.tables[0], cases >= 6
    text = " ".join(cell.text for block in comparison.blocks for row in block.rows for cell in row.cells)
    assert ("*" in text, "different" in text) == (enough, enough and len(seeds) > 1)
    assert any(note.startswith("Fewer than 6 test cases") for note in comparison.notes) != enough
    frame = made.statistics[(made.statistics["method"] != "b") & (made.statistics["measure"] == "dice_percent")]
    assert frame["cases_p_holm"].notna().all() == enough and frame["cases_p"].notna().all()
    (marked,) = [drawn for name, drawn in pairwise_map.draw(measured_in(results), 8)]
    assert ("(3 of them)" in marked.caption) == enough and ("Marks need 6" in marked.caption) != enough
