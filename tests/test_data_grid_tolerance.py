"""How far the grid of a label may be from that of its image."""

import pytest
from helpers.scan_folder import blob, scan, write
from pydantic import TypeAdapter

from data.case import DataError
from data.geometry import Geometry
from data.sources import DataSettings, open_source

AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SPACING = (0.7, 0.7, 5.0)


def folder(tmp_path, **label):
    for name in "AB":
        write(tmp_path / f"imagesTr/{name}.nii.gz", scan(ord(name)), spacing=SPACING, origin=(0, 0, 0))
        write(tmp_path / f"labelsTr/{name}.nii.gz", blob(), **{"spacing": SPACING, "origin": (0, 0, 0)} | label)
    return {"source": "folder", "root": str(tmp_path), "labels": {"organ": 1}, "split": {"test": 0.5}}


def read(values, **more):
    return open_source(TypeAdapter(DataSettings).validate_python(values | more)).read("A")


@pytest.mark.parametrize(
    ("label", "accepts"),
    [
        ({"origin": (0.0087, 0, 0)}, 0.013), ({"spacing": (0.7, 0.7, 5.002)}, 0.029),
        ({"origin": (0, 0.1, 0.1)}, 0.21), ({"spacing": (0.71, 0.7, 5)}, 0.15),
    ],
)  # fmt: skip
def test_a_difference_is_refused_with_the_tolerance_that_accepts_it(tmp_path, label, accepts):
    values = folder(tmp_path, **label)
    with pytest.raises(DataError, match=f"not on its image's grid: .*; data.grid_tolerance {accepts} accepts this"):
        read(values)
    with pytest.raises(DataError, match="not on its image's grid"):
        read(values, grid_tolerance=accepts / 1.2)
    case = read(values, grid_tolerance=accepts)
    assert case.spacing == pytest.approx(SPACING), "the image's grid counts"


@pytest.mark.parametrize("label", [{"origin": (0, 0, 5)}, {"spacing": (0.7, 0.7, 3)}, {"code": "RAS"}])
def test_another_grid_is_no_matter_of_tolerance(tmp_path, label):
    values = folder(tmp_path, **label)
    for more in ({}, {"grid_tolerance": 0.5}):
        with pytest.raises(DataError, match="not on its image's grid") as caught:
            read(values, **more)
        assert "grid_tolerance" not in str(caught.value)


@pytest.mark.parametrize("change", [{"origin": (0.006, 0, 0)}, {"spacing": (0.70003, 0.7, 5.0005)}])
def test_rounding_is_welcome(tmp_path, change):
    assert read(folder(tmp_path, **change)).label.any()


def test_the_tolerance_counts_in_the_cache_where_it_is_set(tmp_path):
    values = folder(tmp_path)
    keys = [
        open_source(TypeAdapter(DataSettings).validate_python(values | more)).content_key("A")
        for more in ({}, {"grid_tolerance": 0.01}, {"grid_tolerance": 0.02})
    ]
    assert keys[0] == keys[1] != keys[2]


def test_the_tolerance_that_is_named_accepts():
    first = Geometry((9, 9, 9), SPACING, (0.0, 0.0, 0.0), AXES, "RAS")
    for off in (0.0071, 0.0123456, 0.1, 0.2999):
        other = Geometry((9, 9, 9), SPACING, (off, 0.0, 0.0), AXES, "RAS")
        named = float(first.mismatch(other, 0.01).split("data.grid_tolerance ")[1].split()[0])
        assert not first.mismatch(other, named)
