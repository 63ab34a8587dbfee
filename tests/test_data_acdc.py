"""ACDC's h5 files as a folder of scans; with SEMISEG_ACDC, real volumes from file to table, in 2D and in 3D."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.command_line import one_line_error
from pydantic import TypeAdapter

from data.cache import prepare
from data.sources import DataSettings

CONFIGS = Path(__file__).parents[1] / "configs/acdc_dev"
SHAPE = (3, 20, 18)  # slices, y, x


def write_volume(folder: Path, case_id: str, label_shape=SHAPE) -> np.ndarray:
    """A volume of whole numbers, 5 to 900, with all three structures; returns the image."""
    rng = np.random.default_rng(list(case_id.encode()))
    image = rng.integers(5, 900, SHAPE).astype(np.uint16)
    image[0, 0, :2] = 5, 900
    label = np.zeros(label_shape, np.uint8)
    label[1:, 4:8, 4:6], label[1:, 4:8, 6:9], label[1:, 4:8, 9:11] = 1, 2, 3
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / f"data/{case_id}.h5", "w") as file:
        file.create_dataset("image", data=image)
        file.create_dataset("label", data=label)
    return image


def test_volumes_become_scans_with_slices_last(tmp_path, command):
    cases = ["patient001_frame01", "patient001_frame12", "patient002_frame01"]
    images = [write_volume(tmp_path / "raw", case_id) for case_id in cases]
    (tmp_path / "raw/data/slices").mkdir()  # of the distribution
    (tmp_path / "raw/train.list").write_text("\n".join(cases[:2]))
    (tmp_path / "raw/test.list").write_text(cases[2])
    for _ in range(2):  # the second call replaces the files of the first
        status, said, _ = command("data", "prepare", "acdc", tmp_path / "raw", "--to", tmp_path / "acdc")
        assert status == 0 and "3 volumes in" in said
    dataset = prepare(
        TypeAdapter(DataSettings).validate_python({
            "source": "folder", "root": str(tmp_path / "acdc"), "orientation": "stored", "normalise": "none",
            "split": {"train": "train.list", "test": "test.list"}, "patients": r"patient\d+",
        })
    )  # fmt: skip
    assert (dataset.name, dataset.train_ids, dataset.test_ids) == ("ACDC", cases[:2], cases[2:])
    assert dataset.source.class_names == {"right ventricle": 1, "myocardium": 2, "left ventricle": 3}
    case = dataset.native(cases[1])
    assert case.shape == (18, 20, 3) and case.spacing == (1, 1, 1)
    np.testing.assert_allclose(case.image, (images[1].transpose(2, 1, 0) - 5.0) / 895, atol=1e-6)
    assert not case.label[..., 0].any() and case.label[4, 4, 1] == 1 and case.label[10, 7, 2] == 3


def test_what_is_no_such_folder_is_refused(tmp_path, command):
    assert "holds no data/<case>.h5" in one_line_error(command("data", "prepare", "acdc", tmp_path))
    write_volume(tmp_path, "patient001_frame01", label_shape=(4, 20, 18))
    error = one_line_error(command("data", "prepare", "acdc", tmp_path, "--to", tmp_path / "to"))
    assert "image (3, 20, 18) and label (4, 20, 18) differ in shape" in error


@pytest.fixture(scope="module")
def real_volumes(tmp_path_factory):
    """Two patients of ACDC for training and one for testing: the inner 96 x 96 voxels, which is quicker to score."""
    root = os.environ.get("SEMISEG_ACDC")
    if not root:
        pytest.skip("SEMISEG_ACDC is not set")
    folder = tmp_path_factory.mktemp("acdc")
    (folder / "data").mkdir()
    for name, count in (("train", 4), ("test", 2)):
        cases = (Path(root) / f"{name}.list").read_text().split()[:count]
        (folder / f"{name}.list").write_text("\n".join(cases))
        for case_id in cases:
            with (
                h5py.File(Path(root) / f"data/{case_id}.h5") as whole,
                h5py.File(folder / f"data/{case_id}.h5", "w") as inner,
            ):
                y, x = ((n - 96) // 2 for n in whole["image"].shape[1:])
                for key in ("image", "label"):
                    inner[key] = whole[key][:, y : y + 96, x : x + 96]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name, patch", [("slices", [64, 64]), ("volumes", [64, 64, 16])])
def test_real_volumes_train_and_give_a_table_of_each_structure(
    name, patch, real_volumes, tmp_path, monkeypatch, command, no_ray, no_drawing
):
    monkeypatch.chdir(tmp_path)
    assert command("data", "prepare", "acdc", real_volumes, "--to", "acdc")[0] == 0
    small = {
        "methods": "[bcp]", "baseline": "null", "labelled": "[2]", "training.iterations": 4, "training.patch": patch,
        "training.width": 2, "training.batch_size": 4, "execution.device": "cpu", "execution.data_workers": 0,
        "evaluation.stride": patch,
    }  # fmt: skip
    changes = [f"--set={key}={value}" for key, value in small.items()]
    assert command("run", CONFIGS / f"{name}.yaml", "--results", "results", *changes)[0] == 0
    (record,) = (tmp_path / "results/records").iterdir()
    assert len(list((record / "predictions").glob("*.nii.gz"))) == 2
    tables = (tmp_path / "results/report/tables/structures.md").read_text()
    for structure in ("right ventricle", "myocardium", "left ventricle"):
        assert structure in tables
