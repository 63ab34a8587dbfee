"""Schedules: the published figures at 6000 iterations, and the same shape at any other number."""

import math

import pytest

from methods.shared.schedules import Schedule

PUBLISHED = Schedule(6000)


@pytest.mark.parametrize(
    ("step", "printed"),
    [
        (0, "0.0067"), (1000, "0.027"), (2000, "0.1025"), (2500, "0.165"), (3000, "0.287"), (4000, "0.542"),
        (5000, "0.858"), (5999, "0.997"),
    ],
)  # fmt: skip
def test_the_ramp_has_the_published_values(step, printed):
    digits = len(printed.split(".")[1])
    assert f"{PUBLISHED.ramp_up(step):.{digits}f}" == printed


def test_the_ramp_is_a_staircase_of_150_iterations():
    values = [PUBLISHED.ramp_up(step) for step in range(6000)]
    changes = [step for step in range(1, 6000) if values[step] != values[step - 1]]
    assert changes == list(range(150, 6000, 150))
    assert sum(values) / 6000 == pytest.approx(0.383, abs=5e-4)


def test_the_ramp_ends_at_one_and_stays_there():
    assert PUBLISHED.ramp_up(6000) == PUBLISHED.ramp_up(9000) == 1
    assert PUBLISHED.smooth_ramp_up(6000) == PUBLISHED.smooth_ramp_up(9000) == 1


def test_the_smooth_ramp_counts_iterations():
    for step in (0, 1, 149, 3000, 5999):
        assert PUBLISHED.smooth_ramp_up(step) == pytest.approx(math.exp(-5 * (1 - step / 6000) ** 2), rel=1e-12)
    assert PUBLISHED.smooth_ramp_up(1) > PUBLISHED.smooth_ramp_up(0)


@pytest.mark.parametrize(("iterations", "first", "second"), [(6000, 2500, 5000), (1200, 500, 1000), (12, 5, 10)])
def test_the_learning_rate_drops_at_5_and_10_twelfths(iterations, first, second):
    factors = [Schedule(iterations).learning_rate_factor(step) for step in range(iterations)]
    assert factors[:first] == [1] * first
    assert factors[first:second] == pytest.approx([0.1] * (second - first))
    assert factors[second:] == pytest.approx([0.01] * (iterations - second))


@pytest.mark.parametrize("iterations", [1200, 40, 12000])
def test_other_lengths_have_the_same_ramp(iterations):
    other = Schedule(iterations)
    for tenth in range(10):
        step = tenth * iterations // 10
        assert other.ramp_up(step) == PUBLISHED.ramp_up(tenth * 600)
        assert other.smooth_ramp_up(step) == pytest.approx(PUBLISHED.smooth_ramp_up(tenth * 600))


@pytest.mark.parametrize("iterations", [1, 3, 7, 41])
def test_lengths_that_do_not_divide_stay_within_bounds(iterations):
    ramp = [Schedule(iterations).ramp_up(step) for step in range(iterations)]
    assert ramp == sorted(ramp) and math.exp(-5) <= ramp[0] and ramp[-1] <= 1
    assert all(Schedule(iterations).learning_rate_factor(step) in (1, 0.1, 0.1**2) for step in range(iterations))


def test_iteration_numbers_scale():
    assert PUBLISHED.scaled(1000) == 1000
    assert (Schedule(1200).scaled(1000), Schedule(1200).scaled(0), Schedule(600).scaled(6000)) == (200, 0, 600)
