"""Holm's correction."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from reports.statistics import holm


def test_holm_steps_down_and_ignores_what_was_not_tested():
    assert holm([0.01, np.nan, 0.04, 0.03]) == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert np.isnan(holm([np.nan])).all() and len(holm([])) == 0


def test_holm_agrees_with_statsmodels():
    p_values = np.random.default_rng(0).uniform(0, 0.2, 30)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], rel=1e-12)
