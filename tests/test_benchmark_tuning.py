"""Equal tuning: the same number of settings for all, repeatable, on cases whose labels nothing else uses."""

import csv
import dataclasses
import json
import math
import sys

import pytest
import yaml
from helpers import tiny
from helpers.scan_folder import write_folder

from benchmark.planning.experiment import Experiment, MethodEntry, Tuning
from benchmark.planning.plan import make_plan
from benchmark.planning.proposals import Tried, proposals
from benchmark.planning.trials import make_trials
from benchmark.planning.tuning import (
    _dice,
    most_trials,
    search_budget,
    search_experiment,
    tuned_experiment,
    validation_cases,
)
from benchmark.records.case_values import CaseValue
from benchmark.records.states import CellState
from data.cache import prepare
from methods.shared import registry

pytestmark = pytest.mark.usefixtures("no_drawing")

RANDOM = Tuning(settings_per_method=6, validation=1)
OPTUNA = Tuning(settings_per_method=10, validation=1, search="optuna")


def searched(name):
    """All settings that a whole search tries, where a setting is the better the nearer it is to 1."""
    entry, tuning = name if isinstance(name, tuple) else (MethodEntry(name=name), RANDOM)
    tried = []
    while new := proposals(entry, tried, tuning):
        tried += [Tried(settings, 1 - abs(1 - settings.get("consistency_weight", 3))) for settings in new]
    return [one.settings for one in tried]


def search_of(planned):
    """The validation cases and the budget of an experiment's search."""
    dataset = prepare(planned.data)
    return validation_cases(planned, dataset), search_budget(planned, dataset)


@pytest.mark.parametrize("tuning", [RANDOM, OPTUNA], ids=["random", "optuna"])
@pytest.mark.parametrize("name", registry.names())
def test_every_method_tries_as_many_settings_from_its_own_ranges(name, tuning):
    entry = MethodEntry(name=name)
    settings = searched((entry, tuning))
    assert settings[0] == {}  # as published
    fields = registry.get(name).Settings.model_fields
    ranges = {key: (f.json_schema_extra or {}).get("search") for key, f in fields.items()}
    ranges = {key: search for key, search in ranges.items() if search}
    assert len(settings) == (tuning.settings_per_method if ranges else 1)
    for drawn in settings[1:]:
        assert drawn.keys() == ranges.keys()
        registry.settings_of(name, drawn)  # raises if one cannot be
        for key, value in drawn.items():
            search = ranges[key]
            assert value in search or search[0] <= value <= search[1]
    assert len({str(drawn) for drawn in settings}) == len(settings)
    assert searched((entry, tuning)) == settings


def test_optuna_goes_where_it_is_better():
    near = [abs(1 - drawn["consistency_weight"]) for drawn in searched((MethodEntry(name="dtml"), OPTUNA))[1:]]
    assert min(near[3:]) < min(near[:3])


def test_a_setting_that_the_experiment_fixes_is_not_searched():
    entry = MethodEntry(name="sass", settings={"adversarial_weight": 0.015})
    for drawn in searched((entry, RANDOM)):
        assert drawn["adversarial_weight"] == 0.015
    assert len({str(drawn) for drawn in searched((entry, RANDOM))}) == RANDOM.settings_per_method


def test_validation_cases_are_nobodys():
    planned = tiny.experiment(
        data={"train": 8},
        labelled=[1, 2],
        draws=["first", 0, 1],
        tuning={"settings_per_method": 2, "validation": 2, "seed": 5},
    )
    dataset = prepare(planned.data)
    held_out = validation_cases(planned, dataset)
    assert len(held_out) == 2 and validation_cases(planned, dataset) == held_out
    assert not set(held_out) & {case for t in tiny.trials(planned) for case in t.labelled if t.cell.role != "ceiling"}
    search = search_experiment(planned, held_out, search_budget(planned, dataset), [[{}, {"consistency_weight": 0.3}]])
    trials = make_trials(search, prepare(search.data))
    assert [trial.cell.display for trial in trials] == ["DTML #0", "DTML #1"]
    for trial in trials:
        assert trial.test == held_out and not set(trial.labelled + trial.unlabelled) & set(held_out)
        assert not set(trial.labelled + trial.unlabelled + trial.test) & set(dataset.test_ids)


@pytest.mark.parametrize("draw", ["first", 2])
def test_the_search_sees_the_labels_that_the_trials_see(draw):
    planned = tiny.experiment(data={"train": 8}, draws=[draw], tuning={"settings_per_method": 2, "validation": 3})
    search = search_experiment(planned, *search_of(planned), [[{}]])
    assert make_trials(search, prepare(search.data))[0].labelled == tiny.trials(planned)[0].labelled


def test_too_few_cases_are_one_line():
    with pytest.raises(ValueError, match="tuning.validation 2: only 2 training cases of Phantom have a label"):
        search_of(tiny.experiment(tuning={"settings_per_method": 2, "validation": 2}))


def test_the_tuned_experiment_knows_how():
    planned = tiny.experiment(tuning={"settings_per_method": 3, "validation": 1})
    tuned = tuned_experiment(planned, search_of(planned)[1], [{"consistency_weight": 0.3}])
    assert tuned.tuned.experiment == planned.name and "up to 3 settings a method by random search" in tuned.tuned.how
    assert tuned.title.endswith("equally tuned") and tuned.tuning is None
    assert tuned.methods[0].settings == {"consistency_weight": 0.3} and tuned.name != planned.name


@pytest.mark.parametrize("named", ["ua_mt", "Teacher"])
def test_only_the_named_methods_are_tuned(named):
    planned = tiny.experiment(
        methods=["dtml", {"name": "ua_mt", "display": "Teacher"}],
        tuning={"settings_per_method": 3, "validation": 1, "methods": [named]},
    )
    assert most_trials(planned) == 3
    tuned = tuned_experiment(planned, 2, [{}, {"consistency_weight": 0.3}])
    assert [entry.settings for entry in tuned.methods] == [{}, {"consistency_weight": 0.3}]
    assert tuned.tuned.methods == ["Teacher"] and "; not tuned: DTML;" in tuned.tuned.how
    assert tuned.title.endswith(", Teacher tuned alike")


@pytest.mark.slow
@pytest.mark.parametrize(("search", "other", "only"), [("random", "vnet", None), ("optuna", "mean_teacher", ["DTML"])])
def test_a_tuned_run_from_search_to_both_tables(tmp_path, command, no_ray, search, other, only):
    config = tiny.write_experiment(
        tmp_path,
        methods=[other, {"name": "dtml", "display": "DTML"}],
        data={"train": 5},
        tuning={"settings_per_method": 3, "validation": 1, "search": search, "methods": only},
    )
    folder = tmp_path / "results"
    assert command("run", config, "--results", folder)[0] == 0
    chosen = yaml.safe_load((folder / "tuning/chosen.yaml").read_text())
    assert len(chosen["1 DTML"]["tried"]) == 3
    assert only or len(chosen["0 V-Net"]["tried"]) == 1
    assert len([name for name in chosen if name[0].isdigit()]) == (1 if only else 2)
    best = max(chosen["1 DTML"]["tried"], key=lambda tried: tried["dice"])
    assert chosen["1 DTML"]["chosen"] == best["settings"]
    for record in (folder / "tuning/records").iterdir():  # scored on the validation case alone
        assert {row["case"] for row in csv.DictReader((record / "cases.csv").open())} == set(chosen["validation"])
    shared = {path.name for path in (folder / "records").iterdir()} & {
        p.name for p in (folder / "tuned/records").iterdir()
    }
    assert len(shared) >= 2  # floor and ceiling were not trained twice
    tables = [path.read_text() for path in (folder / "report/tables").rglob("*comparison*.md")]
    assert len(tables) == 2 and sum("up to 3 settings a method" in table for table in tables) == 1
    (beside,) = [path.read_text() for path in (folder / "report/tables").rglob("tuning.md")]
    assert ("| not tuned |" in beside) == bool(only)
    of_dtml = next(line for line in beside.splitlines() if line.startswith("| DTML"))
    assert ("as published" in of_dtml) == (not best["settings"])
    # Both are scored again together, and stay side by side.
    assert command("evaluate", folder, "--set", "evaluation.empty=exclude")[0] == 0
    plans = [json.loads((part / "plan.json").read_text()) for part in (folder, folder / "tuned")]
    assert [planned["evaluation"]["empty"] for planned in plans] == ["exclude", "exclude"]
    assert len([*(folder / "report/tables").rglob("tuning.md")]) == 1
    assert command("evaluate", folder, "--set", "evaluation.empty=worst")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("weights.pt")}
    assert command("run", config, "--results", folder)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("weights.pt")} == before


@pytest.mark.slow
def test_a_search_whose_trials_fail_goes_on_with_the_others(tmp_path, command, no_ray, own_registry):
    plugin = tiny.write_plugin(tmp_path, "fragile", in_step="assert self.settings.weight < 0.5, 'too much'")
    text = plugin.read_text().replace("    def __init__", (
        "    class Settings(MethodSettings):\n"
        "        weight: float = setting(0.1, 'x', search=(0.1, 0.9))\n\n    def __init__"
    )).replace("Method, Passes", "Method, MethodSettings, Passes, setting")  # fmt: skip
    plugin.write_text(text)
    config = tiny.write_experiment(
        tmp_path,
        methods=["fragile"],
        data={"train": 5},
        tuning={"settings_per_method": 6, "validation": 1},
        plugins=["fragile.py"],
    )
    command("run", config, "--results", tmp_path / "results")
    chosen = yaml.safe_load((tmp_path / "results/tuning/chosen.yaml").read_text())["0 Plugin"]
    assert 0 in [tried["dice"] for tried in chosen["tried"]] and chosen["chosen"].get("weight", 0.1) < 0.5


@pytest.mark.slow
def test_an_interrupted_search_goes_on_and_chooses_the_same(tmp_path, command, no_ray, monkeypatch):
    """Ctrl-C in the experiment itself, and again in the search: nothing later is begun, and nothing is done twice."""
    config = tiny.write_experiment(tmp_path, data={"train": 5}, tuning={"settings_per_method": 2, "validation": 1})
    whole, folder = tmp_path / "whole", tmp_path / "results"
    assert command("run", config, "--results", whole)[0] == 0
    scheduler = sys.modules["benchmark.cluster.scheduler"]
    run_trials, begun = scheduler.run_trials, []

    def interrupted(trials, results, *arguments):
        begun.append((results.folder.name, len(trials)))
        run_trials(trials[:1], results, *arguments)
        return len(trials) == 1

    monkeypatch.setattr(scheduler, "run_trials", interrupted)
    while command("run", config, "--results", folder)[0] != 0:
        assert len(begun) < 8
    assert begun[:5] == [("results", 3), ("results", 2), ("results", 1), ("tuning", 2), ("tuning", 1)]
    chosen = [(results / "tuning/chosen.yaml").read_text() for results in (whole, folder)]
    assert chosen[0] == chosen[1]
    records = [{path.name for path in results.rglob("records/*")} for results in (whole, folder)]
    assert records[0] == records[1]


CHOICES = """
    class Settings(MethodSettings):
        kind: str = setting("a", "x", search=("a", "b", "c"))

    def __init__"""


@pytest.mark.slow
def test_tables_say_that_a_search_is_stale(tmp_path, command, no_ray):
    config = tiny.write_experiment(tmp_path, data={"train": 5}, tuning={"settings_per_method": 2, "validation": 1})
    folder = tmp_path / "results"
    assert command("run", config, "--results", folder)[0] == 0
    table = folder / "report/tables/tiny-tuned/comparison.md"
    assert "equally tuned" in table.read_text() and "stale" not in table.read_text()
    record = next((folder / "tuning/records").glob("dtml-*")) / "trial.yaml"
    stored = yaml.safe_load(record.read_text())
    stored["numerics"]["method"] = 0
    record.write_text(yaml.safe_dump(stored))
    assert command("run", config, "--results", folder)[0] == 0
    assert "made by other numerics versions: 1." in table.read_text()


def test_choices_are_searched_and_the_published_one_is_not_tried_twice(tmp_path, own_registry):
    plugin = tiny.write_plugin(tmp_path, "choicy")
    text = plugin.read_text().replace("    def __init__", CHOICES.lstrip("\n"))
    plugin.write_text(text.replace("Method, Passes", "Method, MethodSettings, Passes, setting"))
    registry.load_plugin(plugin)
    assert registry.choices_of(registry.get("choicy").Settings.model_fields["kind"]) == ["a", "b", "c"]
    entry, fixed = MethodEntry(name="choicy"), MethodEntry(name="choicy", display="B", settings={"kind": "b"})
    for tuning in (RANDOM, OPTUNA):
        tried = searched((entry, tuning))
        assert tried[0] == {} and {drawn["kind"] for drawn in tried[1:]} == {"b", "c"} and len(tried) == 3
    # What one entry draws and another fixes is one trial of the search, and one row of what was tuned.
    planned = tiny.experiment(
        data={"train": 5}, methods=[entry, fixed], tuning={"settings_per_method": 3, "validation": 1}
    )
    search = search_experiment(planned, *search_of(planned), [tried, [{"kind": "b"}]])
    assert len(make_trials(search, prepare(search.data))) == 3
    for reference, kept in ((None, "Plugin"), ("B", "B")):
        planned = planned.model_copy(update={"reference": reference})
        (row,) = tuned_experiment(planned, search_of(planned)[1], [{"kind": "b"}] * 2).methods
        assert (row.display or "Plugin") == kept and row.settings == {"kind": "b"}


@pytest.mark.parametrize(("values", "mean"), [([0.5, math.nan, 0.7], 0.6), ([math.nan, math.nan], 0.0)])
def test_structures_that_are_nowhere_count_for_nothing(tmp_path, monkeypatch, values, mean):
    (cell,) = make_plan(tiny.experiment(baseline=None), tiny.new_results(tmp_path)).trials
    rows = [("largest_component", "dice", value) for value in values]
    rows += [("none", "dice", 0.1), ("largest_component", "asd", 9.0)]
    found = [CaseValue("last", name, 1, f"case {i}", metric, "", value) for i, (name, metric, value) in enumerate(rows)]
    monkeypatch.setattr("benchmark.planning.tuning.cell_state", lambda *arguments: CellState("done", values=found))
    done = dataclasses.replace(cell, state="done")
    assert _dice(done, tiny.new_results(tmp_path), tiny.experiment()) == pytest.approx(mean)


def test_no_patient_is_on_both_sides_of_the_search(tmp_path):
    root = write_folder(tmp_path / "data", train=8)
    for folder in ("imagesTr", "labelsTr"):
        for number, name in enumerate("ABCDEFGH"):
            (root / folder / f"{name}.nii.gz").rename(root / folder / f"p{number // 2}_{name}.nii.gz")
    data = {"source": "folder", "root": str(root), "patients": r"p\d|^I", "spacing": 0.5}
    planned = Experiment(**tiny.VALUES | {"data": data, "tuning": {"settings_per_method": 2, "validation": 1}})
    search = search_experiment(planned, *search_of(planned), [[{}]])
    (trial,) = make_trials(search, prepare(search.data))
    sides = [{case[:2] for case in side} for side in (trial.labelled, trial.unlabelled, trial.test)]
    assert not sides[2] & (sides[0] | sides[1])
    assert trial.labelled == next(t for t in make_trials(planned, prepare(planned.data)) if t.method == "dtml").labelled


def test_another_budget_leaves_the_validation_cases_unless_it_needs_them():
    tuning = {"settings_per_method": 2, "validation": 3}
    few, more = (tiny.experiment(data={"train": 12}, labelled=budgets, tuning=tuning) for budgets in ([2], [2, 3]))
    taken = set(tiny.trials(more)[-2].labelled)
    kept = [case for case in search_of(few)[0] if case not in taken]
    assert set(kept) <= set(search_of(more)[0]) and len(kept) >= 2
    # A budget of all cases has only the ceiling, which may see their labels.
    with_all = tiny.experiment(data={"train": 12}, labelled=[2, 12], tuning=tuning)
    assert search_of(with_all)[0] == search_of(few)[0]


def test_the_search_is_where_there_are_unlabelled_cases():
    tuning = {"settings_per_method": 2, "validation": 3}
    planned = tiny.experiment(data={"train": 8}, labelled=[8, 2], tuning=tuning)
    search = search_experiment(planned, *search_of(planned), [[{}]])
    (trial,) = make_trials(search, prepare(search.data))
    assert (len(trial.labelled), len(trial.unlabelled), len(trial.test)) == (2, 3, 3)
    assert "with 2 labelled" in tuned_experiment(planned, search_of(planned)[1], [{}]).tuned.how
    with pytest.raises(ValueError, match="leaves no unlabelled case of Phantom, and so no method to tune"):
        search_of(tiny.experiment(data={"train": 8}, labelled=[8], tuning=tuning))


def test_validation_cases_are_chosen_once():
    with pytest.raises(ValueError, match="leave out data.validation"):
        tiny.experiment(data={"validation": ["train-000"]}, tuning={"settings_per_method": 2, "validation": 1})
