import json

import numpy as np
import pandas as pd
import pytest
from helpers.results_folder import CASES, cell, plan, values, write_heartbeat, write_plan, write_record
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import ndimage

from benchmark.records.arrays import read_masks, read_picture
from data.masks import largest_component
from reports import figures
from reports.figures import (
    LeftOut,
    budgets,
    disagreement,
    draw_all,
    draw_module,
    examples,
    pairwise_map,
    style,
    training_cost,
    training_curves,
)
from reports.figures.measured import measured_in, shown_runs
from reports.figures.segmentations import Segmentations, error_limit
from reports.figures.surfaces import Truth, draw_meshes, surface, viewed
from reports.measures import scores
from reports.results import read_results
from reports.significance import significance
from reports.statistics import paired_t_test

SHAPE, CENTRE = (26, 22, 18), np.array([12, 11, 9])


def ball(radius, shift=0):
    return (((np.indices(SHAPE).T - CENTRE - [shift, 0, 0]) ** 2).sum(axis=-1) <= radius**2).T


def table_of(planned, dice, seed=0, hd95=None):
    """Made-up values with this Dice (a fraction) for each case, under both postprocessings."""
    table = values(planned, seed)
    for metric, unit, wanted in (("dice", "", dice), ("hd95", "voxel", hd95)):
        if wanted is not None:
            rows = (table["metric"] == metric) & (table["unit"] == unit)
            table.loc[rows, "value"] = table.loc[rows, "case"].map(dict(zip(CASES, wanted, strict=True)))
    return table


def spread_around(mean):
    return mean + np.array([-0.05, -0.03, -0.01, 0.01, 0.03, 0.05])


def write_history(record, **terms):
    step = np.arange(60)
    columns = {"step": step, "seconds": step * 0.5, "learning_rate_factor": 1 - step / 60}
    pd.DataFrame(columns | {name: factor * np.exp(-step / 20) for name, factor in terms.items()}).to_csv(
        record / "history.csv", index=False
    )


def write_pictures(folder):
    (folder / "cases").mkdir()
    for number, case in enumerate(CASES):
        image = np.full(SHAPE, 40 * number, np.uint8)
        np.savez_compressed(folder / "cases" / f"{case}.npz", image=image, label=ball(6).astype(np.uint8), content="x")


def write_predictions(record, shift=0, cases=CASES):
    (record / "predictions").mkdir()
    for number, case in enumerate(cases):
        masks = ball(6, shift if number % 2 else 0)[None]
        masks[0, 0, 0, 0] = True  # what keeping the largest component takes away
        packed = {"masks": np.packbits(masks), "shape": masks.shape}
        np.savez_compressed(record / "predictions" / f"{case}.npz", **packed)


def write_done(folder, planned, planned_cell, mean, shift=0):
    record = write_record(folder, planned, planned_cell, table_of(planned, spread_around(mean)))
    if planned_cell["method"] == "b":
        write_history(record, **{"segment/total": 1.0, "segment/supervised": 0.8, "critic/total": 0.5})
    else:
        write_history(record, total=1.0, supervised=0.8, consistency=0.1)
    write_predictions(record, shift)
    facts = {"seconds_training": 600 * (1 + shift), "trials_sharing_the_machine": 1 + shift % 2, "device": "a machine"}
    (record / "provenance.json").write_text(json.dumps(facts))
    return record


def all_cells(seeds=(1,), labelled=(8,)):
    cells = [cell("base", labelled=28, seed=seed, role="ceiling", unlabelled=0) for seed in seeds]
    for count in labelled:
        cells += [cell("base", labelled=count, seed=seed, role="floor", unlabelled=0) for seed in seeds]
        cells += [cell(method, labelled=count, seed=seed) for method in "abc" for seed in seeds]
    return cells


MEANS = {"base": 0.70, "a": 0.75, "b": 0.85, "c": 0.65}


def write_all(folder, seeds=(1,), labelled=(8,), pictures=True):
    """Floor, ceiling and three methods, all done: b is the best, c is below the floor."""
    planned = plan(all_cells(seeds, labelled))
    write_plan(folder, planned)
    for number, planned_cell in enumerate(planned["cells"]):
        mean = 0.9 if planned_cell["role"] == "ceiling" else MEANS[planned_cell["method"]]
        mean += 0.01 * (planned_cell["seed"] - 1) + 0.001 * (planned_cell["labelled"] - 8)
        write_done(folder, planned, planned_cell, mean, shift=number % 4)
    if pictures:
        write_pictures(folder)
    return folder


def source_of(folder):
    return measured_in(read_results(folder))


@pytest.fixture(autouse=True)
def one_style():
    with style.applied():
        yield


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("sweep"), seeds=(1, 2), labelled=(4, 8), pictures=False)


def titles_of(figure):
    return [axes.get_title() for axes in figure.figure.axes]


def labels_of(ticks):
    return [tick.get_text() for tick in ticks]


def drawn_by(module, folder):
    """{name: figure or why there is none}, as a module of figures gives them"""
    return {figure.name: figure for figure in draw_module(module, source_of(folder))}


NAMES = ["distributions_8", "ranks_8", "significance_8", "cost_8", "losses_8", "terms_8", "examples_8",
         "disagreement_slices_8", "disagreement_surfaces_8"]  # fmt: skip


@pytest.mark.slow
def test_all_figures_are_drawn_and_other_processes_give_the_same_bytes(full, tmp_path, monkeypatch):
    drawn, left_out = draw_all(read_results(full), tmp_path / "first")
    monkeypatch.setattr(figures, "MANY", 0)
    monkeypatch.setenv("PYTHONHASHSEED", "123")
    again, without = draw_all(read_results(full), tmp_path / "second")
    assert [figure.name for figure in again] == NAMES and without == left_out
    assert [figure.name for figure in drawn] == NAMES
    assert [figure.name for figure in left_out] == ["budgets_dice", "budgets_hd95", "variance"]
    for figure in drawn:
        assert figure.title and figure.caption.endswith(".") and "None" not in figure.caption
        assert figure.png.read_bytes().startswith(b"\x89PNG") and "<svg" in figure.svg.read_text()
        assert figure.svg.stat().st_size < 2e6
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == sorted(f"{name}.{suffix}" for name in NAMES for suffix in ("png", "svg"))
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_nothing_done_leaves_everything_out_with_reasons(tmp_path):
    planned = plan(all_cells())
    folder = write_plan(tmp_path / "results", planned)
    failed, running = planned["cells"][2:4]
    write_record(folder, planned, failed, state="failed", reason="out of memory")
    write_heartbeat(folder, running, stage="training", step=3, iterations=600)
    drawn, left_out = draw_all(read_results(folder), tmp_path / "figures")
    assert drawn == [] and not list((tmp_path / "figures").iterdir())
    assert all(figure.title and figure.reason.endswith(".") for figure in left_out)
    assert [figure.name for figure in left_out] == [
        "distributions", "budgets_dice", "budgets_hd95", "variance", "ranks", "significance", "cost", "losses", "terms",
        "examples", "disagreement_slices", "disagreement_surfaces",
    ]  # fmt: skip


def test_a_ceiling_alone_is_no_comparison(tmp_path):
    planned = plan(all_cells())
    folder = write_plan(tmp_path / "results", planned)
    write_done(folder, planned, planned["cells"][0], 0.9)
    assert draw_all(read_results(folder), tmp_path / "figures")[0] == []


def test_one_method_gives_what_needs_no_second(tmp_path):
    planned = plan(all_cells())
    folder = write_plan(tmp_path / "results", planned)
    write_done(folder, planned, planned["cells"][2], 0.8)
    write_record(folder, planned, planned["cells"][3], state="diverged", reason="loss is nan")
    source = source_of(folder)
    modules = ("distributions", "ranks", "pairwise_map", "training_cost", "training_curves", "examples")
    found = {figure.name: figure for module in modules for figure in draw_module(module, source)}
    drawn = [name for name, figure in found.items() if not isinstance(figure, LeftOut)]
    assert drawn == ["distributions_8", "losses_8", "terms_8"]
    assert found["ranks_8"].reason == "No ranks to compare: fewer than 3 methods."
    assert found["significance_8"].reason == "With 8 labelled cases only A is done."
    assert found["examples_8"].reason == "The folder holds no pictures of its test cases."
    assert "3 of 4 planned trials are missing" in found["distributions_8"].caption


@pytest.mark.slow
def test_broken_files_of_a_record_leave_out_what_needs_them(tmp_path):
    folder = write_all(tmp_path / "results")
    for record in (folder / "records").iterdir():
        (record / "history.csv").write_text("")
        (record / "predictions" / f"{CASES[0]}.npz").write_bytes(b"PK\x03\x04 cut short")
    assert drawn_by("training_curves", folder)["losses_8"].reason == "No record holds a readable history of its losses."
    assert drawn_by("examples", folder)["examples_8"].reason == "No record holds its predictions of the test cases."
    (folder / "cases" / f"{CASES[0]}.npz").write_bytes(b"")
    assert not isinstance(drawn_by("examples", folder)["examples_8"], LeftOut)  # a case without a picture is not needed


# What figures are drawn from


def test_scores_are_means_over_classes_under_the_plans_postprocessing(tmp_path):
    planned = plan([cell("a")], data={"classes": 2}, evaluation={"postprocessing": "largest_component"})
    folder = write_plan(tmp_path, planned)
    table = values(planned, 3)
    write_record(folder, planned, planned["cells"][0], table)
    runs = source_of(folder).runs.set_index("case")
    chosen = table[table["postprocessing"] == "largest_component"]
    for metric, unit, column, factor in (("dice", "", "dice_percent", 100), ("hd95", "voxel", "hd95_voxel", 1)):
        rows = chosen[(chosen["metric"] == metric) & (chosen["unit"] == unit)]
        expected = factor * rows.groupby("case")["value"].mean()
        pd.testing.assert_series_equal(runs[column], expected, check_names=False)


def test_rows_are_named_by_role_and_fidelity_and_told_apart_by_settings(tmp_path):
    planned = plan([
        cell("base", role="floor"), cell("a", fidelity="reconstruction"), cell("b"),
        cell("b", labelled=9, settings={"x": 1}),
    ])  # fmt: skip
    source = source_of(write_plan(tmp_path, planned))
    assert list(source.look) == ["BASE (floor)", "A†", "B", "B [2]"]
    assert source.look["BASE (floor)"] is style.FLOOR


def test_a_methods_look_does_not_depend_on_what_is_done(tmp_path, full):
    nothing = source_of(write_plan(tmp_path, plan(all_cells())))
    assert nothing.runs.empty and nothing.look == source_of(full).look


def test_the_first_24_methods_look_different():
    found = style.looks(map(str, range(24))).values()
    assert len({(look.colour, look.marker) for look in found}) == 24
    assert len({(look.colour, look.dashes) for look in found}) == 24


# Each figure


def dots_of(axes):
    """(rows, cases, 2): where the dots of the cases are."""
    return np.array([points.get_offsets() for points in axes.collections])


def test_distributions_show_every_case_sorted_by_mean_dice(full):
    figure = drawn_by("distributions", full)["distributions_8"]
    left, right = figure.figure.axes
    names = ["BASE (ceiling)", "B", "A", "BASE (floor)", "C"]
    assert [label.get_text() for label in left.get_yticklabels()] == names
    assert (left.get_xlabel(), right.get_xlabel()) == ("Dice [%]", "95HD [voxel]")
    for axes in (left, right):
        assert dots_of(axes).shape == (len(names), len(CASES), 2)
        assert dots_of(axes)[0, :, 1] == pytest.approx(np.linspace(-0.28, 0.28, 6))
    assert sorted(dots_of(left)[1, :, 0]) == pytest.approx(sorted(100 * spread_around(0.85)))
    lines = {round(float(line.get_xdata()[0]), 6) for line in left.lines if list(line.get_ydata()) == [0, 1]}
    assert lines == {92.0, 70.0}  # means of ceiling and floor
    means = [float(line.get_xdata()[0]) for line in left.lines if line.get_marker() == "D"]
    assert means == pytest.approx([92, 85, 75, 70, 65])
    assert labels_of(figure.figure.legends[0].texts) == ["case", "mean", "mean of the ceiling", "mean of the floor"]


@pytest.mark.parametrize("methods", [1, 2])
def test_figures_of_few_methods_leave_an_inch_for_what_they_show(tmp_path, methods):
    cells = [cell("base", n, role="floor", unlabelled=0) for n in (4, 8)]
    cells += [cell(name, n) for name in "ab"[:methods] for n in (4, 8)]
    planned = plan(cells)
    write_plan(tmp_path, planned)
    for planned_cell in cells:
        write_done(tmp_path, planned, planned_cell, MEANS[planned_cell["method"]])
    for module in ("budgets", "distributions", "training_curves"):
        for drawn in drawn_by(module, tmp_path).values():
            drawn.figure.draw_without_rendering()
            heights = [axes.get_window_extent().height / drawn.figure.dpi for axes in drawn.figure.axes]
            assert min(heights) > 0.9, drawn.name


@pytest.mark.parametrize(
    "distances", [[17.0, 18, 19, 20, 21, 22], [5.5, 6, 7, 8, 9, 9.5], [0.2, 0.3, 0.4, 0.5, 0.6, 0.7]]
)
def test_the_axis_of_distances_has_three_numbers_however_alike_they_are(tmp_path, distances):
    planned = plan([cell("a")])
    folder = write_plan(tmp_path, planned)
    write_record(folder, planned, planned["cells"][0], table_of(planned, spread_around(0.8), hd95=distances))
    axes = drawn_by("distributions", folder)["distributions_8"].figure.axes[1]
    low, high = axes.get_xlim()
    assert sum(low <= tick <= high for tick in axes.get_xticks()) >= 3


def test_distances_that_are_undefined_or_zero_are_no_trouble(tmp_path):
    planned = plan([cell("a"), cell("b")])
    folder = write_plan(tmp_path, planned)
    write_record(folder, planned, planned["cells"][0],
                 table_of(planned, spread_around(0.8), hd95=[0.0, 1.0, 2.0, 3.0, 4.0, np.nan]))  # fmt: skip
    write_record(folder, planned, planned["cells"][1], table_of(planned, spread_around(0.7), hd95=[np.nan] * 6))
    figure = drawn_by("distributions", folder)["distributions_8"]
    assert "7 undefined distances of empty predictions are not shown." in figure.caption
    assert figure.figure.axes[1].get_xlim()[0] == 0
    figure.figure.draw_without_rendering()


def test_budgets_need_two_of_them(full, sweep):
    assert all(isinstance(figure, LeftOut) for figure in drawn_by("budgets", full).values())
    drawn = drawn_by("budgets", sweep)
    for name, label in (("budgets_dice", "Dice [%]"), ("budgets_hd95", "95HD [voxel]")):
        figure = drawn[name].figure
        assert titles_of(drawn[name]) == ["A", "B", "C"] and figure.get_supylabel() == label
        for axes in figure.axes:
            assert axes.get_xlabel() == "labelled cases"
            assert labels_of(axes.get_xticklabels()) == ["4\n14 %", "8\n29 %", "28\n100 %"]
        assert "standard deviation over runs" in drawn[name].caption
        key = labels_of(figure.legends[0].texts)
        assert key[:5] == ["the panel's method", "± SD over runs", "the other methods", "ceiling: all cases labelled",
                           "supervised floor"]  # fmt: skip
        assert key[5:] == ["labels saved, numbers on top"] * (name == "budgets_dice")


def test_budgets_mark_the_labels_saved(sweep):
    panels = drawn_by("budgets", sweep)["budgets_dice"].figure.axes
    # from 70.5 with 8 labelled to 92.5 with 28: A's 75.5 are at 8 (28 / 8) ** (5 / 22) = 10.6 cases
    # B is 15 above: 8 (28 / 8) ** (15 / 22) = 18.8; C is below the floor
    written = [labels_of(axes.texts) for axes in panels]
    assert written == [["+6", "+3"], ["+14", "+11"], []]


def test_the_band_is_over_runs_where_there_are_several_else_over_cases(sweep):
    runs = source_of(sweep).runs
    of_a = runs[runs["row"] == "A"]
    over_runs = budgets.curve(of_a, budgets.DICE, over_runs=True)
    assert over_runs.loc[8].tolist() == pytest.approx([75.5, 75.5 - 0.5**0.5, 75.5 + 0.5**0.5])
    over_cases = budgets.curve(of_a[of_a["seed"] == 1], budgets.DICE, over_runs=False)
    reach = 2.5705818 * 100 * spread_around(0).std(ddof=1) / 6**0.5
    assert over_cases.loc[8].tolist() == pytest.approx([75, 75 - reach, 75 + reach])


def test_ranks_are_drawn_from_the_best_to_the_worst(full):
    figure = drawn_by("ranks", full)["ranks_8"]
    (axes,) = figure.figure.axes
    written = {" ".join(text.get_text().split()): text.get_position() for text in axes.texts}
    assert list(written) == ["B 1.0", "A 2.0", "4.0 C", "3.0 BASE (floor)", "CD = 1.91"]
    assert written["B 1.0"][0] < 1.01 and written["4.0 C"][0] > 3.99 and "CD = 1.91" in figure.caption
    bars = [line.get_xdata() for line in axes.lines if line.get_color() == "#444444"]
    assert [(min(bar), max(bar)) for bar in bars] == [(1, 2), (2, 3), (3, 4)]  # nothing further apart than 1.91


def test_significance_compares_all_pairs(full):
    source = source_of(full)
    rows = ["B", "A", "BASE (floor)", "C"]
    differences, by_cases, by_seeds = pairwise_map.pairwise(source.at(8), rows)
    assert differences.loc["B", "C"] == pytest.approx(20) == -differences.loc["C", "B"]
    assert np.isnan(differences.loc["A", "A"]) and by_seeds.isna().all(axis=None)
    assert by_cases.isna().all(axis=None)  # the same difference in every case: nothing to test


def test_significance_marks_both_tests(tmp_path):
    planned = plan([cell(method, seed=seed) for method in "ab" for seed in (1, 2, 3)])
    folder = write_plan(tmp_path, planned)
    rng = np.random.default_rng(0)
    tables = {}
    for planned_cell in planned["cells"]:
        dice = rng.normal(0.9 if planned_cell["method"] == "a" else 0.6, 0.01, 6)
        tables[planned_cell["trial"]] = pd.Series(100 * dice, CASES)
        write_record(folder, planned, planned_cell, table_of(planned, dice))
    figure = drawn_by("pairwise_map", folder)["significance_8"]
    axes = figure.figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A", "B"]
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in marks) == 4  # a dot and a ring in both halves
    assert "(1 of them); it compares trained checkpoints" in figure.caption
    _, by_cases, _ = pairwise_map.pairwise(source_of(folder).at(8), ["A", "B"])
    mean = [sum(table for trial, table in tables.items() if trial[0] == method) / 3 for method in "ab"]
    assert by_cases.loc["A", "B"] == pytest.approx(paired_t_test(*mean).p)


def test_rings_follow_the_test_of_the_stars(tmp_path):
    """The same p as in the table, but for Holm's correction, which counts ten pairs here and four rows there."""
    planned = plan([cell(method, seed=seed) for method in "abcde" for seed in (1, 2, 3)])
    folder = write_plan(tmp_path, planned)
    rng = np.random.default_rng(0)
    for planned_cell in planned["cells"]:
        better = {"a": 0.02, "b": -0.02}.get(planned_cell["method"], 0)  # no pair differs more than A and B
        dice = rng.normal(0.9 + better, 0.001, 6) + rng.normal(0, 0.003)
        write_record(folder, planned, planned_cell, table_of(planned, dice))
    results = read_results(folder)
    tests = significance(results, scores(results)).set_index(["measure", "method"]).loc["dice_percent"]
    source = source_of(folder)
    rows = ["B", *"ACDE"]
    *_, rings = pairwise_map.pairwise(source.at(8), rows)
    assert rings.loc["A", "B"] == pytest.approx(10 * tests.loc["a", "seeds_p"])  # the smallest of ten pairs
    assert rings.loc["A", "B"] == rings.min(axis=None) < 0.05


def test_cost_says_what_was_timed_while_packed(full):
    source = source_of(full)
    points = training_cost.training_cost(source, source.at(8))
    assert points["minutes"].to_dict() == {"B": 40, "A": 30, "BASE (floor)": 20, "C": 10}
    assert points["packed"].to_dict() == {"B": True, "A": False, "BASE (floor)": True, "C": False}
    [figure] = draw_module("training_cost", source)
    axes = figure.figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training time [min]", "Dice [%]")
    assert "hollow marks, 2 of 4" in figure.caption and "Trained on a machine." in figure.caption
    front = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert list(front.get_xdata()) == [10, 20, 30, 40]


def test_cost_is_not_called_packed_where_one_run_had_the_machine_alone(tmp_path):
    folder = write_all(tmp_path, seeds=(1, 2), pictures=False)
    for path in folder.glob("records/*/provenance.json"):
        facts = {"seconds_training": 600, "trials_sharing_the_machine": int(path.parent.name.split("-")[2])}
        path.write_text(json.dumps(facts))
    source = source_of(folder)
    assert not training_cost.training_cost(source, source.at(8))["packed"].any()
    for path in folder.glob("records/*-1-*/provenance.json"):
        path.unlink()
    source = source_of(folder)
    assert training_cost.training_cost(source, source.at(8))["packed"].all()


def test_cost_without_times_is_left_out(tmp_path):
    planned = plan([cell("a"), cell("b")])
    folder = write_plan(tmp_path, planned)
    for planned_cell in planned["cells"]:
        (write_record(folder, planned, planned_cell) / "provenance.json").write_text("{}")
    assert "fewer than two methods have a training time" in drawn_by("training_cost", folder)["cost_8"].reason


def test_losses_have_a_panel_a_method_and_a_curve_a_phase(full):
    drawn = drawn_by("training_curves", full)
    titles = ["BASE (ceiling)", "BASE (floor)", "A", "B", "C"]
    for name in ("losses_8", "terms_8"):
        assert titles_of(drawn[name]) == titles
        assert drawn[name].figure.get_supxlabel() == "step"
    for axes in drawn["losses_8"].figure.axes:
        phases = ["segment", "critic"] if axes.get_title() == "B" else []
        assert labels_of(axes.get_legend().texts if axes.get_legend() else []) == phases
        assert len(axes.lines) == 2 * (len(phases) or 1)  # as recorded, and smoothed
    for axes in drawn["terms_8"].figure.axes:
        terms = ["segment/supervised"] if axes.get_title() == "B" else ["supervised", "consistency"]
        assert labels_of(axes.get_legend().texts) == terms and len(axes.lines) == len(terms)
        assert axes.get_yscale() == "log"


def test_every_run_has_its_curve(sweep):
    panel = drawn_by("training_curves", sweep)["losses_8"].figure.axes[2]
    raw, *smooth = panel.lines
    assert panel.get_title() == "A" and len(smooth) == 2
    assert raw.get_alpha() < 1 and all(line.get_alpha() is None for line in smooth)


def test_smoothing_is_a_centred_mean():
    raw = pd.Series(np.arange(200.0))
    assert training_curves.smoothed(raw)[100] == pytest.approx(raw[98:102].mean(), abs=1)
    assert training_curves.smoothed(pd.Series([1.0, 5.0])).tolist() == [1.0, 5.0]


# Segmentations


@pytest.mark.parametrize(
    "dice, expected",
    [
        ({"p": 0.5, "q": 0.9, "r": 0.7}, {"best": "q", "median": "r", "worst": "p"}),
        ({"p": 0.5, "q": 0.9, "r": 0.7, "s": 0.6}, {"best": "q", "median": "s", "worst": "p"}),
        ({"p": 0.5, "q": 0.9}, {"best": "q", "median": "p"}),
        ({"p": 0.5, "q": np.nan}, {"best": "p"}),
        ({"p": np.nan}, {}),
    ],
)
def test_best_median_and_worst_case(dice, expected):
    assert examples.best_median_worst(pd.Series(dice)) == expected


def test_disagreement_is_the_deviation_over_methods():
    dice = pd.DataFrame({"a": [1.0, 5.0, 3.0], "b": [3.0, 5.0, 9.0]}, index=["p", "q", "r"])
    assert disagreement.disagreement(dice).to_dict() == pytest.approx({"r": 18**0.5, "p": 2**0.5, "q": 0.0})
    dice.loc["r", "a"] = np.nan
    assert list(disagreement.disagreement(dice).index) == ["p", "q"]


@pytest.mark.slow
def test_examples_show_the_first_run_that_has_its_predictions(sweep, tmp_path):
    folder = write_all(tmp_path / "results", seeds=(1, 2))
    for path in (folder / "records" / "a-8-1-first" / "predictions").iterdir():
        path.unlink()
    source = source_of(folder)
    shown = shown_runs(source, 8)
    chosen = dict(shown[["row", "trial"]].to_numpy())
    assert chosen["A"] == "a-8-2-first" and chosen["B"] == "b-8-1-first"
    assert list(dict.fromkeys(shown["row"])) == ["BASE (ceiling)", "B", "A", "BASE (floor)", "C"]
    caption = next(draw_module("examples", source)).caption
    assert "mean over" not in caption and "missing" not in caption


def test_predictions_are_shown_as_they_are_scored(full, tmp_path):
    path = full / "records" / "a-8-1-first" / "predictions" / f"{CASES[0]}.npz"
    masks = read_masks(path, (1, *SHAPE))
    assert masks.sum() == ball(6).sum() + 1
    assert (largest_component(masks[0]) == ball(6)).all()
    assert not largest_component(np.zeros(SHAPE, bool)).any()
    assert read_masks(path, (2, *SHAPE)) is None and read_masks(tmp_path / "none.npz", (1, *SHAPE)) is None
    assert read_picture(path) is None


def test_slices_are_those_with_the_largest_true_area_and_contours_lie_on_them(full):
    segmentations = Segmentations(read_results(full))
    assert segmentations.cases[CASES[0]].level == CENTRE[2]
    axes = Figure().subplots()
    segmentations.draw_slice(axes, "a-8-1-first", CASES[3])
    (image,) = axes.images
    assert (image.get_array() == 120).all() and image.get_array().shape == SHAPE[1::-1]
    middle = CENTRE[:2] * 0.625
    assert np.mean(axes.get_xlim()) == pytest.approx(middle[0], abs=0.01)
    assert np.mean(axes.get_ylim()) == pytest.approx(middle[1], abs=0.01)
    truth = axes.collections[0].get_paths()[0].vertices
    assert truth.mean(axis=0) == pytest.approx(middle, abs=0.3)
    assert np.linalg.norm(truth - middle, axis=1).mean() == pytest.approx(6.2 * 0.625, rel=0.05)
    x, y = axes.get_xlim(), axes.get_ylim()[::-1]
    assert (truth > [x[0], y[0]]).all() and (truth < [x[1], y[1]]).all()


@pytest.mark.slow
def test_pictures_of_a_figure_have_one_scale(full):
    drawn = drawn_by("examples", full) | drawn_by("disagreement", full)
    slices = drawn["examples_8"].figure.axes[:-1:2]
    extents = [(np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())) for axes in slices if axes.images]
    assert np.ptp(extents, axis=0) == pytest.approx(0)
    assert [axes.get_ylabel() for axes in slices if axes.get_ylabel()][0] == "BASE (ceiling)"
    written = [text.get_text() for axes in slices[:3] for text in axes.texts]
    assert written == ["best case", "median case", "worst case"]
    assert labels_of(drawn["examples_8"].figure.legends[0].texts) == ["true contour", "predicted contour"]
    assert drawn["disagreement_slices_8"].figure.axes[0].get_ylabel().startswith(f"{CASES[0]}\nSD ")


def test_short_names_tell_cases_apart(full):
    assert Segmentations(read_results(full)).short_names == dict(zip(CASES, CASES, strict=True))


def test_surface_error_agrees_with_the_distance_transform():
    spacing = (0.8, 0.8, 0.8)
    truth, predicted = ball(6), ball(6, shift=3)
    mesh = surface(predicted, spacing)
    error = Truth(truth, spacing).distance(mesh.vertices)
    outside = ndimage.distance_transform_edt(~truth, spacing) - 0.4
    inside = ndimage.distance_transform_edt(truth, spacing) - 0.4
    expected = ndimage.map_coordinates(np.where(truth, -inside, outside), mesh.vertices.T / 0.8, order=1)
    assert np.abs(error - expected).mean() < 0.25 and np.corrcoef(error, expected)[0, 1] > 0.98
    assert error.max() == pytest.approx(3 * 0.8, abs=0.3) and error.min() == pytest.approx(-3 * 0.8, abs=0.3)
    assert error[mesh.vertices[:, 0].argmax()] > 0


def test_a_mesh_has_the_size_of_its_structure_on_any_grid():
    for spacing in ((1.0, 1.0, 1.0), (0.5, 1.0, 2.0)):
        points = (np.indices((48, 24, 16)).T - [20, 12, 6]) * np.array(spacing)
        mask = ((points**2).sum(axis=-1) <= 64).T if spacing[0] == 1 else ((points**2).sum(axis=-1) <= 49).T
        radius = np.linalg.norm(surface(mask, spacing).vertices - np.array([20, 12, 6]) * spacing, axis=1)
        assert radius.mean() == pytest.approx(8 if spacing[0] == 1 else 7, abs=0.4)
    assert len(surface(np.pad(np.ones((1, 1, 1), bool), 3), (1.0, 1.0, 1.0)).faces) > 0


def pixels_of(*drawn):
    """(40, 40, 3): what `draw_meshes` draws around a ball in the centre."""
    figure = Figure(figsize=(0.2, 0.2), dpi=200)
    canvas, axes = FigureCanvasAgg(figure), figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    draw_meshes(axes, *drawn)
    x, y = viewed(CENTRE[None])[0, :2]
    axes.set(xlim=(x - 10, x + 10), ylim=(y - 10, y + 10))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_pictures_show_the_side_that_faces_the_viewer():
    mesh = surface(ball(6), (1.0, 1.0, 1.0))
    depth = viewed(mesh.vertices - CENTRE)[mesh.faces, 2].mean(axis=1)
    colours = np.where(depth[:, None] > 0, [[1.0, 0, 0]], [[0, 0, 1.0]])
    shown = pixels_of([mesh], [colours], [])
    assert (shown[0, 0] == 255).all() and shown[20, 20, 0] > 200 and shown[20, 20, 2] == 0
    assert pixels_of([], [], [mesh])[20, 20].tolist() == [204] * 3
    assert pixels_of([mesh], [colours], [mesh])[20, 20, 2] == 0, "silhouettes lie behind"


@pytest.mark.slow
def test_an_empty_prediction_leaves_the_true_surface_alone(tmp_path):
    folder = write_all(tmp_path / "results")
    for case in CASES:
        path = folder / "records" / "c-8-1-first" / "predictions" / f"{case}.npz"
        np.savez_compressed(path, masks=np.packbits(np.zeros((1, *SHAPE), bool)), shape=(1, *SHAPE))
    segmentations = Segmentations(read_results(folder))
    assert segmentations.surfaces("c-8-1-first", CASES[0]) == []
    assert not isinstance(drawn_by("examples", folder)["examples_8"], LeftOut)
    assert error_limit([[]]) == 1


def test_two_structures_are_measured_each_against_its_own_truth(tmp_path):
    planned = plan([cell("a")], data={"classes": 2})
    folder = write_plan(tmp_path, planned)
    record = write_record(folder, planned, planned["cells"][0])
    (folder / "cases").mkdir()
    (record / "predictions").mkdir()
    label = np.zeros(SHAPE, np.uint8)
    label[2:8, 4:10, 4:10], label[14:22, 4:12, 4:12] = 1, 2
    for case in CASES:
        np.savez_compressed(folder / "cases" / f"{case}.npz", image=label * 100, label=label, content="x")
        masks = np.stack([label == 1, label == 2])
        np.savez_compressed(record / "predictions" / f"{case}.npz", masks=np.packbits(masks), shape=masks.shape)
    surfaces = Segmentations(read_results(folder)).surfaces(planned["cells"][0]["trial"], CASES[0])
    assert len(surfaces) == 2
    assert all(np.abs(found.error).max() < 0.7 for found in surfaces)
    drawn = drawn_by("examples", folder) | drawn_by("disagreement", folder)
    assert "of the same structure" in drawn["examples_8"].caption
    assert "fewer than two methods" in drawn["disagreement_slices_8"].reason


@pytest.mark.parametrize(
    "text, width, most, expected",
    [
        ("V-Net (ceiling)", 13, 2, "V-Net\n(ceiling)"),
        ("V-Net (2 labelled a step)", 13, 2, "V-Net (2\nlabelled a…"),
        ("V-Net (2 labelled a step)", 13, 3, "V-Net (2\nlabelled\na step)"),
        ("Reallylongnameofamethod", 10, 3, "Reallylong\nnameofamet\nhod"),
    ],
)
def test_words_of_names_are_not_broken_where_they_fit(text, width, most, expected):
    assert style.wrapped(text, width, most) == expected
