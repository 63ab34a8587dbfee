"""Which experiments are compared over several data sets, and which of their budgets belong together."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.records.files import ResultsError
from reports.results import Results
from reports.tables.published_and_tuned import protocol_differences

ALIKE = 1.25  # shares of labelled cases up to this factor apart belong together
NONE = "-"  # where a data set has no budget of a declared level


@dataclass(frozen=True)
class Level:
    """Budgets of several data sets that are compared with each other.

    name: what the table calls it. labelled: {data set: number of labelled cases}, of the data sets that have it.
    """

    name: str
    labelled: dict[str, int]


def datasets_of(experiments: Sequence[Results]) -> tuple[dict[str, int], str]:
    """Find the experiment of each data set, to be compared over data sets.

    Data sets are told apart by the name that tables give them (`data.name`). Experiments with tuned settings are left
    out beside others.

    Args:
        experiments: what `read_folders` has found. Those of one data set and protocol are one experiment by then.

    Returns:
        {data set: place of its experiment}, in the order given. It is empty if there is only one data set, and if a
        data set has several experiments: no table mixes two protocols. Then the second value is the reason.
    """
    published = [place for place, results in enumerate(experiments) if results.plan.tuned is None]
    found: dict[str, int] = {}
    places = published or range(len(experiments))
    names = {place: experiments[place].plan.data.name for place in places}
    if len(set(names.values())) < 2:
        return {}, ""
    tested: dict[str, str] = {}
    for place, name in names.items():
        plan = experiments[place].plan
        if name in found:
            return {}, _two_experiments(experiments[found[name]], experiments[place])
        cases = plan.data.stored_fingerprints.get("test", plan.data.fingerprint)
        if cases in tested:
            return {}, f"{tested[cases]} and {name} have the same test cases, so they are one data set."
        found[name], tested[cases] = place, name
    return found, ""


def _two_experiments(first: Results, second: Results) -> str:
    plans = (first.plan, second.plan)
    differing = " and ".join(protocol_differences(*plans)) or "name or report.margin"
    return (
        f"{first.plan.data.name} has two experiments here, which differ in {differing}: {plans[0].title} and "
        f"{plans[1].title}. No table mixes them. Report on one of them, or give other data another data.name."
    )


def levels_by_share(budgets: Mapping[str, Sequence[int]], training: Mapping[str, int]) -> list[Level]:
    """Match budgets by their share of the training cases.

    Shares belong together that are up to a factor of 1.25 apart, at most one of each data set.

    Args:
        budgets: for each data set, its numbers of labelled cases.
        training: for each data set, the number of training cases.

    Returns:
        The levels, ascending. A budget that is alone in its level is not in them.

    Example:
        >>> for level in levels_by_share({"LA": [4, 8, 16], "Pancreas": [6, 12]}, {"LA": 80, "Pancreas": 62}):
        ...     print(level.name, level.labelled)
        10 % labelled {'LA': 8, 'Pancreas': 6}
        about 20 % labelled {'LA': 16, 'Pancreas': 12}
    """
    shares = sorted(
        (100 * labelled / training[name], place, name, labelled)
        for place, name in enumerate(budgets)
        for labelled in budgets[name]
    )
    groups: list[list] = []
    for share in shares:
        near = groups and share[0] <= ALIKE * groups[-1][0][0] and share[2] not in {of[2] for of in groups[-1]}
        if near:
            groups[-1].append(share)
        else:
            groups.append([share])
    return [_level(group, list(budgets)) for group in groups if len(group) > 1]


def _level(group: list, order: list[str]) -> Level:
    shares = [share for share, *_ in group]
    printed = set(map(_percent, shares))
    name = printed.pop() if len(printed) == 1 else f"about {_percent(sum(shares) / len(shares))}"
    labelled = {name: labelled for _, _, name, labelled in group}
    return Level(f"{name} % labelled", {name: labelled[name] for name in order if name in labelled})


def _percent(share: float) -> str:
    return f"{share:.0f}" if share >= 5 else f"{share:.2g}"


def declared_levels(texts: Sequence[str], budgets: Mapping[str, Sequence[int]]) -> list[Level]:
    """Read which budgets belong together, as the command line gives it.

    Args:
        texts: NAME=NUMBER,NUMBER,...: one number of labelled cases for each data set, or - where it has none.
        budgets: for each data set in the order of these numbers, its numbers of labelled cases.

    Raises:
        ResultsError: a text cannot be read, or names a budget that a data set does not have.

    Example:
        >>> declared_levels(["few=8,6"], {"LA": [4, 8], "Pancreas": [6]})
        [Level(name='few', labelled={'LA': 8, 'Pancreas': 6})]
    """
    levels: list[Level] = []
    of = ", ".join(f"{name} {'/'.join(map(str, numbers))}" for name, numbers in budgets.items())
    for text in texts:
        name, _, numbers = (part.strip() for part in text.partition("="))
        given = [number.strip() for number in numbers.split(",")]
        if not name or len(given) != len(budgets) or not all(re.fullmatch(rf"\d{{1,9}}|{NONE}", n) for n in given):
            raise ResultsError(f"--budget {text}: give NAME= and a number or {NONE} for each of these, in order: {of}")
        labelled = {where: int(n) for where, n in zip(budgets, given, strict=True) if n != NONE}
        for where, number in labelled.items():
            if number not in budgets[where]:
                raise ResultsError(
                    f"--budget {text}: {where} has no budget of {number} labelled cases. There are: {of}"
                )
        if len(labelled) < 2:
            raise ResultsError(f"--budget {text}: name the budgets of at least two data sets")
        if name in {level.name for level in levels}:
            raise ResultsError(f"--budget {text}: {name} is given twice; choose another name for one of them")
        levels.append(Level(name, labelled))
    return levels
