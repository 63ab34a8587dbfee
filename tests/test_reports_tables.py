import csv
import doctest
import re

import numpy as np
import pandas as pd
import pytest
from helpers.results_folder import (
    CASES,
    EARLIER_REASON,
    cell,
    cells_of,
    make_stale,
    plan,
    scored,
    values,
    write_folder,
    write_heartbeat,
    write_plan,
    write_record,
    write_tables_of,
)

from reports import durations, labels_saved, measures
from reports.measures import scores
from reports.results import read_results
from reports.statistics import variance_components
from reports.tables import make_tables
from reports.tables.detectable import detectable_note
from reports.tables.latex import latex
from reports.tables.rendering import markdown


def table_of(folder, name="comparison"):
    [made] = make_tables([read_results(folder)])
    return next(table for table in made.tables if table.name == name)


def frame_of(folder):
    return table_of(folder).frame.set_index("method")


def text_of(folder, suffix="md"):
    return (write_tables_of(folder) / f"comparison.{suffix}").read_text(encoding="utf-8")


def by_case(tables, metric, unit, postprocessing):
    """One value a case, computed with numpy: mean over classes, then over seeds."""
    per_seed = []
    for table in tables:
        wanted = table[(table[["metric", "unit", "postprocessing"]] == [metric, unit, postprocessing]).all(axis=1)]
        per_seed.append([wanted.loc[wanted["case"] == case, "value"].mean() for case in CASES])
    return np.array(per_seed)


@pytest.mark.parametrize("module", [durations, labels_saved, measures])
def test_examples_in_docstrings_run(module):
    failed, attempted = doctest.testmod(module)
    assert attempted and not failed


@pytest.mark.parametrize("postprocessing", ["none", "largest_component"])
@pytest.mark.parametrize("classes", [1, 2])
def test_numbers_equal_an_independent_computation(tmp_path, postprocessing, classes):
    planned = plan(cells_of("a", "b"), data={"classes": classes}, evaluation={"postprocessing": postprocessing})
    tables = {c["trial"]: values(planned, seed) for seed, c in enumerate(planned["cells"])}
    frame = frame_of(write_folder(tmp_path, planned, tables))
    for method in "ab":
        of_method = [tables[c["trial"]] for c in planned["cells"] if c["method"] == method]
        for column, metric, unit, factor in (
            ("dice_percent", "dice", "", 100), ("jaccard_percent", "jaccard", "", 100),
            ("asd_voxel", "asd", "voxel", 1), ("hd95_voxel", "hd95", "voxel", 1),
        ):  # fmt: skip
            runs = factor * by_case(of_method, metric, unit, postprocessing)
            assert frame.loc[method, f"{column}_mean"] == pytest.approx(runs.mean())
            assert frame.loc[method, f"{column}_sd"] == pytest.approx(runs.mean(axis=0).std(ddof=1))
            assert frame.loc[method, f"{column}_seed_sd"] == pytest.approx(runs.mean(axis=1).std(ddof=1))
        assert frame.loc[method, "cases"] == len(CASES)


def test_the_text_shows_the_frames_numbers(tmp_path):
    folder = write_folder(tmp_path, plan(cells_of("a", "b")))
    row = frame_of(folder).loc["a"]
    mean, std = row["dice_percent_mean"], row["dice_percent_sd"]
    assert f"{mean:.2f} ± {std:.2f}" in text_of(folder)
    assert rf"{mean:.2f} $\pm$ {std:.2f}" in text_of(folder, "tex")


def test_rows_stand_as_in_the_paper(tmp_path):
    planned = plan([
        cell("full", 28, role="ceiling", unlabelled=0), cell("b", 8), cell("b", 4), cell("a", 8),
        cell("floor", 4, role="floor", unlabelled=0), cell("floor", 8, role="floor", unlabelled=0),
    ])  # fmt: skip
    blocks = table_of(write_folder(tmp_path, planned)).blocks
    rows = [[row.cells[0].text for row in block.rows] for block in blocks]
    assert rows == [["FLOOR (floor)", "B", "FULL (ceiling)"], ["FLOOR (floor)", "B", "A", "FULL (ceiling)"]]
    assert [block.heading for block in blocks] == ["4 labelled cases", "8 labelled cases"]
    assert [row.rule for row in blocks[1].rows] == [False, True, False, True]


def test_best_and_second_best_are_marked(tmp_path):
    planned = plan([cell("a"), cell("b"), cell("c"), cell("full", 28, role="ceiling", unlabelled=0)])
    tables = {
        planned_cell["trial"]: scored(planned, dice=dice, hd95=10 * dice)
        for planned_cell, dice in zip(planned["cells"], (0.7, 0.9, 0.8, 0.99), strict=True)
    }
    folder = write_folder(tmp_path, planned, tables)
    rows = {row.cells[0].text: row.cells for row in table_of(folder).blocks[0].rows}
    assert {name: (cells[3].rank, cells[6].rank) for name, cells in rows.items()} == {
        "A": (0, 1), "B": (1, 0), "C": (2, 2), "FULL (ceiling)": (0, 0),
    }  # fmt: skip
    assert "**90.00 ± 0.00**" in text_of(folder) and "<ins>80.00 ± 0.00</ins>" in text_of(folder)
    assert r"\textbf{90.00 $\pm$ 0.00}" in text_of(folder, "tex") and r"\underline{80.00" in text_of(folder, "tex")


def test_a_constant_difference_is_explained_not_tested(tmp_path):
    planned = plan([cell("a"), cell("b")])
    table = values(planned, 0)
    folder = write_folder(tmp_path, planned, {c["trial"]: table for c in planned["cells"]})
    assert "No test against A (8 labelled): the difference is the same in every case." in text_of(folder)


def test_cells_that_are_not_done_show_why(tmp_path):
    planned = plan([*cells_of("half"), cell("failed"), cell("diverged"), cell("running"), cell("waiting"), cell("b")])
    write_plan(tmp_path, planned)
    half, _, _, failed, diverged, running, _, reference = planned["cells"]
    write_record(tmp_path, planned, half)
    write_record(tmp_path, planned, reference)
    write_record(tmp_path, planned, failed, state="failed", reason="out of memory")
    write_record(tmp_path, planned, diverged, state="diverged", reason="loss is NaN at step 12")
    write_heartbeat(tmp_path, running, stage="training", step=20, iterations=600)
    text = text_of(tmp_path)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "| 1 of 3 (2 not run) |" in lines["HALF"] and "±" in lines["HALF"]
    assert "| failed: out of memory |" in lines["FAILED"] and "±" not in lines["FAILED"]
    assert "| diverged: loss is NaN at step 12 |" in lines["DIVERGED"]
    assert "| running: training, step 20 of 600 |" in lines["RUNNING"]
    assert "| not run |" in lines["WAITING"]
    assert "| 0 of 1 |" in lines["FAILED"]
    assert "**Unfinished. Of 8 planned trials: 2 done, 3 not run, 1 failed, 1 diverged, 1 running.**" in text
    assert "FAILED, 8 labelled, seed 1: failed: out of memory." in text


def test_another_protocol_never_enters_the_numbers(tmp_path):
    planned = plan(cells_of("a"))
    write_plan(tmp_path, planned)
    for planned_cell in planned["cells"][:2]:
        write_record(tmp_path, planned, planned_cell)
    before = frame_of(tmp_path).loc["a"]
    other = planned["training"] | {"iterations": 500}
    write_record(tmp_path, planned, planned["cells"][2], values(planned, 0).assign(value=0.1), training=other)
    after = frame_of(tmp_path).loc["a"]
    assert after["runs_done"] == 2 and after["dice_percent_mean"] == before["dice_percent_mean"]
    assert "A, 8 labelled, seed 3: other protocol: training.iterations is 500, the plan's 600." in text_of(tmp_path)


def test_records_outside_the_plan_are_mentioned(tmp_path):
    planned = plan(cells_of("a"))
    write_record(write_folder(tmp_path, planned), planned, cell("old"))
    assert "Unplanned records in this folder, left out here: 1." in text_of(tmp_path)


def test_empty_predictions_are_counted(tmp_path):
    planned = plan([cell("a"), cell("b")], data={"classes": 2})
    table = values(planned, 0)
    predicted = (table["metric"] == "predicted") & table["case"].isin(CASES[:2]) & (table["class"] == 1)
    table.loc[predicted & (table["postprocessing"] == "none"), "value"] = 0
    absent = (table["metric"] == "reference") & (table["case"] == CASES[1])
    table.loc[absent, "value"] = 0  # nothing there and nothing predicted is right
    frame = frame_of(write_folder(tmp_path, planned, {planned["cells"][0]["trial"]: table}))
    assert frame.loc["a", ["predictions", "empty"]].tolist() == [12, 1] and frame.loc["b", "empty"] == 0
    assert "1 of 12" in text_of(tmp_path) and "Empty predictions: 1 of 24." in text_of(tmp_path)


def test_excluded_distances_leave_the_other_cases(tmp_path):
    planned = plan([cell("a")], evaluation={"empty": "exclude"})
    table = values(planned, 0)
    table.loc[(table["metric"] == "hd95") & (table["case"] == CASES[0]), "value"] = np.nan
    row = frame_of(write_folder(tmp_path, planned, {planned["cells"][0]["trial"]: table})).loc["a"]
    assert row["hd95_voxel_mean"] == pytest.approx(by_case([table], "hd95", "voxel", "none")[0, 1:].mean())


def test_draws_are_averaged_and_said(tmp_path):
    planned = plan([cell("a", seed=seed, draw=draw) for seed in (1, 2) for draw in (0, 1)])
    text = text_of(write_folder(tmp_path, planned))
    assert "| 4 runs (2 draws) |" in text


def test_reconstructions_carry_a_dagger(tmp_path):
    text = text_of(write_folder(tmp_path, plan([cell("a", fidelity="reconstruction"), cell("b")])))
    assert "| A† |" in text and "| B |" in text and "† Reconstruction" in text
    assert "†" not in text_of(write_folder(tmp_path / "other", plan([cell("b")])))


def test_the_caption_states_the_protocol(tmp_path):
    text = text_of(write_folder(tmp_path, plan([cell("a"), cell("b")])))
    for statement in (
        "LA, 28 training and 6 test cases, split train.list / test.list (hash 5911a5), trained at 1.25 mm",
        "600 iterations, batch of 4, patches of 64×64×48 voxels, V-Net with 8 filters, learning rate 0.01",
        "last checkpoint, sliding window with stride 9×9×2, no postprocessing",
        "an empty prediction scores the image diagonal",
        "± is the standard deviation over test cases",
        "compares trained checkpoints, not methods",
    ):
        assert statement in text


def test_stale_records_are_marked_in_their_row_and_explained(tmp_path):
    folder = write_folder(tmp_path, plan(cells_of("a", "b")))
    make_stale(folder, "a-8-1-first")
    write_tables_of(folder)
    text = (folder / "report" / "tables" / "comparison.md").read_text(encoding="utf-8")
    assert "| A§ |" in text and "B§" not in text
    assert f"§ Stale: {EARLIER_REASON}" in text


def test_choosing_the_postprocessing_needs_no_new_records(tmp_path):
    planned = plan(cells_of("a", "b"))
    write_folder(tmp_path, planned)
    write_plan(tmp_path, planned | {"evaluation": planned["evaluation"] | {"postprocessing": "largest_component"}})
    text = text_of(tmp_path)
    assert "only the largest connected component kept" in text and "other protocol" not in text


def test_no_reference(tmp_path):
    text = text_of(write_folder(tmp_path, plan(cells_of("a", "b"), reference=None)))
    assert "Holm" not in text and "No test" not in text
    assert "Detectable difference: with 6 cases and 80 % power, a paired t-test finds" in text


def test_a_run_far_from_the_others_of_its_row_is_said(tmp_path):
    planned = plan(cells_of("a", "b", seeds=(1, 2, 3)), reference="B")
    dice = {("a", 3): 0.18, ("a", 1): 0.69}
    tables = {c["trial"]: scored(planned, dice=dice.get((c["method"], c["seed"]), 0.7)) for c in planned["cells"]}
    folder = write_folder(tmp_path, planned, tables)
    assert "Runs more than 20 points of Dice apart: A with 8 labelled, 18.0 to 70.0. One of them" in text_of(folder)
    line = frame_of(folder).loc["a"]
    assert (line["dice_percent_run_low"], line["dice_percent_run_high"]) == pytest.approx((18, 70))


def test_a_difference_that_no_dice_can_have_is_not_called_detectable(tmp_path):
    planned = plan(cells_of("a", "b", "c", "d", seeds=(1, 2)), reference="A")
    tables = {c["trial"]: scored(planned, c["seed"] + 2 * ord(c["method"])) for c in planned["cells"]}
    for c in planned["cells"]:
        dice = tables[c["trial"]]["metric"] == "dice"
        tables[c["trial"]].loc[dice, "value"] *= 0.1 if c["seed"] == 1 else 1  # one seed of each method fails
    text = text_of(write_folder(tmp_path, planned, tables))
    assert "Seed-aware test with 2 seeds: none, because Dice cannot differ by more than 100 points." in text


@pytest.mark.parametrize(
    "detectable, star, said",
    [
        ([8.0, 12.0, 30.0], False, "12.0 points between two methods, 8.0 in the row that varies least."),
        ([12.0], True, "12.0 points between two methods."),
        ([60.0, 120.0, 130.0], True, "none in the median row, 60.0 points in the row that varies least."),
        ([60.0, 120.0, 130.0], False, "none in the median row, 60.0 points in the row that varies least."),
        ([110.0, 120.0], True, "none with so much power. The marked difference was found with less."),
        ([110.0, 120.0], False, "none, because Dice cannot differ by more than 100 points."),
    ],
)
def test_no_row_has_a_star_under_a_line_that_says_nothing_can_be_found(detectable, star, said):
    tests = pd.DataFrame({
        "measure": "dice_percent", "case_sd": 10.0, "cases": 12, "comparisons": 3, "runs": 3, "runs_reference": 3,
        "seeds_detectable": detectable, "cases_detectable": 8.0, "seeds_p_holm": 0.04 if star else 0.06,
        "seeds_reason": "", "reference": "B",
    })  # fmt: skip
    assert f"Seed-aware test with 3 seeds: {said}" in detectable_note(tests, cases=12)


def test_the_variance_has_a_line_a_budget_and_a_csv(tmp_path):
    planned = plan([*cells_of("a", "b", "c"), *cells_of("a", "b", labelled=4, seeds=(1,))])
    place = write_tables_of(write_folder(tmp_path, planned))
    frame = pd.read_csv(place / "variance.csv")
    assert set(frame["labelled"]) == {8} and frame["share"].sum() == pytest.approx(1)
    assert list(frame["component"]) == ["case", "method", "method × case", "seed", "residual"]
    results = read_results(tmp_path)
    tables = [table for (row, postprocessing, name), table in scores(results).items()
              if (postprocessing, name) == ("none", "dice_percent") and len(table) == 3]  # fmt: skip
    expected = variance_components(tables)
    assert frame["variance"].tolist() == pytest.approx(expected.variances.tolist())
    parts = ", ".join(f"{name} {100 * share:.0f}" for name, share in expected.shares.items())
    text = (place / "comparison.md").read_text(encoding="utf-8")
    assert text.count(f"Where the variance of a single Dice (one run in one case) comes from: {parts} %.") == 1


def test_draws_that_all_methods_share_have_their_own_part_of_the_variance(tmp_path):
    cells = [cell(m, seed=seed, draw=draw) for m in "abc" for draw in ("first", 0, 1) for seed in (1, 2)]
    place = write_tables_of(write_folder(tmp_path, plan(cells)))
    frame = pd.read_csv(place / "variance.csv")
    assert list(frame["component"]) == [
        "case", "method", "method × case", "draw", "method × draw", "seed", "residual",
    ]  # fmt: skip
    assert set(frame["draws"]) == {3} and set(frame["methods"]) == {3}


def test_csv_is_plain(tmp_path):
    planned = plan([*cells_of("a", "b", display='a,"b"\nc'), cell("failed")])
    write_folder(tmp_path, plan(planned["cells"][:-1]))
    write_plan(tmp_path, planned)
    rows = list(csv.DictReader(text_of(tmp_path, "csv").splitlines(keepends=True)))
    assert len(rows) == 3 and rows[0]["display"] == 'a,"b"\nc'
    assert float(rows[0]["dice_percent_mean"]) > 0 and float(rows[0]["hd95_voxel_seed_sd"]) > 0
    assert rows[2]["dice_percent_mean"] == "" and rows[2]["states"] == "1 not run"


AWKWARD = [
    "a_b & <c>", "[1cm] 50 % #1 $x$ {y} ~z^2 \\input{x} | `code` **bold**", "* starred", "line\nbreak", "λ = 0.1 — ≥",
]  # fmt: skip


@pytest.fixture
def awkward(tmp_path):
    cells = [cell("ua_mt", seed=number, display=name) for number, name in enumerate(AWKWARD)]
    planned = plan([*cells, cell("b")], title="T_1 & <2>")
    write_folder(tmp_path, plan(planned["cells"][:-1], title="T_1 & <2>"))
    write_plan(tmp_path, planned)
    write_record(tmp_path, planned, planned["cells"][-1], state="failed", reason="a|b_c & 100%\n{x}")
    return table_of(tmp_path)


def test_markdown_keeps_its_shape_whatever_the_names(awkward):
    text = markdown(awkward)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(AWKWARD) + 1
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert r"| a\_b &amp; &lt;c&gt; |" in text and r"\*\*bold\*\*" in text and "line break" in text
    assert r"failed: a\|b\_c &amp; 100% {x}" in text


def test_latex_keeps_its_shape_whatever_the_names(awkward):
    text = latex(awkward)
    assert r"a\_b \& \textless{}c\textgreater{}" in text and r"\textbackslash{}input\{x\}" in text
    assert text.isascii()
    body = re.sub(r"(?m)(?<!\\)%.*$", "", text.replace(r"\\", "\n@ROW@"))  # comments off, row ends marked
    bare = re.sub(r"\\[&%$#_{}]", "", body)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    assert not re.search(r"[#_~^]", re.sub(r"\$\^\\d?dagger\$", "", bare))
    begins, ends = re.findall(r"\\begin{(\w+)}", text), re.findall(r"\\end{(\w+)}", text)
    assert sorted(begins) == sorted(ends)
    columns = 1 + int(re.search(r"\\begin{tabular}{l\*{(\d+)}{r}}", text).group(1))
    inner = bare[bare.index(r"\toprule") : bare.index(r"\bottomrule")]
    rows = inner.split("@ROW@")[:-1]
    assert len(rows) == 1 + len(AWKWARD) + 1
    for row in rows:
        spanned = sum(int(span) - 1 for span in re.findall(r"\\multicolumn{(\d+)}", row))
        assert row.count("&") + 1 + spanned == columns, row
        assert not re.match(r"\s*(\\midrule\s*)?[\[*]", row)


@pytest.mark.parametrize(
    "spacings",
    [
        {"native_spacing": [0.5, 0.5, 3]},
        {"native_spacing": [1, 1, 1], "other_spacings": {CASES[1]: [1.5, 1.5, 1.5]}},
    ],
)
def test_distances_are_in_mm_where_voxels_are_no_cubes_of_one_size(tmp_path, spacings):
    planned = plan(cells_of("a", "b"), data=spacings)
    tables = {cell["trial"]: scored(planned, hd95=4.0, asd=1.0) for cell in planned["cells"]}
    for table in tables.values():
        distance = table["metric"].isin(["hd95", "asd"]) & (table["unit"] == "mm")
        table.loc[distance, "value"] = table.loc[distance, "value"] * 3 + 1
    folder = write_tables_of(write_folder(tmp_path / "results", planned, tables))
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    assert r"95HD \[mm\]" in text and "voxel]" not in text and "in mm, because voxels are not cubes" in text
    row = next(line for line in text.splitlines() if line.startswith("| A |"))
    assert "13.00 ± 0.00" in row and "4.00 ± 0.00" in row
    measured = pd.read_csv(folder / "statistics.csv")["measure"].unique()
    assert list(measured) == ["dice_percent", "hd95_mm"]
    assert "hd95_mm" in pd.read_csv(folder / "sweep.csv").columns
