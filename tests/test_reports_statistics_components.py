"""Variance components against REML, against ANOVA sums of squares, and against the truth of simulations."""

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import score_table

from reports.statistics import variance_components

TRUE = {"case": 9.0, "method": 4.0, "method × case": 1.0, "draw": 3.0, "method × draw": 2.0, "seed": 1.5,
        "residual": 2.0}  # fmt: skip


def simulated(rng, seeds, draws=0, cases=8):
    """Score tables with the variances of TRUE; `seeds` of each method, in each of the draws."""

    def effect(name, *shape):
        return rng.normal(0, TRUE[name] ** 0.5, shape)

    case, shared = effect("case", cases), effect("draw", max(draws, 1))
    tables = {}
    for place, count in enumerate(seeds):
        base = case + effect("method") + effect("method × case", cases)
        parts = []
        for draw in range(max(draws, 1)):
            of_draw = shared[draw] + effect("method × draw") if draws else 0
            scores = base + of_draw + effect("seed", count, 1) + effect("residual", count, cases)
            index = pd.MultiIndex.from_product([[draw], range(count)], names=["draw", "trial"]) if draws else None
            parts.append(score_table(scores, index))
        tables[f"m{place}"] = pd.concat(parts)
    return tables


def long(tables):
    lines = [
        (method, f"{method} {label}", str(np.atleast_1d(label)[0]), case, score)
        for method, table in tables.items()
        for label, run in table.iterrows()
        for case, score in run.items()
    ]
    return pd.DataFrame(lines, columns=["method", "run", "draw", "case", "score"])


@pytest.mark.filterwarnings("ignore")
def test_with_equal_numbers_of_seeds_they_are_remls():
    formula = pytest.importorskip("statsmodels.formula.api")
    tables = simulated(np.random.default_rng(2), seeds=(3, 3, 3, 3))
    frame = long(tables).assign(all="")
    frame["method_case"] = frame["method"] + frame["case"]
    parts = {name: f"0 + C({name})" for name in ("case", "method", "method_case", "run")}
    fitted = formula.mixedlm("score ~ 1", frame, groups="all", vc_formula=parts).fit(reml=True)
    reml = dict(zip(fitted.model.exog_vc.names, fitted.vcomp, strict=True)) | {"residual": fitted.scale}
    found = variance_components(tables.values()).variances
    assert (found > 0).all()
    named = [reml[name] for name in ("case", "method", "method_case", "run", "residual")]
    assert found.tolist() == pytest.approx(named, rel=0.01)
    assert list(found.index) == ["case", "method", "method × case", "seed", "residual"]


def test_with_draws_they_follow_from_the_sums_of_squares_of_anova():
    """Expected mean squares of the fully crossed design with two seeds in each cell, written out."""
    formula = pytest.importorskip("statsmodels.formula.api")
    anova = pytest.importorskip("statsmodels.stats.anova").anova_lm
    tables = simulated(np.random.default_rng(0), seeds=(2, 2, 2), draws=4, cases=5)
    k, d, s, n = 3, 4, 2, 5
    fitted = formula.ols("score ~ C(method) * C(draw) * C(case)", long(tables)).fit()
    squares = anova(fitted)["mean_sq"].rename(lambda name: name.replace("C(", "").replace(")", ""))
    cells = long(tables).groupby(["method", "draw", "run"])["score"].mean().groupby(["method", "draw"])
    seeds = n * cells.var(ddof=1).mean()
    error = (squares["Residual"] * k * d * n * (s - 1) - seeds * k * d * (s - 1)) / (k * d * (s - 1) * (n - 1))
    three = squares["method:draw:case"]
    seed = (seeds - error) / n
    draw_case = (squares["draw:case"] - three) / (s * k)
    method_case = (squares["method:case"] - three) / (s * d)
    method_draw = (squares["method:draw"] - three - (seeds - error)) / (s * n)
    case = (squares["case"] - squares["method:case"] - squares["draw:case"] + three) / (s * k * d)
    method = (squares["method"] - squares["method:case"] - squares["method:draw"] + three) / (s * n * d)
    draw = (squares["draw"] - squares["draw:case"] - squares["method:draw"] + three) / (s * n * k)
    residual = error + max(draw_case, 0) + max((three - error) / s, 0)
    expected = np.clip([case, method, method_case, draw, method_draw, seed, residual], 0, None)
    found = variance_components(tables.values()).variances
    assert found.tolist() == pytest.approx(expected.tolist())
    assert list(found.index) == list(TRUE)


@pytest.mark.parametrize("seeds, draws", [((3,) * 12, 0), ((2, 5) * 6, 0), ((1, 4) * 6, 0), ((2,) * 8, 6)])
def test_on_average_they_are_the_truth_also_with_unequal_numbers_of_seeds(seeds, draws):
    rng = np.random.default_rng(1)
    found = pd.DataFrame(
        [variance_components(simulated(rng, seeds, draws, cases=20).values()).variances for _ in range(60)]
    )
    error = found.std(ddof=1) / 60**0.5
    for name, values in found.items():
        assert values.mean() == pytest.approx(TRUE[name], abs=4 * error[name])


def test_one_seed_a_draw_cannot_be_told_from_the_draw():
    found = variance_components(simulated(np.random.default_rng(0), seeds=(1,) * 6, draws=5).values())
    assert list(found.variances.index) == ["case", "method", "method × case", "draw", "method × draw, seed", "residual"]
    assert found.draws == 5 and found.shares.sum() == pytest.approx(1)


def test_draws_that_methods_do_not_share_count_as_runs():
    tables = simulated(np.random.default_rng(0), seeds=(2, 2, 2), draws=3)
    tables["m0"] = tables["m0"].drop(index=1, level="draw")
    assert "draw" not in variance_components(tables.values()).variances


@pytest.mark.parametrize("seeds, cases, reason", [
    ((3,), 6, "fewer than two methods"), ((3, 3), 1, "fewer than two cases"), ((1, 1, 1), 6, "no method has two seeds"),
])  # fmt: skip
def test_what_cannot_be_divided_says_why(seeds, cases, reason):
    found = variance_components(simulated(np.random.default_rng(0), seeds, cases=cases).values())
    assert found.reason == reason and found.shares.empty


def test_scores_that_are_all_alike_have_no_shares():
    assert variance_components([score_table(np.ones((2, 3)))] * 2).reason == "all scores are alike"
