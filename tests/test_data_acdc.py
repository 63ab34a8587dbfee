"""Real ACDC volumes (SEMISEG_ACDC), as h5 and written back as the challenge hands them out, to a table in 2D and 3D."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.raw_scans import write_h5
from helpers.scan_folder import write

from data.reading import Reading
from data.recipes.recipe import read_recipe
from data.scans import read_image, read_label

CONFIGS = Path(__file__).parents[1] / "configs/acdc_dev"
INNER = 96  # pixels, which are quicker to score than whole slices
STORED = Reading(orientation="stored", normalise="none")


@pytest.fixture(scope="module")
def real_volumes(tmp_path_factory):
    """Two patients of ACDC for training and one for testing, both ways: folders h5 and challenge."""
    root = os.environ.get("SEMISEG_ACDC")
    if not root:
        pytest.skip("SEMISEG_ACDC is not set")
    folder = tmp_path_factory.mktemp("acdc")
    for case_id in [*read_recipe("acdc").lists.train[:4], *read_recipe("acdc").lists.test[:2]]:
        with h5py.File(Path(root) / f"data/{case_id}.h5") as whole:
            y, x = ((n - INNER) // 2 for n in whole["image"].shape[1:])
            image, label = (whole[key][:, y : y + INNER, x : x + INNER] for key in ("image", "label"))
        write_h5(folder / f"h5/data/{case_id}.h5", image, label)
        patient, frame = case_id.split("_frame")
        at = folder / "challenge" / patient / f"{patient}_frame{3 * int(frame):02d}"
        for array, end in ((image, ""), (label, "_gt")):
            write(at.with_name(f"{at.name}{end}.nii.gz"), array.transpose(2, 1, 0), (1.6, 1.6, 10), (0, 0, 0), "LPS")
    return folder


def test_both_ways_give_the_same_cases(real_volumes, tmp_path, command):
    for way in ("h5", "challenge"):
        status, said, error = command(
            "data", "prepare", "acdc", "--from", real_volumes / way, "--to", tmp_path / way, "--skip-missing"
        )
        assert status == 0 and "6 of 200 cases" in said, error
    for path in sorted((tmp_path / "h5/imagesTr").iterdir()):
        images = [read_image(tmp_path / way / "imagesTr" / path.name, STORED)[0] for way in ("h5", "challenge")]
        labels = [
            read_label(tmp_path / way / "labelsTr" / path.name, STORED, [1, 2, 3])[0] for way in ("h5", "challenge")
        ]
        assert np.array_equal(*images) and np.array_equal(*labels) and set(np.unique(labels[0])) <= {0, 1, 2, 3}
        assert images[0].shape[:2] == (INNER, INNER) and (images[0].min(), images[0].max()) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name, patch", [("study", [64, 64]), ("volumes", [64, 64, 16])])
def test_real_volumes_train_and_give_a_table_of_each_structure(
    name, patch, real_volumes, tmp_path, monkeypatch, command, no_ray, no_drawing
):
    monkeypatch.chdir(tmp_path)
    assert command("data", "prepare", "acdc", "--from", real_volumes / "h5", "--skip-missing")[0] == 0
    small = {
        "methods": "[bcp]", "baseline": "null", "labelled": "[2]", "seeds": "[1]", "reference": "null",
        "training.iterations": 4, "training.patch": patch, "training.width": 2, "training.batch_size": 4,
        "execution.device": "cpu", "execution.data_workers": 0, "evaluation.stride": patch,
    }  # fmt: skip
    changes = [f"--set={key}={value}" for key, value in small.items()]
    assert command("run", CONFIGS / f"{name}.yaml", "--results", "results", *changes)[0] == 0
    (record,) = (tmp_path / "results/records").iterdir()
    assert len(list((record / "predictions").glob("*.nii.gz"))) == 2
    tables = (tmp_path / "results/report/tables/structures.md").read_text()
    for structure in ("right ventricle", "myocardium", "left ventricle"):
        assert structure in tables
