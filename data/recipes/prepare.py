"""Makes the cases of a recipe from what its distributor hands out."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from data.case import DataError, shorten_list
from data.files import replace_text
from data.geometry import IDENTITY, Geometry, blank_image, by, orientation_of
from data.reading import Reading
from data.recipes.files import CaseFiles, find_files
from data.recipes.recipe import H5, PREPARED, Raw, Recipe
from data.recipes.steps import Scan, Step
from data.scans import raw_hashes, read_geometry, read_image, read_label, read_series, write_image, write_labels

AS_STORED = Reading(orientation="stored", normalise="none")
WITHOUT_SIZE = Reading(orientation="stored", normalise="none", voxel=(1.0, 1.0, 1.0))  # whatever files say, if anything


def prepare_recipe(
    recipe: Recipe, folder: Path, to: Path, skip_missing: bool = False, warn: Callable[[str], None] = lambda line: None
) -> Iterator[str]:
    """Write imagesTr, labelsTr, dataset.json and the lists of cases, as `source: folder` reads them.

    Re-running skips cases that were prepared from the same files by the same steps.

    Args:
        recipe: says how.
        folder: of the original distribution, or of the h5 files that papers share.
        to: the new folder.
        skip_missing: whether cases that are not there are left out of the lists. The folder is then marked as
            incomplete.
        warn: gets a line on what looks wrong and is used all the same.

    Yields:
        Each case, after it was written.

    Raises:
        DataError: a case is missing, twice, or cannot be used; or `to` holds cases of another recipe.
    """
    if to.exists() and (not to.is_dir() or to.resolve() == folder.resolve()):
        what = "the folder of the downloaded files" if to.is_dir() else "a file"
        raise DataError(f"--to {to} is {what}: choose another folder")
    files, way = find_files(recipe, folder)
    if (missing := [case for case in recipe.cases if case not in files]) and not skip_missing:
        raise DataError(_missing(recipe, folder, missing))
    steps = way.steps if isinstance(way, H5) else recipe.steps
    made_by = {"recipe": recipe.id, "lists": recipe.hash, "steps": _hash_of(way, steps)}
    done = _earlier(to, made_by)
    if isinstance(way, Raw):
        _look_at_grids(recipe, files, warn)

    def write_record() -> None:
        to.mkdir(parents=True, exist_ok=True)
        replace_text(to / PREPARED, json.dumps(made_by | {"preparation": recipe.preparation, "cases": done}, indent=1))

    try:
        write_record()  # before the first case, so that an interrupted preparation is recognised
        _describe(recipe, to, missing)
        of_voxels: dict[str, str] = {}
        for case in [name for name in recipe.cases if name in files]:
            source = _content(files[case])
            image, label = (to / name / f"{case}.nii.gz" for name in ("imagesTr", "labelsTr"))
            new = case not in done or done[case]["files"] != source or not (image.is_file() and label.is_file())
            scan = _read(recipe, way, files[case]) if new else None
            voxels = hashlib.sha256(scan.image.tobytes()).hexdigest() if new else done[case]["voxels"]
            if (other := of_voxels.setdefault(voxels, case)) != case:
                raise DataError(
                    f"{folder}: {case} and {other} have the same image ({files[case].image} and {files[other].image}): "
                    "download one of them again"
                )
            if scan is not None:
                _write(_stepped(scan, steps, files[case]), list(recipe.structures.values()), image, label)
                done[case] = {"files": source, "voxels": voxels}
                write_record()
            yield case
    except OSError as error:
        raise DataError(f"cannot write to {to}: {error}") from error


def _missing(recipe: Recipe, folder: Path, missing: list[str]) -> str:
    gone = [f"{case} ({recipe.gone[case]})" for case in missing if case in recipe.gone]
    others = [case for case in missing if case not in recipe.gone]
    what = "; ".join(
        [f"cannot be downloaded any more: {', '.join(gone)}"] * bool(gone)
        + [f"not there: {shorten_list(others)}"] * bool(others)
    )
    return (
        f"{folder} lacks {len(missing)} of {len(recipe.cases)} cases of {recipe.title}; {what}. Add them, or go on "
        "without them by --skip-missing. Results are then not comparable with published ones"
    )


def _earlier(to: Path, made_by: dict[str, str]) -> dict[str, dict[str, str]]:
    """The cases of an earlier preparation. Raises DataError if it was by another recipe or other steps."""
    path = to / PREPARED
    if not path.exists():
        if (to / "imagesTr").exists():
            raise DataError(f"{to} holds scans that no recipe prepared: choose another folder with --to")
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        cases = {
            case: {name: found[name] for name in ("files", "voxels")} for case, found in stored.pop("cases").items()
        }
        stored.pop("preparation")
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}): remove {to} and prepare the cases again") from error
    if stored != made_by:
        raise DataError(
            f"{to} holds cases of recipe {stored.get('recipe')}, prepared by other steps or from other files: choose "
            "another folder with --to"
        )
    return cases


def _describe(recipe: Recipe, to: Path, missing: list[str]) -> None:
    for name in ("imagesTr", "labelsTr"):
        (to / name).mkdir(parents=True, exist_ok=True)
    described = {"name": recipe.title.split(",")[0], "labels": {"background": 0} | recipe.structures}
    replace_text(to / "dataset.json", json.dumps(described, indent=1))
    lists = recipe.lists
    sides = {"train": [*lists.train, *lists.validation], "validation": lists.validation, "test": lists.test}
    for side, cases in sides.items():
        there = [case for case in cases if case not in missing]
        if side != "validation" and not there:
            raise DataError(
                f"no case of the {side} list of {recipe.title} is there: download some of {shorten_list(cases)}"
            )
        replace_text(to / f"{side}.list", "".join(f"{case}\n" for case in there))


def _content(files: CaseFiles) -> str:
    """A sha256 of the files of a case. Of a DICOM series each file counts."""
    image = sorted(path for path in files.image.rglob("*") if path.is_file()) if files.image.is_dir() else [files.image]
    return hashlib.sha256(raw_hashes((*image, files.label)).encode()).hexdigest()


def _look_at_grids(recipe: Recipe, files: dict[str, CaseFiles], warn: Callable[[str], None]) -> None:
    """Warn of scans along other axes than most. Refuse other voxels than most, unless the steps make them equal.

    Only headers are read. Steps take voxels as they are stored, so a turned scan stays turned.

    Raises:
        DataError: a voxel size differs.
    """
    reading = _reading_of(recipe)
    grids = {case: read_geometry(found.image, reading) for case, found in files.items() if not found.image.is_dir()}
    if not grids:
        return
    axes = {case: orientation_of(blank_image(grid, (1, 1, 1))) for case, grid in grids.items()}
    [(most, _)] = Counter(axes.values()).most_common(1)
    if turned := [f"{files[case].image.name} ({found})" for case, found in axes.items() if found != most]:
        warn(
            f"{len(turned)} of {len(axes)} scans are stored along other axes than most ({most}), so they are turned or "
            f"mirrored: {shorten_list(turned)}. Steps use voxels as stored; store these scans anew, or leave them out"
        )
    if any(step.resample or step.voxel for step in recipe.steps):
        return
    sizes = {case: by(round(side, 3) for side in grid.spacing) for case, grid in grids.items()}
    [(most, _)] = Counter(sizes.values()).most_common(1)
    if other := [f"{files[case].image.name} has voxels of {size} mm" for case, size in sizes.items() if size != most]:
        raise DataError(f"{shorten_list(other)}, and most scans of {most} mm: download it again")


def _reading_of(recipe: Recipe) -> Reading:
    """A first step `voxel: unit` needs no voxel size, so files that state two are no error."""
    return WITHOUT_SIZE if recipe.steps and recipe.steps[0].voxel == "unit" else AS_STORED


def _read(recipe: Recipe, way: Raw | H5, files: CaseFiles) -> Scan:
    return _from_h5(recipe, way, files) if isinstance(way, H5) else _from_raw(recipe, way, files)


def _stepped(scan: Scan, steps: list[Step], files: CaseFiles) -> Scan:
    for step in steps:
        try:
            scan = step(scan)
        except DataError as error:
            raise DataError(f"{files.image}: {error}") from error
    return scan


def _from_h5(recipe: Recipe, way: H5, files: CaseFiles) -> Scan:
    image, geometry = read_image(files.image, WITHOUT_SIZE)
    label, label_geometry = read_label(files.label, WITHOUT_SIZE, list(recipe.structures.values()))
    if differences := label_geometry.differences(geometry):
        raise DataError(f"{files.label}: image and label differ, {', '.join(differences)}: download the file again")
    if way.axes == "zyx":
        image, label = image.transpose(2, 1, 0), label.transpose(2, 1, 0)
    return Scan(image, label, geometry.spacing)


def _from_raw(recipe: Recipe, way: Raw, files: CaseFiles) -> Scan:
    reading = _reading_of(recipe)
    image, geometry = read_series(files.image) if files.image.is_dir() else read_image(files.image, reading)
    stored = {value: way.values.get(value, [value]) for value in recipe.structures.values()}
    label, label_geometry = read_label(files.label, reading, [v for values in stored.values() for v in values])
    owners = [number for number, values in enumerate(stored.values(), 1) for _ in values]
    label = np.array([0, *owners], np.uint8)[label]
    if way.label_grid == "header":
        mismatch = label_geometry.mismatch(geometry, reading.grid_tolerance)
    else:
        mismatch = "" if label.shape == image.shape else f"{label.shape} voxels, not {image.shape}"
    if mismatch:
        raise DataError(f"{files.label}: not on the grid of {files.image}: {mismatch}: download both again")
    if not label.any():
        raise DataError(f"{files.label}: the label is empty: download it again")
    if way.label_intensity is not None:
        low, high = way.label_intensity
        if not low <= (median := float(np.median(image[label > 0]))) <= high:
            raise DataError(
                f"{files.label}: the median of the image within the label is {median:.0f}, not {low:g} to {high:g}: "
                "image and label are turned against each other, or the image has other units"
            )
    return Scan(image, label, geometry.spacing)


def _write(scan: Scan, values: list[int], image: Path, label: Path) -> None:
    geometry = Geometry(scan.image.shape, scan.spacing, (0.0, 0.0, 0.0), IDENTITY, "stored")
    write_image(image, scan.image, geometry)
    write_labels(label, scan.label, geometry, values)


def _hash_of(way: Raw | H5, steps: list[Step]) -> str:
    text = json.dumps([block.model_dump(mode="json", exclude_unset=True) for block in (way, *steps)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
