"""Training logs of released code: what is read of them, and how our seeds are held against them."""

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import command, one_line_error  # noqa: F401
from helpers.results_folder import cell, cells_of, make_stale, plan, scored, write_folder
from scipy import stats

from benchmark.records.selection import Point, curve_text
from reports import published
from reports.log_comparison import compare_with_log
from reports.results import read_results
from reports.training_logs import LogError, read_log

# As AD-MT's release writes it: losses of a step, the plain line, the line of both networks, and progress bars.
AD_MT = """{'labeled_num': 8, 'max_iterations': 6000}
  0%|          | 0/417 [00:00<?, ?it/s]iteration:1  t-loss:0.5761, loss-lb:0.5665, weight:0.01, alt:True
100%|██████████| 20/20 [01:24<00:00,  4.21s/it]average metric is 0.0740
iteration 36 : dice_score: 0.023495 best_dice: 0.023500
 <<Test>> - Ep:0  - Dice-S/T:7.40/2.35, Best-S:7.40, Best-T:2.35
iteration:37  t-loss:0.3107, loss-lb:0.3103, weight:0.01, alt:False
iteration 6000 : dice_score: 0.900703 best_dice: 0.903700
 <<Test>> - Ep:416  - Dice-S/T:90.11/90.07, Best-S:90.51, Best-T:90.37
"""
SSL4MIS = """[12:00:00.123] iteration 100 : loss : 0.61, loss_ce: 0.50, loss_dice: 0.72
[12:00:01.123] iteration 200 : mean_dice : 0.812000 mean_hd95 : 12.500000
[12:00:02.123] iteration 400 : mean_dice : 0.855000, best_dice : 0.855000
"""
OF_TWO = """iteration 200 : model1_mean_dice : 0.80 model1_mean_hd95 : 9.0
iteration 200 : model2_mean_dice : 0.81 model2_mean_hd95 : 8.0
"""
CSV = "iter,Dice_tea,loss_dice,Dice_stu_best\n100,0.5,0.4,0.6\n200,,0.3,0.6\n300,0.9,0.2,0.9\n"


def written(folder, text, name="log.txt"):
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("text", "name", "column", "expected"),
    [
        (AD_MT, "log.txt", "dice_score", {36: 2.3495, 6000: 90.0703}),
        (AD_MT, "log.txt", "student", {36: 7.40, 6000: 90.11}),
        (AD_MT, "log.txt", "teacher", {36: 2.35, 6000: 90.07}),
        (SSL4MIS, "log.txt", None, {200: 81.2, 400: 85.5}),
        (OF_TWO, "log.txt", "model2_mean_dice", {200: 81.0}),
        (CSV, "log.csv", None, {100: 50.0, 300: 90.0}),
        ("Iteration,val_DICE\n5,50.5\n9,60\n", "log.CSV", None, {5: 50.5, 9: 60.0}),
    ],
)
def test_the_dice_of_a_log(tmp_path, text, name, column, expected):
    curve = read_log(written(tmp_path, text, name), column)
    assert curve.to_dict() == pytest.approx(expected) and (column is None or curve.name == column)


BAD = [
    ("", "log.txt", None, "has no Dice"),
    ("epoch 3: Dice 0.8\n", "log.txt", None, "lines such as `iteration 200"),
    ("iteration 3 : loss_dice: 0.8 best_dice: 0.9\n", "log.txt", None, "has no Dice"),
    (AD_MT, "log.txt", None, "several Dice: dice_score, student, teacher. Choose one with --column"),
    (AD_MT, "log.txt", "dice", "no Dice 'dice': it has dice_score, student, teacher"),
    ("iteration 3 : dice: high\n", "log.txt", None, "line 1: dice 'high' at iteration '3' are no numbers"),
    ("\niteration 3 : dice: nan\n", "log.txt", None, "line 2: dice nan is no Dice"),
    ("iteration 3 : dice: 101\n", "log.txt", None, "line 1: dice 101 is no Dice"),
    ("iteration 3 : dice: -0.1\n", "log.txt", None, "line 1: dice -0.1 is no Dice"),
    (SSL4MIS + SSL4MIS, "log.txt", None, "line 5: iteration 200 comes after 400; keep the lines of one run"),
    ("", "log.csv", None, "cannot be read as CSV"),
    ("epoch,dice\n1,0.5\n", "log.csv", None, "columns for the iteration (iteration, iterations, iter, step)"),
    ("iteration,loss_dice\n1,0.5\n", "log.csv", None, "has no Dice"),
    ("iteration,dice\n1,0.5\n1.5,0.6\n", "log.csv", None, "line 3: dice '0.6' at iteration '1.5' are no numbers"),
    ("step,dice\n2,0.5\n2,0.6\n", "log.csv", None, "line 3: iteration 2 comes after 2"),
    (None, "log.txt", None, "cannot be read: No such file"),
]


@pytest.mark.parametrize(("text", "name", "column", "message"), BAD)
def test_a_log_that_cannot_be_used_is_one_line(tmp_path, text, name, column, message):
    file = tmp_path / name if text is None else written(tmp_path, text, name)
    with pytest.raises(LogError) as error:
        read_log(file, column)
    assert message in str(error.value) and str(file) in str(error.value) and "\n" not in str(error.value)


# Our seeds against a log.

CASES = published.protocols()["la"]["cases"]
OFFICIAL = {
    "data": {"split": "official", "spacing": None, "train": 80, "split_hash": CASES["split"],
             "stored_fingerprints": {side: CASES[side] for side in ("train", "test")}},
    "training": {"iterations": 6000, "patch": [112, 112, 80], "width": 16, "precision": "fp32"},
    "evaluation": {"stride": [18, 18, 4]},
}  # fmt: skip
LOG = pd.Series([7.4, 90.11], [36, 6000], name="student")


def write_ours(folder, dice, **changes):
    """AD-MT under the published protocol with these Dice, one a seed; other postprocessing scores half."""
    planned = plan(cells_of("ad_mt", seeds=range(1, len(dice) + 1), unlabelled=72), **(OFFICIAL | changes))
    tables = {}
    for c, value in zip(planned["cells"], dice, strict=True):
        table = scored(planned, seed=c["seed"], dice=value)
        table.loc[(table["metric"] == "dice") & (table["postprocessing"] == "largest_component"), "value"] /= 2
        tables[c["trial"]] = table
    return write_folder(folder, planned, tables)


def compared(folder, log=LOG, method="ad_mt", postprocessing="none"):
    return compare_with_log(read_results(folder), log, method, 8, postprocessing)


@pytest.mark.parametrize(
    ("dice", "said"),
    [((0.899, 0.901, 0.903), "lies within it."), ((0.890, 0.891, 0.892), "lies outside of it."),
     ((0.910, 0.911), "lies within it.")],
)  # fmt: skip
def test_whether_the_last_iterate_lies_within_the_prediction_interval(tmp_path, dice, said):
    found = compared(write_ours(tmp_path, dice))
    ours, count = 100 * np.array(dice), len(dice)
    reach = stats.t.ppf(0.975, count - 1) * ours.std(ddof=1) * (1 + 1 / count) ** 0.5
    assert (found.low, found.high) == pytest.approx((ours.mean() - reach, ours.mean() + reach))
    assert found.reasons == [] and found.verdict.endswith(f"The log's last iterate {said}")


@pytest.mark.parametrize(("dice", "why"), [((0.9,), "one seed has none"), ((0.9, 0.9), "all seeds are alike")])
def test_without_an_interval_nothing_is_claimed(tmp_path, dice, why):
    assert compared(write_ours(tmp_path, dice)).verdict == f"There is no prediction interval: {why}."


@pytest.mark.parametrize(
    ("changes", "log", "reason"),
    [
        ({}, LOG.set_axis([36, 15000]), "iterations 6000, not 15000"),
        ({"training": OFFICIAL["training"] | {"patch": [96, 96, 80]}}, LOG, "patch 96×96×80, not 112×112×80"),
        ({"data": OFFICIAL["data"] | {"split_hash": "5911a5"}}, LOG, "not the official split"),
        ({"data": {"name": "Phantom"}}, LOG, "the data Phantom follow no published protocol"),
        ({"data": {"name": "ACDC"}}, LOG, "logs under acdc are as a rule of validation cases"),
    ],
)
def test_another_protocol_has_no_verdict_and_is_named(tmp_path, changes, log, reason):
    found = compared(write_ours(tmp_path, (0.899, 0.901, 0.903), **changes), log)
    assert any(reason in text for text in found.reasons)
    assert f"Not comparable: {'; '.join(found.reasons)}." in found.verdict and "lies" not in found.verdict


def test_stale_runs_are_not_comparable(tmp_path):
    folder = write_ours(tmp_path, (0.899, 0.901, 0.903))
    make_stale(folder, "ad_mt-8-2-first")
    assert compared(folder).reasons == ["some of our records are stale (§)"]


def test_stored_checkpoints_are_the_curve_and_else_the_last_alone(tmp_path):
    assert compared(write_ours(tmp_path / "last", (0.899,))).runs[0][1].to_dict() == pytest.approx({6000: 89.9})
    changes = {"evaluation": OFFICIAL["evaluation"] | {"checkpoints": 2000}}
    folder = write_ours(tmp_path / "stored", (0.899,), **changes)
    points = [Point(2000, "test", "none", 0.5), Point(2000, "test", "largest_component", 0.1),
              Point(2000, "validation", "none", 0.2), Point(6000, "test", "none", 0.899)]  # fmt: skip
    (folder / "records" / "ad_mt-8-1-first" / "checkpoints.csv").write_text(curve_text(points))
    assert compared(folder).runs[0][1].to_dict() == pytest.approx({2000: 50.0, 6000: 89.9})


def test_ours_count_under_the_postprocessing_that_is_given(tmp_path):
    folder = write_ours(tmp_path, (0.9,))
    ends = {name: compared(folder, postprocessing=name).runs[0][1].iloc[-1] for name in ("none", "largest_component")}
    assert ends == pytest.approx({"none": 90, "largest_component": 45})


def test_a_row_that_is_not_there_or_not_one_is_named(tmp_path):
    planned = plan([cell("ad_mt"), cell("ad_mt", display="AD_MT half", settings={"threshold": 0.5}, seed=2)])
    folder = write_folder(tmp_path, planned)
    with pytest.raises(LogError, match="--method ad_mt is several rows: AD_MT, AD_MT half"):
        compared(folder)
    assert compared(folder, method="AD_MT half").row == "AD_MT half, 8 labelled"
    with pytest.raises(LogError, match=r"no row bcp with 8 labelled cases: there are AD_MT \(8 labelled\), AD_MT half"):
        compared(folder, method="bcp")


def test_the_command_says_it_and_draws_it(tmp_path, command):  # noqa: F811
    folder, log = write_ours(tmp_path / "ours", (0.899, 0.901, 0.903)), written(tmp_path, AD_MT, "log_LA_lb8.log")
    options = ("--method", "ad_mt", "--labelled", 8, "--column", "student")
    status, stdout, _ = command("compare-log", folder, log, *options)
    assert status == 0 and "last Dice 90.11 at iteration 6000, best 90.11 at iteration 6000" in stdout
    assert "AD_MT, 8 labelled, postprocessing none: last Dice 89.90 (seed 1), 90.10 (seed 2), 90.30" in stdout
    assert "The log's last iterate lies within it." in stdout
    for suffix in (".png", ".svg"):
        assert (folder / "report" / "logs" / f"log_LA_lb8_8{suffix}").stat().st_size > 5000


def test_the_command_refuses_a_bad_log_in_one_line(tmp_path, command):  # noqa: F811
    folder = write_ours(tmp_path / "ours", (0.899,))
    outcome = command("compare-log", folder, written(tmp_path, AD_MT), "--method", "ad_mt", "--labelled", 8)
    assert "Choose one with --column" in one_line_error(outcome)
