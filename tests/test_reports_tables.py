import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from results_folder import CASES, cell, plan, values, write_heartbeat, write_plan, write_record
from scipy import stats

from reports.comparison import comparison
from reports.results import read_results
from reports.tables import latex, layout, markdown, write_report

SEEDS = (1, 2, 3)


def write_folder(folder, planned, tables=None):
    """Every cell of the plan done; `tables` gives some trials their values."""
    write_plan(folder, planned)
    for planned_cell in planned["cells"]:
        write_record(folder, planned, planned_cell, (tables or {}).get(planned_cell["trial"]))
    return folder


def cells_of(*methods, **changes):
    return [cell(method, seed=seed, **changes) for method in methods for seed in SEEDS]


def frame_of(folder):
    return comparison(read_results(folder)).set_index("method")


def page_of(folder):
    results = read_results(folder)
    return layout(results, comparison(results))


def text_of(folder, suffix="md"):
    return (write_report(folder) / "tables" / f"comparison.{suffix}").read_text()


def by_case(tables, metric, unit, postprocessing):
    """One value a case, computed with numpy: mean over classes, then over seeds."""
    per_seed = []
    for table in tables:
        wanted = table[(table[["metric", "unit", "postprocessing"]] == [metric, unit, postprocessing]).all(axis=1)]
        per_seed.append([wanted.loc[wanted["case"] == case, "value"].mean() for case in CASES])
    return np.mean(per_seed, axis=0)


@pytest.mark.parametrize("postprocessing", ["none", "largest_component"])
@pytest.mark.parametrize("classes", [1, 2])
def test_numbers_equal_an_independent_computation(tmp_path, postprocessing, classes):
    planned = plan(cells_of("a", "b", "c"), data={"classes": classes}, evaluation={"postprocessing": postprocessing})
    tables = {c["trial"]: values(planned, seed) for seed, c in enumerate(planned["cells"])}
    frame = frame_of(write_folder(tmp_path, planned, tables))
    of_method = {m: [tables[c["trial"]] for c in planned["cells"] if c["method"] == m] for m in "abc"}

    for method in "abc":
        for column, metric, unit, factor in (
            ("dice_percent", "dice", "", 100), ("jaccard_percent", "jaccard", "", 100), 
            ("asd_voxel", "asd", "voxel", 1), ("hd95_mm", "hd95", "mm", 1), ("assd_voxel", "assd", "voxel", 1),
        ):  # fmt: skip
            for scored in ("none", "largest_component"):
                expected = factor * by_case(of_method[method], metric, unit, scored)
                assert frame.loc[method, f"{column}_{scored}_mean"] == pytest.approx(expected.mean())
                assert frame.loc[method, f"{column}_{scored}_std"] == pytest.approx(expected.std(ddof=1))
                assert frame.loc[method, f"{column}_{scored}_cases"] == len(CASES)

    dice = {m: 100 * by_case(of_method[m], "dice", "", postprocessing) for m in "abc"}
    raw = {m: stats.ttest_rel(dice["b"], dice[m]).pvalue for m in "ac"}
    for method in "ac":
        assert frame.loc[method, "difference"] == pytest.approx((dice["b"] - dice[method]).mean())
        assert frame.loc[method, "p"] == pytest.approx(raw[method])
    smaller, larger = sorted(raw.values())
    assert sorted(frame["p_holm"].dropna()) == pytest.approx([min(1, 2 * smaller), min(1, max(2 * smaller, larger))])
    assert pd.isna(frame.loc["b", "p"])


def test_the_text_shows_the_frames_numbers(tmp_path):
    folder = write_folder(tmp_path, plan(cells_of("a", "b")))
    row = frame_of(folder).loc["a"]
    mean, std = row["dice_percent_none_mean"], row["dice_percent_none_std"]
    assert f"{mean:.2f} ± {std:.2f}" in text_of(folder)
    assert rf"{mean:.2f} $\pm$ {std:.2f}" in text_of(folder, "tex")


def test_rows_stand_as_in_the_paper(tmp_path):
    planned = plan([
        cell("full", 28, role="ceiling", unlabelled=0), cell("b", 8), cell("b", 4), cell("a", 8),
        cell("floor", 4, role="floor", unlabelled=0), cell("floor", 8, role="floor", unlabelled=0),
    ])  # fmt: skip
    page = page_of(write_folder(tmp_path, planned))
    rows = [[row["cells"][0]["text"] for row in block["rows"]] for block in page["blocks"]]
    assert rows == [["FLOOR", "B", "FULL"], ["FLOOR", "B", "A", "FULL"]]
    assert [block["heading"] for block in page["blocks"]] == ["4 labelled cases", "8 labelled cases"]
    assert [row["rule"] for row in page["blocks"][1]["rows"]] == [False, True, False, True]


def test_the_test_stays_within_a_budget(tmp_path):
    planned = plan([cell("full", 28, role="ceiling", unlabelled=0), cell("b", 8), cell("a", 8), cell("a", 4)])
    frame = comparison(read_results(write_folder(tmp_path, planned)))
    assert frame.set_index(["method", "labelled"])["p"].notna().to_dict() == {
        ("a", 4): False, ("b", 8): False, ("a", 8): True, ("full", 28): False,
    }  # fmt: skip


def test_best_and_second_best_are_marked(tmp_path):
    planned = plan([cell("a"), cell("b"), cell("c"), cell("full", 28, role="ceiling", unlabelled=0)])
    tables = {}
    for planned_cell, dice in zip(planned["cells"], (0.7, 0.9, 0.8, 0.99), strict=True):
        table = values(planned, 0)
        table.loc[table["metric"] == "dice", "value"] = dice
        table.loc[table["metric"] == "hd95", "value"] = 10 * dice
        tables[planned_cell["trial"]] = table
    folder = write_folder(tmp_path, planned, tables)
    rows = {row["cells"][0]["text"]: row["cells"] for row in page_of(folder)["blocks"][0]["rows"]}
    assert {name: (cells[3]["rank"], cells[6]["rank"]) for name, cells in rows.items()} == {
        "A": (0, 1), "B": (1, 0), "C": (2, 2), "FULL": (0, 0),
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
    write_heartbeat(tmp_path, running, '{"step": 20, "iterations": 600}')
    text = text_of(tmp_path)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "1 of 3 seeds" in lines["HALF"] and "±" in lines["HALF"]
    assert "| failed: out of memory |" in lines["FAILED"] and "±" not in lines["FAILED"]
    assert "| diverged: loss is NaN at step 12 |" in lines["DIVERGED"]
    assert "| running: last seen at step 20 of 600 |" in lines["RUNNING"]
    assert "| not run |" in lines["WAITING"]
    assert "Of 8 planned trials: 2 done, 3 not run, 1 failed, 1 diverged, 1 running." in text
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
    assert after["runs_done"] == 2 and after["dice_percent_none_mean"] == before["dice_percent_none_mean"]
    assert "A, 8 labelled, seed 3: other protocol: training.iterations is 500, the plan's 600." in text_of(tmp_path)


def test_records_outside_the_plan_are_mentioned(tmp_path):
    planned = plan(cells_of("a"))
    write_record(write_folder(tmp_path, planned), planned, cell("old"))
    assert "1 records in this folder belong to no planned cell" in text_of(tmp_path)


def test_empty_predictions_are_counted(tmp_path):
    planned = plan([cell("a"), cell("b")], data={"classes": 2})
    table = values(planned, 0)
    predicted = (table["metric"] == "predicted") & table["case"].isin(CASES[:2]) & (table["class"] == 1)
    table.loc[predicted & (table["postprocessing"] == "none"), "value"] = 0
    absent = (table["metric"] == "reference") & (table["case"] == CASES[1])
    table.loc[absent, "value"] = 0  # nothing there and nothing predicted is right
    frame = frame_of(write_folder(tmp_path, planned, {planned["cells"][0]["trial"]: table}))
    assert frame.loc["a", ["predictions", "empty_none", "empty_largest_component"]].tolist() == [12, 1, 0]
    assert "1 of 12" in text_of(tmp_path) and "Empty predictions: 1 of 24." in text_of(tmp_path)


def test_excluded_distances_leave_the_other_cases(tmp_path):
    planned = plan([cell("a")], evaluation={"empty": "exclude"})
    table = values(planned, 0)
    table.loc[(table["metric"] == "hd95") & (table["case"] == CASES[0]), "value"] = np.nan
    row = frame_of(write_folder(tmp_path, planned, {planned["cells"][0]["trial"]: table})).loc["a"]
    expected = by_case([table], "hd95", "voxel", "none")[1:]
    assert row["hd95_voxel_none_cases"] == len(CASES) - 1
    assert row["hd95_voxel_none_mean"] == pytest.approx(expected.mean())


def test_draws_are_averaged_and_said(tmp_path):
    planned = plan([cell("a", seed=seed, draw=draw) for seed in (1, 2) for draw in (0, 1)])
    text = text_of(write_folder(tmp_path, planned))
    assert "| 4 runs (2 draws) |" in text


def test_reconstructions_carry_a_dagger(tmp_path):
    text = text_of(write_folder(tmp_path, plan([cell("a", fidelity="reconstruction"), cell("b")])))
    assert "| A† |" in text and "| B |" in text and "† Reconstruction" in text
    assert "†" not in text_of(write_folder(tmp_path / "other", plan([cell("b")])))


def test_published_figures_and_what_keeps_them_apart(tmp_path):
    cells = [cell("ua_mt", variant="all"), cell("vnet", 28, role="ceiling", unlabelled=0)]
    text = text_of(write_folder(tmp_path, plan(cells)))
    assert r"84.25 / 73.48 / 3.36 / 13.84 (8/72) \[1\] ‡" in text
    assert r"91.14 / 83.82 / 1.52 / 5.75 (80/0) \[2\] ‡" in text
    assert "1. README of the DTC repository" in text
    assert "28 training and 6 test cases (split train.list / test.list), not the official split" in text


def test_published_figures_under_the_published_protocol_are_comparable(tmp_path):
    planned = plan(
        [cell("dtml", 16, unlabelled=64, variant="mask")],
        data={"split": "official", "spacing": None},
        training={"iterations": 6000, "patch": [112, 112, 80], "width": 16, "precision": "fp32"},
        evaluation={"stride": [18, 18, 4], "postprocessing": "largest_component"},
    )
    text = text_of(write_folder(tmp_path, planned))
    assert r"90.12 / 82.14 / 1.82 / 7.01 \[1\] |" in text and "‡" not in text


def test_other_data_get_no_published_figures(tmp_path):
    planned = plan([cell("ua_mt")], data={"name": "Phantom"})
    text = text_of(write_folder(tmp_path, planned))
    assert "84.25" not in text and "No published figures are shown: they are for LA." in text


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


@pytest.mark.parametrize("cells", [[], cells_of("a", "b"), [cell("full", 28, role="ceiling", unlabelled=0)]])
def test_only_a_plan(tmp_path, cells):
    report = write_report(write_plan(tmp_path, plan(cells)))
    assert report == tmp_path / "report"
    assert f"Of {len(cells)} planned trials: " in text_of(tmp_path)
    written = sorted(path.name for path in (report / "tables").iterdir())
    assert written == ["comparison.csv", "comparison.md", "comparison.tex"]


def test_stale_records_are_marked_in_their_row_and_explained(tmp_path):
    folder = write_folder(tmp_path, plan(cells_of("a", "b")))
    write_report(folder, stale={"a-8-1-first": "changed since: methods/losses.py"})
    text = (folder / "report" / "tables" / "comparison.md").read_text(encoding="utf-8")
    assert "| A§ |" in text and "B§" not in text
    assert "§ Stale: changed since: methods/losses.py" in text


def test_choosing_the_postprocessing_needs_no_new_records(tmp_path):
    planned = plan(cells_of("a", "b"))
    write_folder(tmp_path, planned)
    write_plan(tmp_path, planned | {"evaluation": planned["evaluation"] | {"postprocessing": "largest_component"}})
    text = text_of(tmp_path)
    assert "only the largest connected component kept" in text and "other protocol" not in text


def test_no_reference(tmp_path):
    text = text_of(write_folder(tmp_path, plan(cells_of("a", "b"), reference=None)))
    assert "Holm" not in text and "t-test" not in text


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    planned = plan([*cells_of("ua_mt", "b"), cell("full", 28, role="ceiling", unlabelled=0)])
    one = write_report(write_folder(tmp_path / "one", planned))
    two = write_report(write_folder(tmp_path / "two", planned))
    for suffix in ("md", "csv", "tex"):
        first = (one / "tables" / f"comparison.{suffix}").read_bytes()
        assert first == (two / "tables" / f"comparison.{suffix}").read_bytes()
        write_report(tmp_path / "one")
        assert first == (one / "tables" / f"comparison.{suffix}").read_bytes()


def test_csv_is_plain(tmp_path):
    planned = plan([*cells_of("a", "b", display='a,"b"\nc'), cell("failed")])
    write_folder(tmp_path, plan(planned["cells"][:-1]))
    write_plan(tmp_path, planned)
    rows = list(csv.DictReader(text_of(tmp_path, "csv").splitlines(keepends=True)))
    assert len(rows) == 3 and rows[0]["display"] == 'a,"b"\nc'
    assert float(rows[0]["dice_percent_none_mean"]) > 0 and float(rows[0]["assd_mm_largest_component_mean"]) > 0
    assert rows[2]["dice_percent_none_mean"] == "" and rows[2]["states"] == "1 not run"


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
    return page_of(tmp_path)


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


def test_reports_import_nothing_heavy():
    code = (
        "import sys, reports.tables; "
        "print([name for name in ('torch', 'ray', 'methods', 'benchmark', 'matplotlib') if name in sys.modules])"
    )
    root = Path(__file__).resolve().parent.parent
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
