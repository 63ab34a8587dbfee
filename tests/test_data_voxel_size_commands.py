"""Voxel sizes that are stated twice, as `data info`, `run`, `predict` and `add-masks` meet them."""

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from helpers import tiny
from helpers.command_line import command, one_line_error  # noqa: F401
from helpers.nifti_file import TRUE, nifti
from helpers.scan_folder import blob, scan, write_folder
from pydantic import TypeAdapter

from benchmark.trial.external_masks import _masks
from data.cache import prepare
from data.case import DataError
from data.sources import DataSettings

SAID = "states voxels of 1 x 1 x 1 mm (pixdim) and of 0.8 x 0.8 x 3 mm (sform): set "


def acdc_like(root):
    """A folder as of ACDC: an sform of the scanner's beside a pixdim of 1."""
    write_folder(root)
    for number, (side, name) in enumerate((("Tr", "A"), ("Tr", "B"), ("Tr", "C"), ("Ts", "D"))):
        nifti(root / f"images{side}/{name}.nii.gz", (1, 1, 1), array=scan(number))
        nifti(root / f"labels{side}/{name}.nii.gz", (1, 1, 1), array=blob())
    return {"source": "folder", "root": str(root)}


@pytest.mark.slow
def test_info_and_run_say_both_sizes(tmp_path, monkeypatch, command):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    values = {"name": "e", "methods": ["vnet"], "labelled": [2], "data": acdc_like(tmp_path / "data")}
    values |= {"training": {"patch": [16, 16, 16]}, "evaluation": {"stride": [8, 8, 8]}}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(values))
    status, said, _ = command("data", "info", "e.yaml")
    assert status == 1 and said.count(SAID + "data.voxel to") == 8  # every image and label
    assert SAID in one_line_error(command("run", "e.yaml", "--results", "r", "--dry-run"))
    voxel = {"data": values["data"] | {"voxel": "sform", "spacing": [0.5, 0.5, 2]}}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(values | voxel))
    status, said, errors = command("data", "info", "e.yaml")
    assert status == 0 and "0.8x0.8x3" in said, errors
    assert command("run", "e.yaml", "--results", "r", "--dry-run")[0] == 0


@pytest.mark.slow
def test_predict_asks_and_takes_an_answer(tmp_path, command):  # noqa: F811
    results = tiny.finished(tmp_path / "results", methods=["vnet"], baseline=None)
    [record] = (results / "records").iterdir()
    path = nifti(tmp_path / "new/scan.nii.gz", (1, 1, 1), array=np.random.default_rng(0).normal(size=(20, 20, 20)))
    refused = one_line_error(command("predict", record, path.parent, "--to", tmp_path / "out"))
    assert SAID + "--voxel to" in refused
    for answer, expected in (("sform", TRUE), ("pixdim", (1, 1, 1)), ("0.5,0.5,2", (0.5, 0.5, 2))):
        status, _, errors = command("predict", record, path.parent, "--to", tmp_path / "out", "--voxel", answer)
        assert status == 0, errors
        assert sitk.ReadImage(str(tmp_path / "out/scan.nii.gz")).GetSpacing() == pytest.approx(expected)
    for wrong in ("qform", "1,1", "1,0,1", "1,nan,1", ""):
        refused = one_line_error(command("predict", record, path.parent, "--to", tmp_path / "out", "--voxel", wrong))
        assert f"--voxel {wrong!r}: give pixdim, sform, or three sizes" in refused
    vast = nifti(tmp_path / "vast/scan.nii.gz", (1e8, 1e8, 1e8), array=np.random.default_rng(0).normal(size=(9, 9, 9)))
    given = ("predict", record, vast.parent, "--to", tmp_path / "out", "--voxel", "1e8,1e8,1e8")
    assert "too large for the network's grid, because its voxels have 1e+08" in one_line_error(command(*given))
    (tmp_path / "new/other.nii.gz.part").write_bytes(b"")
    refused = one_line_error(command("predict", record, path.parent, "--to", tmp_path / "out", "--voxel", "sform"))
    assert "other.nii.gz.part is not taken, a download that did not finish" in refused


def test_masks_of_another_tool_are_held_to_the_same(tmp_path):
    values = acdc_like(tmp_path / "data") | {"voxel": "sform"}
    dataset = prepare(TypeAdapter(DataSettings).validate_python(values), tmp_path / "cache")
    nifti(tmp_path / "masks/D.nii.gz", (1, 1, 1), array=blob())
    assert _masks(tmp_path / "masks", dataset)["D"].any()
    nifti(tmp_path / "masks/D.nii.gz", (1, 1, 1), (1, 1, 1), array=blob())
    with pytest.raises(DataError, match="not on the grid of its case: voxels of 1 x 1 x 1 mm, not 0.8 x 0.8 x 3"):
        _masks(tmp_path / "masks", dataset)
    nifti(tmp_path / "masks/D.nii.gz", (0.8, 0.8, 3.003), None, qform=(0.8, 0.8, 3.003), array=blob())
    with pytest.raises(DataError, match=r"data.grid_tolerance 0.038 accepts this"):
        _masks(tmp_path / "masks", dataset)
    lenient = TypeAdapter(DataSettings).validate_python(values | {"grid_tolerance": 0.038})
    assert _masks(tmp_path / "masks", prepare(lenient, tmp_path / "cache"))["D"].any()
    (tmp_path / "masks/D.nii.gz").rename(tmp_path / "masks/D.nii.gz.part")
    with pytest.raises(DataError, match="no D.nii.gz in .*D.nii.gz.part is not taken"):
        _masks(tmp_path / "masks", dataset)
