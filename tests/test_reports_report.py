"""The report as a whole: which files, from which folders, in which state; the same bytes; LaTeX that compiles."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.results_folder import (
    EARLIER,
    EARLIER_REASON,
    cell,
    cells_of,
    plan,
    write_folder,
    write_heartbeat,
    write_plan,
    write_record,
    write_tables_of,
)

from reports.report import write_report

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("summary", "publication", "comparison", "further", "sweep", "cost", "ledger")
FILES = {f"{name}.{suffix}" for name in NAMES for suffix in ("md", "csv", "tex")}
OVER_ALL = {"variance.csv", "long.csv", "statistics.csv", "cases.csv"}


def written(tables):
    return {path.relative_to(tables).as_posix(): path.read_bytes() for path in tables.rglob("*") if path.is_file()}


def full_plan(**changes):
    return plan([
        *cells_of("floor", role="floor", unlabelled=0), *cells_of("b"), *cells_of("ua_mt", variant="all"),
        cell("floor", 28, role="ceiling", unlabelled=0),
    ], **changes)  # fmt: skip


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    one, two = (write_folder(tmp_path / name, full_plan()) for name in ("one", "two"))
    first = written(write_tables_of(one))
    assert set(first) == FILES | OVER_ALL
    assert written(write_tables_of(two)) == first == written(write_tables_of(one))
    assert all(text.endswith(b"\n") and b"\r" not in text for text in first.values())


def test_every_planned_cell_has_a_state(tmp_path):
    planned = plan([cell("b"), cell("a"), cell("c"), cell("d"), cell("e"), cell("f")])
    write_plan(tmp_path, planned)
    done, failed, diverged, running, _, stale = planned["cells"]
    write_record(tmp_path, planned, done)
    write_record(tmp_path, planned, failed, state="failed", reason="out of memory")
    write_record(tmp_path, planned, diverged, state="diverged", reason="loss is NaN at step 12")
    write_heartbeat(tmp_path, running, stage="training", step=20, iterations=600)
    write_record(tmp_path, planned, stale, numerics=EARLIER)
    tables = write_tables_of(tmp_path)
    texts = {name: (tables / f"{name}.md").read_text(encoding="utf-8") for name in NAMES}
    for name in ("comparison", "cost", "sweep"):
        lines = {line.split("|")[1].strip(): line for line in texts[name].splitlines() if line.startswith("| ")}
        for method, state in (("A", "failed"), ("C", "diverged"), ("D", "running"), ("E", "not run")):
            assert f"| {state}" in lines[method], (name, method)
        assert "F§" in lines and "B" in lines
    for name in NAMES:
        assert (
            "**Unfinished. Of 6 planned trials: 2 done (1 stale), 1 failed, 1 diverged, 1 running, 1 not run.**"
            in texts[name]
        )
        assert f"§ Stale: {EARLIER_REASON}" in texts[name] or name == "summary"
        if name == "publication":  # a paper has no room for more
            continue
        assert "A, 8 labelled, seed 1: failed: out of memory." in texts[name]
        assert "C, 8 labelled, seed 1: diverged: loss is NaN at step 12." in texts[name]


def test_a_complete_folder_says_so(tmp_path):
    text = (write_tables_of(write_folder(tmp_path, plan([cell("a")]))) / "comparison.md").read_text()
    assert "**Complete: all 1 planned trials are done.**" in text


@pytest.mark.parametrize(
    "cells, status",
    [
        ([], "Nothing is planned here."),
        (cells_of("a", "b"), "Nothing is done yet. Of 6 planned trials: 6 not run."),
        ([cell("full", 28, role="ceiling", unlabelled=0)], "Nothing is done yet. Of 1 planned trials: 1 not run."),
    ],
)
def test_only_a_plan(tmp_path, cells, status):
    tables = write_tables_of(write_plan(tmp_path, plan(cells)))
    assert set(written(tables)) == FILES | OVER_ALL
    for name in NAMES:
        assert f"**{status}**" in (tables / f"{name}.md").read_text()


@pytest.mark.slow
def test_several_folders_of_one_experiment_are_one_report_in_the_first(tmp_path):
    cells = full_plan()["cells"]
    whole = written(write_tables_of(write_folder(tmp_path / "whole", plan(cells))))
    one = write_folder(tmp_path / "one", plan(cells[:4]))
    two = write_folder(tmp_path / "two", plan(cells[4:]))
    report = one / "report"
    write_report([one, two], report)
    assert report == one / "report" and not (two / "report").exists()
    assert written(report / "tables") == whole


def test_parts_with_baselines_of_different_names_are_reported_on(tmp_path):
    one = write_folder(tmp_path / "one", plan([cell("f", role="floor", unlabelled=0), cell("b")]))
    two = write_folder(tmp_path / "two", plan([cell("g", role="floor", unlabelled=0), cell("a")]))
    files = written(write_tables_of(one, two))
    assert all(
        name in files[table] for name in (b"| F (floor) |", b"| G (floor) |") for table in ("sweep.md", "cost.md")
    )


def test_several_experiments_have_a_folder_each_and_no_table_mixes_them(tmp_path):
    one = write_folder(tmp_path / "one", plan(cells_of("a", "b"), title="First"))
    two = write_folder(tmp_path / "two", plan(cells_of("c", "b"), title="Second", training={"iterations": 500}))
    three = write_folder(tmp_path / "three", plan(cells_of("d", "b"), experiment="another / one"))
    files = written(write_tables_of(one, two, three))
    places = ("made_up", "made_up-2", "another_one")
    assert set(files) == OVER_ALL | {f"{place}/{name}" for place in places for name in FILES}
    first, second = (files[f"{place}/comparison.md"].decode() for place in places[:2])
    assert "First" in first and "| A |" in first and "| C |" not in first and "600 iterations" in first
    assert "Second" in second and "| C |" in second and "| A |" not in second and "500 iterations" in second
    for name in OVER_ALL:
        lines = files[name].decode().splitlines()
        assert lines[0].startswith("experiment,") and {line.split(",")[0] for line in lines[1:]} == set(places)


def test_tables_of_an_earlier_report_do_not_stay(tmp_path):
    one = write_folder(tmp_path / "one", plan([cell("a")]))
    two = write_folder(tmp_path / "two", plan([cell("a")], experiment="other"))
    write_tables_of(one, two)
    assert set(written(write_tables_of(one))) == FILES | OVER_ALL


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here; the shape is tested in every table's file")
def test_latex_compiles(tmp_path):
    planned = full_plan(title="A_b & 50 % {x} ~ ^ \\ #1 $y$ λ")
    tables = write_tables_of(write_folder(tmp_path, planned))
    inputs = "\n".join(rf"\input{{{name}.tex}}" for name in NAMES)
    (tables / "all.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs,threeparttable}}\begin{{document}}{inputs}\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tables, capture_output=True, text=True, errors="replace")
    if ".sty' not found" in done.stdout:
        pytest.skip("no booktabs or threeparttable here")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout and "multiply defined" not in done.stdout


def test_latex_has_the_columns_it_announces(tmp_path):
    tables = write_tables_of(write_folder(tmp_path, full_plan(title="A_b & 50 %")))
    for name in NAMES:
        text = (tables / f"{name}.tex").read_text(encoding="utf-8")
        assert r"\toprule" in text and "U+" not in text
        begins, ends = re.findall(r"\\begin{(\w+)}", text), re.findall(r"\\end{(\w+)}", text)
        assert sorted(begins) == sorted(ends)
        for columns, inner in re.findall(r"\\begin{tabular}{l\*{(\d+)}{r}}(.*?)\\end{tabular}", text, re.DOTALL):
            for row in inner.split("\\\\\n")[:-1]:
                spanned = sum(int(span) - 1 for span in re.findall(r"\\multicolumn{(\d+)}", row))
                assert len(re.findall(r"(?<!\\)&", row)) + spanned == int(columns), (name, row)


SCRIPT = """
import sys
from pathlib import Path
from reports.report import write_report
write_report([Path(sys.argv[1])], Path(sys.argv[1]) / "report")
print([name for name in ("torch", "ray", "h5py", "benchmark.planning") if name in sys.modules])
"""


@pytest.mark.slow
def test_a_report_needs_nothing_heavy(tmp_path):
    folder = write_folder(tmp_path, full_plan())
    done = subprocess.run([sys.executable, "-c", SCRIPT, folder], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
