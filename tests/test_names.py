"""Names of all kinds: what cannot be a file's or a row's is refused before anything is trained; the rest is shown."""

import json
import os
import shutil
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import pytest
import yaml
from helpers import tiny
from helpers.command_line import one_line_error
from helpers.page_folder import page_of, write_pictures
from helpers.results_folder import cell, plan, values, write_plan, write_record, write_tables_of

from data import phantom
from data.names import MOST_BYTES, name_problems
from data.preview import write_preview
from reports import figures
from reports.figures import draw_all
from reports.figures.style import applied, drawable
from reports.merging import read_folders
from reports.tables.latex import escape_latex

ROOT = Path(__file__).parents[1]
PLAIN = {"methods": ["vnet"], "baseline": None}

# Names of rows.

NASTY = [
    r"$\bm{L}$", r"$\mathds{1}$", "US$ or CA$", r"$\frac{1$", "$", "$$", "{0} {label} %s", "_hidden", "two\nlines",
    "a\x07\x1b[31mb", "a\x00b", "\u202eabc عربي", "x" * 500, "word " * 100, "😀 模型", r"\input{x} & # ~ ^ | <b>",
    "\u200b",
]  # fmt: skip


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """A results folder whose rows have all these names, and so have structures, losses, devices and the data."""
    folder = tmp_path_factory.mktemp("nasty")
    cells = [cell(f"m{n}", display=name, labelled=4) for n, name in enumerate(NASTY)]
    cells += [cell(f"m{n}", display=name, labelled=8) for n, name in enumerate(NASTY[:3])]
    cells.append(cell("vnet", role="ceiling", labelled=28, display=NASTY[0]))
    data = {"class_names": {NASTY[0] + NASTY[9]: 1}, "name": NASTY[8]}
    planned = plan(cells, reference=NASTY[0], title=NASTY[8] + NASTY[9], data=data)
    write_plan(folder, planned)
    for number, of in enumerate(cells):
        facts = {"seconds_training": 10.0 + number, "device": NASTY[9]}
        record = write_record(folder, planned, of, values(planned, number), facts)
        loss = of["display"].replace("\n", " ").replace("\0", "")
        (record / "history.csv").write_text(f'step,seconds,total,"{loss}"\n1,1,0.5,0.3\n2,2,0.4,0.2\n')
    write_pictures(folder, planned, (16, 16, 12))
    return folder


@pytest.mark.slow
def test_figures_are_drawn_whatever_a_method_is_called(nasty, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "MANY", 10**9)  # in this process, so that warnings are seen
    [results] = read_folders([nasty])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn, left_out = draw_all(results, tmp_path)
    assert {figure.name for figure in drawn} >= {"budgets_dice", "cost_4", "distributions_4", "losses_4", "ranks_4"}
    assert [figure.name for figure in left_out] == ["variance"]  # there is one seed


def test_keys_of_figures_leave_no_name_out(nasty):
    [results] = read_folders([nasty])
    source = figures.measured_in(results)
    assert len(source.look) == len(NASTY) + 1
    with applied():
        drawn = {figure.name: figure.figure for figure in figures.draw_module("training_cost", source)}
        terms = [figure.figure for figure in figures.draw_module("training_curves", source) if "terms" in figure.name]
    [key] = drawn["cost_4"].legends
    assert len(key.get_texts()) == len(NASTY) + 2, "every method, the front and the ceiling"
    shown = [len(axes.get_legend().get_texts()) for figure in terms for axes in figure.axes]
    assert shown == [1] * (len(NASTY) + 1)


@pytest.mark.parametrize("name", NASTY)
def test_what_is_drawn_is_one_line_of_visible_characters(name):
    shown = drawable(name)
    assert shown and len(shown) <= 121 and "\n" not in shown and not shown.startswith("_")
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in shown)


@pytest.mark.slow
def test_tables_and_page_hold_every_name(nasty, tmp_path):
    tables = write_tables_of(nasty)
    for path in [*tables.iterdir(), page_of(nasty, out=tmp_path)]:
        text = path.read_text(encoding="utf-8")
        if path.suffix in (".tex", ".md"):
            assert not any(unicodedata.category(c) == "Cc" and c != "\n" for c in text), path
    assert r"\$\textbackslash{}bm\{L\}\$" in (tables / "comparison.tex").read_text(encoding="utf-8")


def test_files_whose_names_are_no_text_stop_no_report(nasty, tmp_path):
    folder = shutil.copytree(nasty, tmp_path / "results")
    for name in (os.fsdecode(b"caf\xe9"), "a\nb", "\x1b[2J"):
        shutil.copy(folder / "cases" / "CASE0.npz", folder / "cases" / f"{name}.npz")
        shutil.copytree(folder / "records" / "m0-4-1-first", folder / "records" / name)
    write_tables_of(folder)
    page = page_of(folder, out=tmp_path / "page").read_text(encoding="utf-8")
    assert "CASE0" in page and "\\x1b" not in page


@pytest.mark.parametrize("character", [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u202e", "\ud800"])
def test_latex_gets_no_character_that_stops_it(character):
    assert escape_latex(f"a{character}b").isprintable() and escape_latex(f"a{character}b").isascii()


@pytest.mark.parametrize("name", [r"$\bm{L}$", "US$ or CA$", r"$\frac{1$"])
def test_the_picture_of_a_data_set_takes_any_name(tmp_path, monkeypatch, name):
    from data.cache import prepare

    dataset = prepare(tiny.experiment().data)
    monkeypatch.setattr(dataset.source, "class_names", {name: 1})
    write_preview(dataset, tmp_path / "data.png")
    assert (tmp_path / "data.png").stat().st_size


# What is refused when an experiment is planned.

DISPLAYS = {
    "a\nb": "line breaks", "a\x1bb": "control characters", "a\0": "control characters", "a\u2028b": "line breaks",
    "\ud800": "valid Unicode", "x" * 101: "more than 100 characters", " ": "must not be empty", "": "must not be empty",
}  # fmt: skip


@pytest.mark.parametrize("display", DISPLAYS, ids=ascii)
def test_a_name_that_cannot_stand_in_a_table_is_refused(command, tmp_path, display):
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(tiny.merged(**PLAIN | {"methods": [{"name": "vnet", "display": display}]})))
    message = one_line_error(command("run", path, "--results", tmp_path / "results"))
    assert DISPLAYS[display] in message or (display == "\ud800" and "not valid YAML" in message), message
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "x" * 101}, "more than 100 characters"),
        ({"title": "a\x07b"}, "control characters"),
        ({"seeds": [10**300]}, "more than 64 bits"),
        ({"seeds": {2: [-(10**80)]}}, "more than 64 bits"),
    ],
)
def test_an_experiment_whose_names_make_no_files_is_refused(command, tmp_path, changes, words):
    path = tiny.write_experiment(tmp_path, **PLAIN | changes)
    assert words in one_line_error(command("run", path, "--results", tmp_path / "results"))
    assert not (tmp_path / "results").exists()


def test_the_longest_names_that_are_taken_run(command, tmp_path, monkeypatch, no_ray, no_drawing):
    """Each at its limit, all at once."""
    case = "é" * (MOST_BYTES // 2)
    monkeypatch.setattr(phantom.PhantomSource, "__init__", renaming(case))
    path = tiny.write_experiment(
        tmp_path, name="x" * 100, seeds=[2**63 - 1], baseline=None, methods=[{"name": "vnet", "display": "d" * 100}],
        data={"seed": 5},  # no other test's data set, which this process keeps
    )  # fmt: skip
    status, out, err = command("run", path, "--results", tmp_path / "results")
    assert status == 0, out + err
    [prediction] = tmp_path.glob("results/records/*/predictions/*.npz")
    assert prediction.stem == case and (tmp_path / "results" / "cases" / f"{case}.npz").exists()


def renaming(*names):
    """A phantom source whose test cases have these names."""
    original = phantom.PhantomSource.__init__

    def renamed(self, settings):
        original(self, settings)
        self.test_ids = list(names)

    return renamed


CASES = {
    "too long": ["x" * (MOST_BYTES + 1)],
    "240 bytes": ["x" * 240],
    "too many bytes": ["é" * (MOST_BYTES // 2 + 1)],
    "a Latin-1 name": [os.fsdecode(b"caf\xe9")],
    "half of a pair": ["\udc80"],
    "a control character": ["a\x85b"],
    "a line separator": ["a\u2028b"],
    "other case": ["Case", "case"],
    "other Unicode form": [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")],
    "both": [unicodedata.normalize("NFC", "É"), unicodedata.normalize("NFD", "é")],
    "sharp s": ["straße", "STRASSE"],
}


@pytest.mark.parametrize("names", CASES.values(), ids=CASES.keys())
def test_a_case_whose_files_could_not_be_written_is_refused_with_the_plan(command, tmp_path, monkeypatch, names):
    monkeypatch.setattr(phantom.PhantomSource, "__init__", renaming(*names))
    path = tiny.write_experiment(tmp_path, **PLAIN | {"data": {"test": len(names)}})
    assert "rename" in one_line_error(command("run", path, "--results", tmp_path / "results", "--dry-run"))


def test_every_such_case_is_named():
    long, alike = name_problems(["A", "x" * 300, "a"])
    assert "x" * 60 + "…" in long and "cases 'A' and 'a'" in alike
    assert not name_problems(["A", "b", "b", "caf\xe9", "模型", "a b", "-x", "=1"])


def test_a_row_of_other_masks_has_a_name_as_any_other(command, tmp_path):
    folder = tiny.finished(tmp_path / "results", **PLAIN)
    for name, words in (("a\nb", "line breaks"), ("x" * 101, "100 characters"), ("\x1b[2J", "control")):
        arguments = ("add-masks", tmp_path, "--name", name, "--results", folder, "--labelled", 2)
        message = one_line_error(command(*arguments))
        assert "--name" in message and words in message


def test_a_method_has_a_name_that_fits_into_a_folders(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "at most 64 characters" in one_line_error(command("new-method", "x" * 65))
    assert command("new-method", "x" * 64)[0] == 0


# YAML takes some names for numbers, dates and switches.


@pytest.mark.parametrize(
    "word", ["010", "1e3", "1.5", "no", "off", "2021-01-01", "0x1F", "1_000", "12:30:00", "~", ".5"]
)
@pytest.mark.parametrize(
    "line", ["name: WORD", "title: WORD", "methods: [{name: vnet, display: WORD}]", "reference: WORD"]
)
def test_a_name_that_yaml_takes_for_something_else_asks_for_quotes(command, tmp_path, word, line):
    """Or it is taken as written; never as another text."""
    text = yaml.safe_dump({k: v for k, v in tiny.merged(**PLAIN).items() if k != line.partition(":")[0]})
    path = tmp_path / "tiny.yaml"
    path.write_text(text + line.replace("WORD", word) + "\n")
    status, _, err = command("run", path, "--results", tmp_path / "results", "--dry-run")
    if isinstance(yaml.safe_load(word), str) or word == "~":  # ~ is null, as everywhere
        assert "quotes" not in err
    else:
        assert status == 2 and "put it in quotes" in err, err
    path.write_text(text + line.replace("WORD", f'"{word}"') + "\n")
    assert "quotes" not in command("run", path, "--results", tmp_path / "results", "--dry-run")[2]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_an_experiment_with_a_byte_order_mark(command, tmp_path, encoding):
    path = tiny.write_experiment(tmp_path, **PLAIN)
    path.write_text(path.read_text(), encoding=encoding)
    outcome = command("run", path, "--results", tmp_path / "results", "--dry-run")
    if encoding == "utf-8-sig":
        assert outcome[0] == 0
    else:
        assert "save it as UTF-8" in one_line_error(outcome)


def test_files_of_a_results_folder_with_a_byte_order_mark_are_read(command, tmp_path):
    """Editors and spreadsheets of some systems add one when they save."""
    folder = tiny.finished(tmp_path / "results", **PLAIN)
    for path in [folder / "plan.json", folder / "experiment.yaml", *folder.glob("records/*/*.csv"),
                 *folder.glob("records/*/*.yaml"), *folder.glob("records/*/*.json")]:  # fmt: skip
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    status, out, _ = command("status", folder)
    assert status == 0 and out.endswith("1 of 1 cells done\n")


# Terminals that know ASCII alone.


@pytest.mark.slow
def test_every_command_prints_on_an_ascii_terminal(tmp_path):
    folder = tiny.finished(tmp_path / "résultats", **PLAIN | {"title": "Größe ± µ 模型"})
    plan_file = folder / "plan.json"
    plan_file.write_text(plan_file.read_text().replace('"V-Net"', '"Ünet – 模型 😀"'), encoding="utf-8")
    config = tiny.write_experiment(tmp_path, **PLAIN)
    environment = os.environ | {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0",
                                "PYTHONCOERCECLOCALE": "0"}  # fmt: skip
    [record] = (folder / "records").iterdir()
    for arguments in (
        ["--help"], ["run", "--help"], ["methods"], ["methods", "dtml"], ["status", folder], ["status", tmp_path / "é"],
        ["run", config, "--results", folder, "--dry-run"], ["evaluate", folder, "--check-metrics", record.name],
        ["data", "info", config, "--picture", tmp_path / "ü.png"], ["run", tmp_path / "no-é.yaml"],
        ["predict", record, tmp_path / "ö"], ["report", folder, folder.with_name("nö")], ["data", "verify", tmp_path],
        ["fly-é"],
    ):  # fmt: skip
        command = [sys.executable, ROOT / "run_benchmark.py", *arguments]
        done = subprocess.run(command, capture_output=True, env=environment, cwd=tmp_path, timeout=600)
        assert b"Traceback" not in done.stderr and done.returncode in (0, 1, 2), (arguments, done.stderr)
        assert (done.stdout + done.stderr).isascii() and done.stdout + done.stderr, arguments
