"""Finds the files of a distribution by the patterns of a recipe."""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from data.case import DataError, shorten_list
from data.recipes.recipe import H5, Raw, Recipe

DIGITS = ("number", "rank")


class CaseFiles(NamedTuple):
    """The image and the label of a case. They are one file for h5."""

    image: Path
    label: Path


def find_files(recipe: Recipe, folder: Path) -> tuple[dict[str, CaseFiles], Raw | H5]:
    """The cases that a folder holds: h5 files as papers share them, else those of the original distribution.

    Args:
        recipe: has the patterns.
        folder: where to look, at any depth.

    Returns:
        {case: files}, and which of the recipe's two ways found them.

    Raises:
        DataError: there is no such folder, no case in it, a case twice, or an image without a label.
    """
    if not folder.is_dir():
        raise DataError(f"--from {folder}: there is no such folder; give the one with the downloaded files")
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    if recipe.h5 is not None and (found := _by_case(recipe.h5.file, recipe.h5.case, paths)):
        return {case: CaseFiles(folder / path, folder / path) for case, path in found.items()}, recipe.h5
    found = {} if recipe.raw is None else _by_case(recipe.raw.image, recipe.raw.case, paths)
    if not found:
        ways = [way for way in (recipe.raw and recipe.raw.image, recipe.h5 and recipe.h5.file) if way]
        raise DataError(
            f"{folder} holds no case of {recipe.title}, no {' and no '.join(ways)}: {recipe.obtain.strip()}"
        )
    labels = _by_case(recipe.raw.label, recipe.raw.case, paths)
    if lacking := [case for case in found if case not in labels and case in recipe.cases]:
        raise DataError(
            f"{folder}: {shorten_list(lacking)} without a label ({recipe.raw.label}): add the distributed labels"
        )
    return {
        case: CaseFiles(folder / found[case], folder / labels[case]) for case in found if case in labels
    }, recipe.raw


def _by_case(pattern: str, case: str, paths: list[str]) -> dict[str, str]:
    """{name of the case: path} of the paths that fit. Raises DataError if two paths are of one case."""
    expression = re.compile(_expression(pattern))
    matches = [(path, match.groupdict()) for path in paths if (match := expression.fullmatch(path))]
    found: dict[str, str] = {}
    for path, groups in zip([path for path, _ in matches], _ranked([groups for _, groups in matches]), strict=True):
        name = case.format(**groups)
        if name in found:
            raise DataError(f"case {name} is there twice, as {found[name]} and as {path}: remove one")
        found[name] = path
    return found


def _expression(pattern: str) -> str:
    """A pattern as a regular expression.

    Example:
        >>> re.fullmatch(_expression("**/{case}_flair.nii*"), "HGG/a_1/a_1_flair.nii.gz")["case"]
        'a_1'
    """
    parts = []
    for part in re.split(r"(\*\*/|\*|\{\w+\})", pattern):
        if part.startswith("{"):
            name = part[1:-1]
            parts.append(f"(?P<{name}>{'[0-9]+' if name in DIGITS else '[^/]+?'})")
        else:
            parts.append({"**/": "(?:.*/)?", "*": "[^/]*"}.get(part, re.escape(part)))
    return "".join(parts)


def _ranked(found: list[Mapping[str, str]]) -> list[dict[str, str]]:
    """With {rank} as 01, 02, … among those that agree in everything else."""
    ranks: dict[tuple, set[int]] = defaultdict(set)
    for groups in found:
        if "rank" in groups:
            ranks[_others(groups)].add(int(groups["rank"]))
    return [
        dict(groups) | ({"rank": f"{sorted(ranks[_others(groups)]).index(int(groups['rank'])) + 1:02d}"}
                        if "rank" in groups else {})
        for groups in found
    ]  # fmt: skip


def _others(groups: Mapping[str, str]) -> tuple:
    return tuple(value for name, value in groups.items() if name != "rank")
