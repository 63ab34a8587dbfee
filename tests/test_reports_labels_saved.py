import numpy as np
import pandas as pd
import pytest

from reports.labels_saved import labels_saved

FLOOR = pd.Series({4: 60.0, 16: 80.0, 64: 90.0})


@pytest.mark.parametrize(
    "dice, labelled, saved",
    [
        (70.0, 4, 4.0),  # half way from 4 to 16 on a logarithmic axis is 8
        (80.0, 4, 12.0),
        (85.0, 4, 28.0),  # 32
        (85.0, 16, 16.0),
        (90.0, 16, 48.0),
        (60.0, 4, 0.0),
        (70.0, 8, 0.0),  # a budget without a floor of its own stands on the line between its neighbours
        (70.0, 16, -8.0),  # the floor does as well with 8
        (60.0, 16, -12.0),
        (90.5, 16, None),  # more than the ceiling reaches
        (59.0, 4, None),  # less than the smallest floor
        (70.0, 2, None),
        (70.0, 65, None),
        (np.nan, 4, None),
    ],
)
def test_hand_computed_examples(dice, labelled, saved):
    assert labels_saved(FLOOR, dice, labelled) == pytest.approx(saved)


def test_order_and_missing_points_do_not_matter():
    assert labels_saved(FLOOR[::-1], 85.0, 4) == pytest.approx(28.0)
    assert labels_saved(pd.concat([FLOOR, pd.Series({8: np.nan})]), 70.0, 4) == pytest.approx(4.0)
    assert labels_saved(pd.Series(dtype=float), 70.0, 4) is None
    assert labels_saved(pd.Series({4: np.nan}), 70.0, 4) is None


def test_a_single_point_reaches_itself_only():
    assert labels_saved(pd.Series({4: 60.0}), 60.0, 4) == 0.0
    assert labels_saved(pd.Series({4: 60.0}), 61.0, 4) is None


def test_of_several_crossings_the_nearest_counts():
    dipping = pd.Series({4: 70.0, 8: 60.0, 16: 80.0, 32: 60.0, 64: 90.0})
    assert labels_saved(dipping, 70.0, 8) == pytest.approx(8 * 2**0.5 - 8)  # not the 4 behind, nor the 23 or 38 ahead
    assert labels_saved(dipping, 55.0, 8) is None
    assert labels_saved(dipping, 65.0, 16) == pytest.approx(8 * 2**0.25 - 16)
