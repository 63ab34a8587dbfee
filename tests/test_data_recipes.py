"""Published protocols: their lists, their steps, and from raw files to a report."""

import hashlib
import shutil

import nibabel
import numpy as np
import pydicom
import pytest
import yaml
from helpers.command_line import one_line_error
from helpers.raw_scans import ct, heart, write_acdc, write_brats, write_h5, write_pancreas, write_series
from helpers.scan_folder import write
from pydantic import ValidationError

from benchmark.planning.experiment_file import load_experiment
from data.case import DataError
from data.reading import Reading
from data.recipes.prepare import prepare_recipe
from data.recipes.recipe import FOLDER, Lists, read_recipe, recipe_names
from data.recipes.steps import Scan, Step
from data.scans import read_image, read_label, read_series

STORED = Reading(orientation="stored", normalise="none")


@pytest.mark.parametrize(
    ("name", "side", "beginning"),
    [
        ("pancreas_a", "train", "a8fd0d2b"), ("pancreas_a", "test", "13849cef"), ("brats2019", "train", "687d79e4"),
        ("brats2019", "validation", "a5822eb0"), ("brats2019", "test", "78fafea9"),
    ],
)  # fmt: skip
def test_lists_are_the_published_ones(name, side, beginning):
    names = sorted(getattr(read_recipe(name).lists, side))
    assert hashlib.md5(("\n".join(names) + "\n").encode()).hexdigest().startswith(beginning)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("la", (80, 0, 20)), ("pancreas_a", (62, 0, 20)), ("pancreas_b", (62, 0, 18)), ("pancreas_c", (62, 0, 20)),
     ("brats2019", (250, 25, 60)), ("acdc", (140, 20, 40))],
)  # fmt: skip
def test_every_recipe_has_its_cases(name, counts):
    lists = read_recipe(name).lists
    assert (len(lists.train), len(lists.validation), len(lists.test)) == counts
    assert set(read_recipe(name).gone) <= set(read_recipe(name).cases)


def test_recipes_of_pancreas_ct_differ_in_hash_and_steps():
    recipes = [read_recipe(f"pancreas_{letter}") for letter in "abc"]
    assert len({recipe.hash for recipe in recipes}) == len({str(recipe.steps) for recipe in recipes}) == 3


def small(name: str, train: list[str], test: list[str], validation: tuple[str, ...] = ()):
    """A recipe of the project with fewer cases."""
    lists = Lists(train=train, validation=list(validation), test=test)
    return read_recipe(name).model_copy(update={"lists": lists})


def read(folder, case):
    return (reader(folder / name / f"{case}.nii.gz", STORED, *more)[0] for reader, name, *more in (
        (read_image, "imagesTr"), (read_label, "labelsTr", [1, 2, 3])))  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- steps


def scan(shape=(6, 5, 4), spacing=(1.0, 1.0, 2.0)):
    image = np.random.default_rng(0).normal(50, 200, shape).astype(np.float32)
    label = np.zeros(shape, np.uint8)
    label[2:4, 1:4, 1:3] = 1
    return Scan(image, label, spacing)


def test_steps_compute_what_they_say():
    given = scan()
    assert np.allclose(Step(window=[-125, 275])(given).image, (given.image.clip(-125, 275) + 125) / 400)
    assert Step(percentile=90)(given).image.max() == pytest.approx(np.percentile(given.image, 90))
    scaled = Step(scale="min_max")(given).image
    assert (scaled.min(), scaled.max()) == (0, 1)
    normal = Step(normalise="zscore")(given).image
    assert abs(normal.mean()) < 1e-5 and normal.std() == pytest.approx(1, abs=1e-5)
    above = Step(normalise="zscore_above_0")(given).image[given.image > 0]
    assert abs(above.mean()) < 1e-5 and above.std() == pytest.approx(1, abs=1e-5)
    assert Step(voxel="in_plane")(given).spacing == (1, 1, 1) and Step(voxel="unit")(given).spacing == (1, 1, 1)
    resampled = Step(resample={"spacing": 1})(given)
    assert resampled.image.shape == resampled.label.shape == (6, 5, 8) and resampled.spacing == (1, 1, 1)
    assert resampled.label.sum() == 2 * given.label.sum()


@pytest.mark.parametrize(
    ("crop", "shape"),
    [
        ({"around": "label"}, (2, 3, 2)), ({"around": "label", "margin": [1, 0, None]}, (4, 3, 4)),
        ({"around": "label", "margin": [25, 25, 25]}, (6, 5, 4)), ({"around": "label", "least": 4}, (4, 4, 4)),
        ({"around": "nonzero"}, (6, 5, 4)),
    ],
)  # fmt: skip
def test_crops(crop, shape):
    assert Step(crop=crop)(scan()).image.shape == shape


@pytest.mark.parametrize(
    ("step", "change", "message"),
    [
        ({"window": [-125, 275]}, lambda s: Scan(s.image * 0 + 900, s.label, s.spacing), "no Hounsfield units"),
        ({"crop": {"around": "label"}}, lambda s: Scan(s.image, s.label * 0, s.spacing), "the label is empty"),
        ({"crop": {"around": "nonzero"}}, lambda s: Scan(s.image * 0, s.label, s.spacing), "all voxels are 0"),
        ({"normalise": "zscore"}, lambda s: Scan(s.image * 0 + 1, s.label, s.spacing), "the image is constant"),
    ],
)
def test_a_step_that_cannot_be_made_says_why(step, change, message):
    with pytest.raises(DataError, match=message):
        Step(**step)(change(scan()))


@pytest.mark.parametrize("step", [{}, {"window": [5, 5]}, {"window": [0, 1], "percentile": 3}, {"turn": 90}])
def test_a_wrong_step_is_refused(step):
    with pytest.raises(ValidationError):
        Step(**step)


# ---------------------------------------------------------------------------------------------- from raw files to cases


def test_a_dicom_series_is_read_by_position_in_hounsfield_units(tmp_path):
    image, _ = ct(3)
    write_series(tmp_path / "PANCREAS_0003/study/series", image)
    found, geometry = read_series(tmp_path / "PANCREAS_0003")
    assert np.array_equal(found, image) and np.allclose(geometry.spacing, (0.8, 0.9, 1.5))


def test_pancreas_a_is_cropped_in_plane_and_z_scored(tmp_path):
    write_pancreas(tmp_path / "raw", [1, 2])
    recipe = small("pancreas_a", ["image0001"], ["image0002"])
    assert list(prepare_recipe(recipe, tmp_path / "raw", tmp_path / "to")) == ["image0001", "image0002"]
    image, label = read(tmp_path / "to", "image0001")
    whole = (round(40 * 0.8), round(44 * 0.9), round(24 * 1.5))
    assert image.shape == label.shape == whole  # a margin of 25 voxels is more than these scans have
    assert abs(image.mean()) < 1e-4 and image.std() == pytest.approx(1, abs=1e-3)
    organ = label.sum() * 1.0
    assert organ == pytest.approx(ct(1)[1].sum() * 0.8 * 0.9 * 1.5, rel=0.05) and image[label > 0].mean() > 1


def test_pancreas_b_takes_the_spacing_in_plane(tmp_path):
    write_pancreas(tmp_path / "raw", [1, 2])
    list(prepare_recipe(small("pancreas_b", ["data0001"], ["data0002"]), tmp_path / "raw", tmp_path / "to"))
    image, _ = read(tmp_path / "to", "data0001")
    assert image.shape == (32, 40, round(24 * 0.9)) and (image.min(), image.max()) == (0, pytest.approx(1, abs=0.5))


def test_brats_becomes_one_structure_in_the_box_of_the_brain(tmp_path):
    cases = ["BraTS19_2013_2_1", "BraTS19_CBICA_AAB_1"]
    write_brats(tmp_path / "raw", cases)
    list(prepare_recipe(small("brats2019", cases[:1], cases[1:]), tmp_path / "raw", tmp_path / "to"))
    image, label = read(tmp_path / "to", cases[0])
    assert image.shape == (32, 32, 24) and set(np.unique(label)) == {0, 1}
    assert label.sum() == 14 * 10 * 8 and abs(image.mean()) < 1e-4


def test_acdc_is_the_same_from_the_challenge_and_from_h5(tmp_path):
    write_acdc(tmp_path / "raw", {"patient001": (1, 12), "patient002": (9, 1)})
    for patient in (1, 2):
        for place in (0, 1):
            image, label = heart(10 * patient + place)
            name = f"patient{patient:03d}_frame{1 + (place if patient == 1 else 1 - place):02d}"
            write_h5(tmp_path / f"h5/data/{name}.h5", image.transpose(2, 1, 0), label.transpose(2, 1, 0))
    recipe = small("acdc", ["patient001_frame01", "patient001_frame02"], ["patient002_frame01", "patient002_frame02"])
    for way in ("raw", "h5"):
        assert len(list(prepare_recipe(recipe, tmp_path / way, tmp_path / f"to-{way}"))) == 4
    for case in recipe.cases:
        images, labels = zip(*(read(tmp_path / f"to-{way}", case) for way in ("raw", "h5")), strict=True)
        assert np.array_equal(*images) and np.array_equal(*labels)
        assert images[0].shape == (36, 40, 5) and set(np.unique(labels[0])) == {0, 1, 2, 3}


def test_an_interrupted_preparation_goes_on(tmp_path):
    write_pancreas(tmp_path / "raw", [1, 2])
    recipe = small("pancreas_b", ["data0001"], ["data0002"])
    next(prepare_recipe(recipe, tmp_path / "raw", tmp_path / "to"))
    first = tmp_path / "to/imagesTr/data0001.nii.gz"
    before = first.stat().st_mtime_ns
    assert len(list(prepare_recipe(recipe, tmp_path / "raw", tmp_path / "to"))) == 2
    assert first.stat().st_mtime_ns == before
    with pytest.raises(DataError, match="prepared by other steps"):
        list(prepare_recipe(recipe.model_copy(update={"steps": []}), tmp_path / "raw", tmp_path / "to"))


def turned(folder):
    image, label = ct(1)
    path = next(folder.rglob("label0001.nii.gz"))
    write(path, label[::-1, ::-1, ::-1].copy(), (1, 1, 1), (0, 0, 0), "RAS")


def scaled(folder):
    shutil.rmtree(next(folder.rglob("PANCREAS_0001")))
    write_series(folder / "PANCREAS_0001/a/b", (ct(1)[0] > 0).astype(np.int16))


def other_grid(folder):
    write(next(folder.rglob("label0001.nii.gz")), ct(1)[1][:, :, 1:], (1, 1, 1), (0, 0, 0), "RAS")


def other_values(folder):
    write(next(folder.rglob("label0001.nii.gz")), 7 * ct(1)[1], (1, 1, 1), (0, 0, 0), "RAS")


def with_a_gap(folder):
    shutil.rmtree(next(folder.rglob("PANCREAS_0001")))
    write_series(folder / "PANCREAS_0001/a/b", ct(1)[0], skip=7)


def same_scan_twice(folder):
    for path in list(folder.rglob("*0001*")):
        other = path.with_name(path.name.replace("0001", "0002"))
        shutil.rmtree(other) if other.is_dir() else other.unlink()
        (shutil.copytree if path.is_dir() else shutil.copy)(path, other)


def slices(folder):
    return sorted(next(folder.rglob("PANCREAS_0001")).rglob("*.dcm"))


def other_pixels(folder):
    one = pydicom.dcmread(slices(folder)[4])
    one.PixelSpacing = [1.2, 1.2]
    one.save_as(slices(folder)[4])


def cut_off(folder):
    slices(folder)[4].write_bytes(slices(folder)[4].read_bytes()[:100])


def in_two_folders(folder):
    for path in slices(folder)[:9]:
        (path.parent.parent / "rest").mkdir(exist_ok=True)
        path.rename(path.parent.parent / "rest" / path.name)


BAD = {
    "slice with other pixels": (other_pixels, "has 1.2 x 1.2 mm a pixel, and most slices 0.8 x 0.9"),
    "slice cut off": (cut_off, "1-004.dcm cannot be read as DICOM slices"),
    "series in two folders": (in_two_folders, "one DICOM series lies in 2 folders"),
    "label turned": (turned, "turned against each other"),
    "scaled before": (scaled, "scaled before"),
    "label of another grid": (other_grid, "not on the grid"),
    "label with other values": (other_values, "may hold 0, 1"),
    "slice missing": (with_a_gap, "a gap or a slice twice"),
    "two series": (lambda folder: write_series(folder / "PANCREAS_0001/c/d", ct(9)[0]), "there twice|2 DICOM series"),
    "case doubled": (same_scan_twice, "have the same image"),
    "case twice": (lambda folder: shutil.copytree(folder, folder / "copy"), "is there twice"),
    "no label": (lambda folder: next(folder.rglob("label0001.nii.gz")).unlink(), "without a label"),
    "nothing": (lambda folder: [shutil.rmtree(inner) for inner in folder.iterdir()], "holds no case"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_raw_files_have_one_line(tmp_path, what):
    write_pancreas(tmp_path / "raw", [1, 2])
    change, message = BAD[what]
    change(tmp_path / "raw")
    recipe = small("pancreas_b", ["data0001"], ["data0002"])
    with pytest.raises(DataError, match=message) as error:
        list(prepare_recipe(recipe, tmp_path / "raw", tmp_path / "to"))
    assert "\n" not in str(error.value)
    shutil.rmtree(tmp_path / "raw")
    write_pancreas(tmp_path / "raw", [1, 2])  # once it is mended, the same command goes on
    assert len(list(prepare_recipe(recipe, tmp_path / "raw", tmp_path / "to"))) == 2


FRAMES = [f"patient001_frame{rank}" for rank in ("01", "02")], [f"patient002_frame{rank}" for rank in ("01", "02")]


def test_a_frame_without_its_image_does_not_give_its_label_to_another(tmp_path):
    write_acdc(tmp_path / "raw", {"patient001": (1, 12), "patient002": (1, 9)})
    next(tmp_path.rglob("patient001_frame01.nii.gz")).unlink()
    recipe = small("acdc", *FRAMES)
    assert "patient001_frame01" not in list(prepare_recipe(recipe, tmp_path / "raw", tmp_path / "to", True))
    image, label = read(tmp_path / "to", "patient001_frame02")
    assert np.array_equal(label, heart(11)[1]) and np.allclose(image, heart(11)[0] / 900)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("patient001_frame01*", r"there are 1 numbers \(12\) instead of 2"),
        ("patient001_frame01_gt*", "frame01.nii.gz without"),
    ],
)
def test_an_incomplete_frame_is_refused_by_its_file(tmp_path, pattern, message):
    write_acdc(tmp_path / "raw", {"patient001": (1, 12), "patient002": (1, 9)})
    for path in tmp_path.rglob(pattern):
        path.unlink()
    with pytest.raises(DataError, match=message):
        list(prepare_recipe(small("acdc", *FRAMES), tmp_path / "raw", tmp_path / "to", True))


BRATS = ["BraTS19_2013_2_1", "BraTS19_CBICA_AAB_1", "BraTS19_TCIA01_131_1"]


def file_of(folder, case, kind):
    return next(folder.rglob(f"{case}_{kind}.nii.gz"))


def store(path, change=lambda array: array, spacing=(1, 1, 1), orientation="LPS"):
    array = read_image(path, STORED)[0]
    write(path, change(array), spacing, (0, -239, 0), orientation)


def same_flair(folder):
    shutil.copy(file_of(folder, BRATS[0], "flair"), file_of(folder, BRATS[1], "flair"))
    store(file_of(folder, BRATS[1], "flair"), lambda array: array.astype(np.float64))  # another file, the same voxels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (same_flair, "have the same image"),
        (lambda folder: [store(file_of(folder, BRATS[1], kind), spacing=(1, 1, 3)) for kind in ("flair", "seg")],
         "has voxels of 1 x 1 x 3 mm, and most scans of 1 x 1 x 1 mm"),
    ],
)  # fmt: skip
def test_a_wrong_scan_is_refused_before_it_is_taken_for_a_right_one(tmp_path, change, message):
    write_brats(tmp_path / "raw", BRATS)
    change(tmp_path / "raw")
    with pytest.raises(DataError, match=message):
        list(prepare_recipe(small("brats2019", BRATS[:2], BRATS[2:]), tmp_path / "raw", tmp_path / "to"))


def test_a_scan_along_other_axes_than_most_is_named(tmp_path, command):
    write_brats(tmp_path / "raw", BRATS)
    for kind in ("flair", "seg"):
        store(file_of(tmp_path / "raw", BRATS[1], kind), orientation="RAS")
    lines = []
    recipe = small("brats2019", BRATS[:2], BRATS[2:])
    assert len(list(prepare_recipe(recipe, tmp_path / "raw", tmp_path / "to", warn=lines.append))) == 3
    assert len(lines) == 1 and f"{BRATS[1]}_flair.nii.gz (RAS)" in lines[0] and "than most (LPS)" in lines[0]


def capitals(folder):
    for path in list(folder.rglob("*_flair.nii.gz")):
        path.rename(path.with_name(path.name.replace("flair.nii.gz", "FLAIR.NII.GZ")))


def behind_a_link(folder):
    (folder / "HGG").rename(folder.parent / "elsewhere")
    (folder / "HGG").symlink_to(folder.parent / "elsewhere")
    (folder.parent / "elsewhere/back").symlink_to(folder)


def a_folder_each(folder):
    for path in list(folder.rglob("*.nii.gz")):
        bare = path.rename(path.with_name("file"))
        path.mkdir()
        bare.rename(path / path.name)


@pytest.mark.parametrize(
    "change", [capitals, behind_a_link, a_folder_each, lambda folder: write_h5(folder / "cache/model.h5", *heart(1))]
)
def test_cases_are_found_however_they_are_unpacked(tmp_path, change):
    write_brats(tmp_path / "raw", BRATS)
    change(tmp_path / "raw")
    recipe = small("brats2019", BRATS[:2], BRATS[2:])
    for to in (tmp_path / "to", tmp_path / "raw/to", tmp_path / "raw/to"):  # also below, also again
        assert len(list(prepare_recipe(recipe, tmp_path / "raw", to))) == 3


def test_two_voxel_sizes_of_a_file_are_no_error_where_none_is_used(tmp_path):
    write_acdc(tmp_path / "raw", {"patient001": (1, 12), "patient002": (1, 9)})
    for path in tmp_path.rglob("patient001_frame01*.nii.gz"):
        scan = nibabel.load(path)
        scan.header["pixdim"][1:4] = 1
        nibabel.save(nibabel.Nifti1Image(np.asarray(scan.dataobj), None, scan.header), path)
    assert len(list(prepare_recipe(small("acdc", *FRAMES), tmp_path / "raw", tmp_path / "to"))) == 4


def test_a_folder_that_cannot_hold_the_cases_is_refused(tmp_path):
    write_brats(tmp_path / "raw", BRATS)
    recipe = small("brats2019", BRATS[:2], BRATS[2:])
    (tmp_path / "file").write_text("")
    for to, message in ((tmp_path / "raw", "of the downloaded files"), (tmp_path / "file", "is a file")):
        with pytest.raises(DataError, match=message):
            list(prepare_recipe(recipe, tmp_path / "raw", to))
    file_of(tmp_path / "raw", BRATS[0], "flair").unlink()
    file_of(tmp_path / "raw", BRATS[0], "seg").with_name(f"{BRATS[0]}_flair.nii.gz").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"flair.nii.gz cannot be read"):
        list(prepare_recipe(recipe, tmp_path / "raw", tmp_path / "to"))


def test_what_is_left_out_is_named_and_an_interrupted_preparation_too(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_raw("brats2019", tmp_path / "raw")
    status, said, _ = command("data", "prepare", "brats2019", "--from", "raw", "--skip-missing")
    assert status == 0 and "cases left out, because they are not in raw: BraTS19" in said
    next((tmp_path / "brats2019/imagesTr").iterdir()).unlink()
    (tmp_path / "one.yaml").write_text(
        yaml.safe_dump({"name": "one", "recipe": "brats2019", "methods": ["vnet"], "labelled": [2]})
    )
    assert "resume `data prepare`" in one_line_error(command("run", "one.yaml", "--dry-run"))


def test_missing_cases_are_named_with_the_reason(tmp_path, command):
    write_pancreas(tmp_path / "raw", [1, 57])
    error = one_line_error(
        command("data", "prepare", "pancreas_a", "--from", tmp_path / "raw", "--to", tmp_path / "to")
    )
    assert "lacks 80 of 82 cases" in error and "image0025 (TCIA removed it as a duplicate)" in error
    assert "--skip-missing" in error
    assert "there is no recipe 'pancras_a'" in one_line_error(
        command("data", "prepare", "pancras_a", "--from", tmp_path)
    )
    assert "no such folder" in one_line_error(command("data", "prepare", "acdc", "--from", tmp_path / "none"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values | {"lists": {"train": "a b", "test": "b"}}, "twice"),
        (lambda values: values | {"steps": [{"window": [5, 1]}]}, "below its high"),
        (lambda values: values | {"structures": {"organ": 0}}, "structures"),
        (lambda values: values | {"size": 3}, "'size'"),
        (lambda values: 7, "recipe"),
    ],
)
def test_a_wrong_recipe_names_its_key(tmp_path, command, change, message):
    values = yaml.safe_load((FOLDER / "acdc.yaml").read_text())
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(change(values)))
    assert message in one_line_error(command("data", "recipes", tmp_path / "own.yaml"))


# --------------------------------------------------------------------------------------------- two commands to a report


def write_raw(name, folder):
    """A few cases of each side, as distributed."""
    lists = read_recipe(name).lists
    cases = [*lists.train[:3], *lists.validation[:2], *lists.test[:2]]
    if name == "acdc":
        write_acdc(folder, {case.split("_")[0]: (1, 10) for case in cases})
    elif name == "brats2019":
        write_brats(folder, cases)
    elif name == "pancreas_c":
        for case in cases:
            image, label = ct(int(case[-4:]))
            write_h5(folder / f"{case}.h5", (image / 400).astype(np.float32), label)
    else:
        write_pancreas(folder, [int(case[-4:]) for case in cases])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in recipe_names() if name != "la"])
def test_two_commands_lead_to_a_report(name, tmp_path, monkeypatch, command, no_ray, no_drawing):
    write_raw(name, tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    assert command("data", "prepare", name, "--from", "raw", "--skip-missing")[0] == 0
    config = {
        "name": "two", "recipe": name, "methods": ["vnet", "mean_teacher"], "labelled": [2], "baseline": None,
        "training": {"iterations": 2, "patch": [32, 32, 16][: 2 if name == "acdc" else 3], "width": 2, "batch_size": 4},
        "evaluation": {"stride": [32, 32, 16][: 2 if name == "acdc" else 3]},
    }  # fmt: skip
    if read_recipe(name).lists.validation:
        config["evaluation"]["checkpoints"] = 1
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(config))
    status, said, error = command("run", "two.yaml", "--results", "results")
    assert status == 0, error
    table = (tmp_path / "results/report/tables/comparison.md").read_text()
    assert f"recipe {name}, other cases" in table.replace("\\_", "_") and "Mean Teacher" in table
    assert (read_recipe(name).leaks or "prepared as in") in table
    assert f"{name}" in command("data", "recipes")[1]


def test_keys_of_an_experiment_win_over_its_recipe(tmp_path, command):
    recipe = yaml.safe_load((FOLDER / "acdc.yaml").read_text()) | {"id": "mine"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    config = {"name": "own", "recipe": "mine.yaml", "methods": ["vnet"], "labelled": [6]}
    config |= {"training": {"iterations": 7000, "network": {"name": "unet_2d", "normalisation": "group"}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    experiment = load_experiment(tmp_path / "own.yaml", ["data.root=here"])
    assert (experiment.data.root, experiment.data.validation_cases) == ("here", "validation.list")
    training, given = experiment.training, recipe["experiment"]["training"]
    assert (training.iterations, training.head, list(training.patch)) == (7000, "softmax", given["patch"])
    assert training.network.arguments == {"normalisation": "group"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config | {"recipe": "none"}))
    assert "there is no recipe 'none'" in one_line_error(command("run", tmp_path / "own.yaml", "--dry-run"))
