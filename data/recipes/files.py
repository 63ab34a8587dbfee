"""Finds the files of a distribution by the patterns of a recipe."""

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from data.case import DataError, shorten_list
from data.recipes.recipe import H5, PREPARED, Raw, Recipe

DIGITS = ("number", "rank")


class CaseFiles(NamedTuple):
    """The image and the label of a case. They are one file for h5."""

    image: Path
    label: Path


class Match(NamedTuple):
    """A path below the user's folder that fits a pattern, and what the names in braces stand for."""

    path: str
    groups: dict[str, str]

    @property
    def others(self) -> tuple[tuple[str, str], ...]:
        """All but the rank."""
        return tuple((name, value) for name, value in self.groups.items() if name != "rank")


def find_files(recipe: Recipe, folder: Path) -> tuple[dict[str, CaseFiles], Raw | H5]:
    """The cases that a folder holds: h5 files as papers share them, else those of the original distribution.

    Capitals make no difference, and links to folders are followed.

    Args:
        recipe: has the patterns.
        folder: where to look, at any depth.

    Returns:
        {case: files} of the cases in the recipe's lists, and which of the recipe's two ways found them.

    Raises:
        DataError: there is no such folder, no case in it, a case twice, an image without a label, or some of the files
            that only their rank tells apart.
    """
    if not folder.is_dir():
        raise DataError(f"--from {folder}: there is no such folder; give the one with the downloaded files")
    paths = _paths_below(folder)
    if recipe.h5 is not None and (found := _by_case(_matches(recipe.h5.file, paths), recipe.h5.case, recipe, {})):
        return {case: CaseFiles(folder / path, folder / path) for case, path in found.items()}, recipe.h5
    if recipe.raw is not None and (found := _raw_files(recipe, recipe.raw, paths, folder)):
        return found, recipe.raw
    raise DataError(f"{folder} holds no case of {recipe.title}. {recipe.obtain.strip()}")


def _raw_files(recipe: Recipe, raw: Raw, paths: list[str], folder: Path) -> dict[str, CaseFiles]:
    images, labels = _matches(raw.image, paths), _matches(raw.label, paths)
    ranks = _ranks([*images, *labels], recipe, raw, folder)
    image_of, label_of = (_by_case(matches, raw.case, recipe, ranks) for matches in (images, labels))
    if lacking := [path for case, path in image_of.items() if case not in label_of]:
        raise DataError(f"{folder}: {shorten_list(lacking)} without a label ({raw.label}): add the distributed labels")
    return {case: CaseFiles(folder / path, folder / label_of[case]) for case, path in image_of.items()}


def _paths_below(folder: Path) -> list[str]:
    """All files and folders, sorted; folders end with a slash. Folders with prepared cases are left out."""
    found, seen = [], set()
    for inner, folders, files in os.walk(folder, followlinks=True):
        at = Path(inner).relative_to(folder)
        real = os.path.realpath(inner)
        if real in seen or PREPARED in files:  # a link that leads back, or what `data prepare` wrote
            folders.clear()
            continue
        seen.add(real)
        found += [(at / name).as_posix() + "/" for name in folders] + [(at / name).as_posix() for name in files]
    return sorted(found)


def _matches(pattern: str, paths: list[str]) -> list[Match]:
    """The paths that fit. Folders fit only a pattern without an ending, which is of a DICOM series."""
    expression = re.compile(_expression(pattern), re.IGNORECASE)
    of_folders = "." not in pattern.rsplit("/", 1)[-1]
    return [
        Match(path.rstrip("/"), match.groupdict())
        for path in paths
        if path.endswith("/") == of_folders and (match := expression.fullmatch(path.rstrip("/")))
    ]


def _by_case(matches: list[Match], case: str, recipe: Recipe, ranks: dict[tuple, list[int]]) -> dict[str, str]:
    """{case of the lists: its path}. Raises DataError if two paths are of one case."""
    names = {name.lower(): name for name in recipe.cases}
    found: dict[str, str] = {}
    for path, groups in [(match.path, _with_rank(match, ranks)) for match in matches]:
        if (name := names.get(case.format(**groups).lower())) is None:
            continue
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


def _ranks(matches: list[Match], recipe: Recipe, raw: Raw, folder: Path) -> dict[tuple, list[int]]:
    """The numbers in file names, in their order, of images and labels that differ in nothing else.

    Raises:
        DataError: these are not as many as the recipe lists. Then no one can tell which is the first.
    """
    found: dict[tuple, set[int]] = defaultdict(set)
    paths: dict[tuple, str] = {}
    for match in matches:
        if "rank" in match.groups:
            found[match.others].add(int(match.groups["rank"]))
            paths[match.others] = match.path
    names = {name.lower() for name in recipe.cases}
    for others, numbers in found.items():
        listed = 0
        while raw.case.format(**dict(others), rank=f"{listed + 1:02d}").lower() in names:
            listed += 1
        if listed and len(numbers) != listed:
            raise DataError(
                f"{folder}: of files like {paths[others]} there are {len(numbers)} numbers "
                f"({', '.join(map(str, sorted(numbers)))}) instead of {listed}, so no one can tell which is which: "
                "complete them, or remove these"
            )
    return {others: sorted(numbers) for others, numbers in found.items()}


def _with_rank(match: Match, ranks: dict[tuple, list[int]]) -> dict[str, str]:
    """Its groups, with {rank} as 01, 02, …"""
    if "rank" not in match.groups:
        return match.groups
    place = ranks[match.others].index(int(match.groups["rank"])) + 1
    return match.groups | {"rank": f"{place:02d}"}
