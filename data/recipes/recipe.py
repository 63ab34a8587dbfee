"""What a recipe says, and where recipes lie."""

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from data.case import DataError, shorten_list
from data.dataset_json import problem_of_labels
from data.recipes.steps import Step
from data.splits import split_hash

FOLDER = Path(__file__).resolve().parents[2] / "configs/recipes"
OTHER_CASES = ", other cases"  # behind the name of a recipe whose lists are not the published ones
PREPARED = "prepared.json"  # beside prepared cases: by which recipe, and what each was made from


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _words(text: Any) -> Any:
    return text.split() if isinstance(text, str) else text


Names = Annotated[list[str], BeforeValidator(_words)]


class Raw(_Block):
    """How files of the original distribution are found and read.

    Patterns are paths below the folder that the user gives. `**/` stands for any folders and `*` for any part of a
    name. {case} and other names in braces stand for what tells cases apart. {number} stands for digits. {rank} stands
    for digits, too, and becomes 01, 02, … among files that differ in nothing else.
    """

    image: str = Field(description="pattern of the image: a scan, or a folder with one DICOM series")
    label: str = Field(description="pattern of the label")
    case: str = Field("{case}", description="the name of the case in the lists")
    values: dict[int, list[int]] = Field({}, description="values in label files of each structure, if they differ")
    label_grid: Literal["header", "index"] = Field(
        "header", description="index: the label's voxels are those of the image in the same order, whatever its header"
    )
    label_intensity: tuple[float, float] | None = Field(
        None, description="the median of the image within the label lies between these, or the label is turned"
    )


class H5(_Block):
    """How the h5 files are found that papers share, already prepared."""

    file: str = Field(description="pattern of the file with `image` and `label`")
    case: str = "{case}"
    axes: Literal["xyz", "zyx"] = "xyz"
    steps: list[Step] = []


class Lists(_Block):
    """Names of cases in the published order. Labelled are the first ones of `train`."""

    train: Names
    validation: Names = []
    test: Names


class Recipe(_Block):
    """A data set with one of its published protocols.

    Example:
        >>> recipe = read_recipe("acdc")
        >>> recipe.title, len(recipe.lists.train), recipe.labelled
        ('ACDC, as in SSL4MIS', 140, [6, 14])
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    used_by: str = Field(description="papers with this protocol")
    source: str = Field(description="where the data are had")
    licence: str
    citation: str
    obtain: str = Field(description="what to download by hand, and how the folder looks then")
    leaks: str = Field("", description="what the preparation knows of the ground truth, of test cases too")
    uncertain: list[str] = Field([], description="what no source settles; each with its mark [A], [M] or [T]")
    structures: dict[str, int]
    raw: Raw | None = Field(None, description="none: the preparation is documented nowhere, or has its own command")
    h5: H5 | None = None
    steps: list[Step] = Field([], description="from the raw scan to the case, in this order")
    lists: Lists
    labelled: list[int] = Field(description="published numbers of labelled training cases")
    gone: dict[str, str] = Field({}, description="cases that can no longer be downloaded, and why")
    selection: str = Field(description="which checkpoint published figures are of")
    experiment: dict[str, Any] = Field(description="defaults of experiments with this recipe")

    @model_validator(mode="after")
    def _lists_are_disjoint(self) -> "Recipe":
        named = [*self.lists.train, *self.lists.validation, *self.lists.test]
        if twice := sorted({case for case in named if named.count(case) > 1}):
            raise ValueError(f"lists name {shorten_list(twice)} twice: remove one")
        if problem := problem_of_labels(self.structures):
            raise ValueError(f"structures: {problem}")
        return self

    @property
    def cases(self) -> list[str]:
        """All names, training cases first."""
        return [*self.lists.train, *self.lists.validation, *self.lists.test]

    @property
    def preparation(self) -> str:
        """What tables say of the images."""
        return f"prepared as in {self.used_by.split(',')[0]}" + f"; {self.leaks}" * bool(self.leaks)

    @property
    def hash(self) -> str:
        """Of the names in the lists, as reports show it for a split."""
        return split_hash([*self.lists.train, *self.lists.validation], self.lists.test)


def recipe_names() -> list[str]:
    """The recipes that come with the project, sorted.

    Example:
        >>> "pancreas_a" in recipe_names()
        True
    """
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_recipe(name: str | Path) -> Recipe:
    """Read a recipe.

    Args:
        name: one of the project's recipes, or the path of a YAML file of your own.

    Raises:
        DataError: there is no such recipe, or the file is wrong. The message names the key.
    """
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    return _read(path)


@cache
def _read(path: Path) -> Recipe:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"there is no recipe {path.stem!r}: choose one of {', '.join(recipe_names())}, or give a YAML file"
        ) from error
    try:
        return Recipe.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise DataError(f"recipe {path} is not valid YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "recipe"
        raise DataError(f"recipe {path}, key {key!r}: {first['msg'].removeprefix('Value error, ')}") from error


def recipe_of(folder: Path, train: list[str], test: list[str]) -> tuple[str, str | None]:
    """The recipe by which a folder's cases were prepared, and what tables say of it; "" and None without one.

    With other cases than the published lists have, that is said beside its name.

    Raises:
        DataError: the file that says it is damaged.
    """
    path = folder / PREPARED
    if not path.is_file():
        return "", None
    try:
        prepared = json.loads(path.read_text(encoding="utf-8"))
        name, lists, preparation = (str(prepared[key]) for key in ("recipe", "lists", "preparation"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}): prepare the cases again") from error
    return name if split_hash(train, test) == lists else f"{name}{OTHER_CASES}", preparation
