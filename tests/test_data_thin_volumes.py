"""Scans with fewer slices than a patch may have: the advice that is given works."""

import re

import numpy as np
import pytest
import yaml
from helpers.command_line import command, one_line_error  # noqa: F401
from helpers.scan_folder import write


@pytest.mark.slow
@pytest.mark.parametrize("slices", [1, 3, 6, 7])
@pytest.mark.parametrize("spacing", [None, 2.0])
def test_the_advice_for_thin_volumes_leads_to_a_plan(tmp_path, monkeypatch, command, slices, spacing):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for number in range(4):
        label = np.zeros((20, 20, slices), np.uint8)
        label[5:9, 5:9] = 1
        for folder, array in (("images", rng.normal(size=label.shape).astype(np.float32)), ("labels", label)):
            write(tmp_path / f"data/{folder}T{'rs'[number == 3]}/s{number}.nii.gz", array, (1.5, 1.5, 2.0))
    data = {"source": "folder", "root": "data", "labels": {"a": 1}} | ({"spacing": spacing} if spacing else {})
    (tmp_path / "e.yaml").write_text(
        yaml.safe_dump(
            {"name": "e", "methods": ["vnet"], "labelled": [2], "data": data, "training": {"patch": [16, 16, 16]},
             "evaluation": {"stride": [8, 8, 8]}}
        )
    )  # fmt: skip
    refused = one_line_error(command("run", "e.yaml", "--results", "r", "--dry-run"))
    assert "choose a smaller one" not in refused
    advice = re.search(r"set data.spacing to (\[[^]]*\])", refused)[1]
    status, said, errors = command("run", "e.yaml", "--results", "r", "--dry-run", "--set", f"data.spacing={advice}")
    assert status == 0, errors
