"""A user's own scans from folder to report, and on: new scans segmented, another tool's masks beside them.

The folder has two structures, scans without a label, voxels of an odd size and axes as scanners store them.
"""

import csv
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from helpers.command_line import one_line_error
from helpers.scan_folder import write
from helpers.tiny import draw_nothing

from benchmark.records.arrays import read_masks
from data.reading import Reading
from data.scan_files import stem_of
from data.scans import read_geometry, read_label, write_labels

EXPERIMENT = {
    "name": "mine",
    "methods": ["vnet", "mean_teacher"],
    "labelled": [3],
    "seeds": [1],
    "training": {"iterations": 2, "patch": [16, 16, 16], "width": 2, "threads": 1},
    "evaluation": {"stride": [8, 8, 8]},
    "execution": {"device": "cpu", "data_workers": 0},
}


def voxels(path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.slow
def test_from_folder_to_report_and_on(tmp_path, monkeypatch, command, no_ray):
    monkeypatch.chdir(tmp_path)
    data = {"source": "folder", "root": "scans", "spacing": [2.2, 2.2, 2.3]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(EXPERIMENT | {"data": data}))
    assert command("data", "example", "scans")[0] == 0
    assert "give a folder that does not exist yet" in one_line_error(command("data", "example", "scans"))
    status, said, _ = command("data", "info", "mine.yaml")
    assert status == 0 and "10 training cases, 7 of them with a label, and 3 test cases" in said
    assert "cavity [ml]" in said and "wall [ml]" in said and said.count("unlabelled") == 4

    assert command("run", "mine.yaml", "--results", "results")[0] == 0
    plan = json.loads((tmp_path / "results/plan.json").read_text())
    assert plan["data"]["reading"]["orientation"] == "RAS" and plan["data"]["spacing"] == [2.2, 2.2, 2.3]
    cells = {(cell["method"], cell["role"]): cell for cell in plan["cells"]}
    assert cells["mean_teacher", "method"]["unlabelled"] == 7  # three of them have no label
    assert cells["vnet", "ceiling"]["labelled"] == 7  # every label there is
    table = (tmp_path / "results/report/tables/comparison.md").read_text()
    assert "mean over 2 structures (cavity, wall)" in table and "axes RAS" in table
    assert any((tmp_path / "results/report/figures").iterdir())
    draw_nothing(monkeypatch)  # once is enough

    # Predictions lie on the grid of their scan, with the values of its labels.
    record = tmp_path / "results/records" / cells["mean_teacher", "method"]["trial"]
    scans = sorted((tmp_path / "scans/imagesTs").glob("*.nii.gz"))
    for scan in scans:
        written = record / "predictions" / scan.name
        assert not read_geometry(written, Reading()).differences(read_geometry(scan, Reading()))
        assert set(np.unique(voxels(written))) <= {0, 1, 2}

    # New scans are read, resampled and written in the same way: these are not new, so the labels are the same.
    status, said, _ = command("predict", record, "scans/imagesTs", "--to", "segmented")
    assert status == 0 and said.count(".nii.gz: segmented") == 3
    for scan in scans:
        labels = voxels(f"segmented/{scan.name}")
        np.testing.assert_array_equal(labels, voxels(record / "predictions" / scan.name))
        millilitres = np.prod(sitk.ReadImage(str(scan)).GetSpacing()) / 1000
        cavity, wall = ((labels == value).sum() * millilitres for value in (1, 2))
        assert f"{scan.name}: segmented/{scan.name} (cavity {cavity:.1f} ml, wall {wall:.1f} ml)" in said
        if not wall:
            assert "nothing was found of" in said
    assert "holds no scan" in one_line_error(command("predict", record, "results"))
    assert "is no record" in one_line_error(command("predict", "results", "scans/imagesTs"))
    (tmp_path / "new").mkdir()
    write(tmp_path / "new/flat.nii.gz", np.ones((20, 20, 20), np.float32))
    assert "the image is constant" in one_line_error(command("predict", record, "new"))

    # No scan is written over, and nnU-Net's names of a channel are none of the case.
    before = scans[0].read_bytes()
    in_place = command("predict", record, "scans/imagesTs", "--to", "scans/imagesTs")
    assert "would take the place of the scan" in one_line_error(in_place) and scans[0].read_bytes() == before
    assert "cannot be made a folder" in one_line_error(command("predict", record, scans[0], "--to", "mine.yaml"))
    shutil.copy(scans[0], tmp_path / "new/flat_0000.nii.gz")
    (tmp_path / "new/flat.nii.gz").unlink()
    assert command("predict", record, "new", "--to", "named")[0] == 0
    assert [path.name for path in (tmp_path / "named").iterdir()] == ["flat.nii.gz"]
    write(tmp_path / "new/flat_0000.nrrd", np.ones((20, 20, 20), np.float32))
    assert "are both called flat_0000" in one_line_error(command("predict", record, "new"))

    # Another tool's masks: those of our own trial score as the trial does.
    scored = ("--name", "Other tool", "--results", "results", "--labelled", 3, "--unlabelled", 7)
    status, said, _ = command("add-masks", record / "predictions", *scored)
    assert status == 0 and "external-other-tool-" in said
    row = next(line for line in (tmp_path / "results/report/tables/comparison.md").read_text().splitlines()
               if "Other tool‡" in line)  # fmt: skip
    assert "| 3 | 7 |" in row
    ours, theirs = (
        [r for r in csv.DictReader((folder / "cases.csv").open()) if r["postprocessing"] == "largest_component"]
        for folder in (record, next((tmp_path / "results/records").glob("external-other-tool-*")))
    )
    assert ours == theirs
    assert command("add-masks", record / "predictions", *scored[:1], "Other tool!", *scored[2:])[0] == 0
    assert len([*(tmp_path / "results/records").glob("external-other-tool-*")]) == 2  # not the same name
    for option, said in (("--labelled=8", "7 training cases of Example with a label"),
                         ("--unlabelled=8", "more than the 10 training cases")):  # fmt: skip
        assert said in one_line_error(command("add-masks", record / "predictions", *scored, option))

    # They stay when the experiment runs again, and are scored again with the others.
    assert command("run", "mine.yaml", "--results", "results")[0] == 0
    assert command("evaluate", "results", "--set", "evaluation.empty=exclude")[0] == 0
    status, said, _ = command("status", "results")
    assert "Other tool" in said and "5 of 5 cells done" in said

    # What is wrong with masks is said of all at once.
    shutil.copytree(record / "predictions", "bad", ignore=shutil.ignore_patterns("*.npz"))
    names = [scan.name for scan in scans]
    (tmp_path / "bad" / names[0]).unlink()
    write(tmp_path / "bad" / names[1], np.zeros((4, 4, 4), np.uint8))
    labels, geometry = read_label(tmp_path / "bad" / names[2], Reading(), [1, 2])
    write(tmp_path / "bad" / names[2], np.full(geometry.size, 9, np.uint8), geometry.spacing, geometry.origin)
    refused = one_line_error(command("add-masks", "bad", *scored))
    assert (
        "3 problems" in refused and f"no {names[0]} in bad, which holds {names[1].removesuffix('.nii.gz')}, " in refused
    )
    assert "not on the grid of its case" in refused and "holds 9, but may hold 0, 1, 2" in refused

    # Labels for other tools follow the headline, and so does `predict`, from wherever it is called.
    assert command("evaluate", "results", "--set", "evaluation.postprocessing=none")[0] == 0
    for scan in scans:
        masks = read_masks(record / "predictions" / f"{stem_of(scan)}.npz")
        labels, _ = read_label(record / "predictions" / scan.name, Reading(), [1, 2])
        np.testing.assert_array_equal(labels, masks[0] + 2 * masks[1])
    with monkeypatch.context() as patch:
        patch.chdir(record)
        assert command("predict", ".", tmp_path / "scans/imagesTs", "--to", tmp_path / "as_predicted")[0] == 0
    np.testing.assert_array_equal(voxels(f"as_predicted/{names[0]}"), voxels(record / "predictions" / names[0]))

    # Where the data have changed, what was measured stays what it is.
    plan = (tmp_path / "results/plan.json").read_text()
    moved, geometry = read_label(tmp_path / "scans/labelsTs" / names[0], Reading(orientation="stored"), [1, 2])
    write_labels(tmp_path / "scans/labelsTs" / names[0], np.roll(moved, 3, axis=0), geometry, [1, 2])
    for arguments in (("evaluate", "results"), ("add-masks", record / "predictions", *scored)):
        assert "3 of the 3 trials of" in one_line_error(command(*arguments))
    assert (tmp_path / "results/plan.json").read_text() == plan
    status, said, _ = command("run", "mine.yaml", "--results", "results", "--set", "methods=[vnet]")
    assert status == 0 and "its masks are of other test cases" in said
    assert "other protocol" in (tmp_path / "results/report/tables/comparison.md").read_text()


@pytest.mark.slow
def test_the_folds_of_a_cross_validation_have_one_table(tmp_path, monkeypatch, command, no_ray, no_drawing):
    monkeypatch.chdir(tmp_path)
    data = {"source": "folder", "root": "scans", "spacing": [2.2, 2.2, 2.3]}
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump(EXPERIMENT | {"data": data, "methods": ["vnet"], "labelled": [2]})
    )
    assert command("data", "example", "scans")[0] == 0
    tested = []
    for fold in range(2):
        split = f"data.split={{folds: 2, fold: {fold}}}"
        assert command("run", "mine.yaml", "--set", split, "--results", f"fold{fold}")[0] == 0
        with next((tmp_path / f"fold{fold}/records").glob("vnet-2-*")).joinpath("cases.csv").open() as file:
            tested.append({row["case"] for row in csv.DictReader(file)})
    assert not tested[0] & tested[1] and len(tested[0] | tested[1]) == 7
    assert command("report", "fold0", "fold1")[0] == 0
    with (tmp_path / "fold0/report/tables/comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["role"], row["cases"], row["runs_done"]) for row in rows] == [
        ("floor", "7", "1"),
        ("ceiling", "7", "1"),
    ]
    assert "split 2 folds, seed 0" in (tmp_path / "fold0/report/tables/comparison.md").read_text()


@pytest.mark.slow
def test_cases_without_geometry_take_masks_of_their_size(tmp_path, monkeypatch, command, no_ray, no_drawing):
    monkeypatch.chdir(tmp_path)
    values = EXPERIMENT | {
        "data": {"source": "phantom", "train": 3, "test": 2, "size": [16, 16, 16]}, "methods": ["vnet"], "labelled": [2]
    }  # fmt: skip
    copied = {"execution": EXPERIMENT["execution"] | {"copy_to": f"file://{tmp_path}/copy"}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(values | copied))
    assert command("run", "small.yaml", "--results", "results")[0] == 0
    record = next((tmp_path / "results/records").iterdir())
    for path in (record / "predictions").glob("*.npz"):
        write(tmp_path / "masks" / f"{path.stem}.nii.gz", read_masks(path)[0].astype(np.uint8))
    scored = ("--results", "results", "--labelled", 2)
    assert command("add-masks", "masks", "--name", "Theirs", *scored)[0] == 0
    ours, theirs = (list(csv.DictReader((folder / "cases.csv").open()))
                    for folder in (record, next((tmp_path / "results/records").glob("external-*"))))  # fmt: skip
    assert ours == theirs
    # A folder that was lost gets the row back from the second store.
    assert "3 records fetched" in command("run", "small.yaml", "--results", "again")[1]
    assert "Theirs‡" in (tmp_path / "again/report/tables/comparison.md").read_text()
    for arguments, said in (
        (("add-masks", "masks", "--name", "V-Net", *scored), "is the name of method vnet here"),
        (("add-masks", "masks", "--name", " ", *scored), "give a name for the row"),
        (("add-masks", "masks", "--name", "X", "--results", "results", "--labelled", 9), "how many of the 3 training"),
        (("add-masks", "nowhere", "--name", "X", *scored), "there is no such folder"),
        (("add-masks", "masks", "--name", "X", "--results", "masks", "--labelled", 2), "is no results folder"),
    ):
        assert said in one_line_error(command(*arguments))
    # A budget of no method is remarked. A row goes with all its seeds, and nothing else does.
    other = ("add-masks", "masks", "--name", "Other", "--results", "results", "--labelled", 1)
    status, said, _ = command(*other)
    assert status == 0 and "no method of this experiment has 1 labelled cases" in said
    assert command(*other, "--seed", 1)[0] == 0
    refused = one_line_error(command("remove-masks", "Them", "--results", "results"))
    assert "'Them' is no row of masks in " in refused and "there are: Other, Theirs" in refused
    status, said, _ = command("remove-masks", "Other", "--results", "results")
    assert status == 0 and said.startswith("removed external-other-")
    table = (tmp_path / "results/report/tables/comparison.md").read_text()
    assert "Theirs‡" in table and "Other" not in table and "Unplanned" not in table
    write(tmp_path / "masks/test-000.nii.gz", np.zeros((3, 3, 3), np.uint8))
    assert "(3, 3, 3) voxels, but test-000 has" in one_line_error(command("add-masks", "masks", "--name", "X", *scored))
