"""The grid on which a rule for stars and rings must keep its promise. It was written before any result was seen.

A *star* marks a row that differs from the reference, a *ring* a pair in the map of all pairs. In every setting no two
methods truly differ, so each star and each ring is false. A rule passes if in every setting at most 5.5 % of the
families have a false star, and at most 5.5 % have a false ring. Power is how often the second method gets its star
when it is truly better by `gap`.

The 5.5 % are judged in two steps, because the highest of several hundred estimated rates is too high by chance. First
every setting is simulated. Then the settings with the highest rates are simulated again with new random numbers and
more replications. The second rates decide.

A second grid has draws of the labelled cases that all methods share, in place of seeds. The test pairs them.

`make stars` prints the tables of docs/calibration.md.
"""

import sys
from dataclasses import dataclass
from itertools import product

import numpy as np

from reports.statistics.family_simulation import FamilyDesign, simulate_family, star_and_ring_rates, star_power

SEEDS, DRAWS, CASES, METHODS = (2, 3, 5), (4, 5, 10), (12, 20, 40), (4, 8, 18)
LIMIT = 0.055
CALMEST, WILDEST = 0.2, 5.0  # seed SDs between which methods lie where they are unequal


@dataclass(frozen=True)
class Scenario:
    """One way in which scores vary.

    Attributes:
        name: how tables call it.
        sds: seed, method by case and residual, in points of Dice.
        reference: "alike", if all methods have the same seed SD. Else the seed SDs differ, and this says where the
            reference stands: "calmest", "middle" or "wildest" of SDs from 0.2 to 5 in equal ratios; "alone" if it has
            5 and all others the first of `sds`.
        gap: true difference with which power is measured, in points of Dice.
        heavy, dead: as in `FamilyDesign`.
    """

    name: str
    sds: tuple[float, float, float]
    reference: str
    gap: float
    heavy: bool = False
    dead: float = 0.0

    def design(self, seeds: int, cases: int, methods: int) -> FamilyDesign:
        """The scenario at one size of the family."""
        seed_sd, interaction_sd, residual_sd = self.sds
        spread = np.geomspace(CALMEST, WILDEST, methods).tolist()
        seed_sds = {
            "alike": [seed_sd] * methods,
            "calmest": spread,
            "wildest": spread[::-1],
            "middle": _first(spread, methods // 2),
            "alone": [WILDEST] + [seed_sd] * (methods - 1),
        }[self.reference]
        if self.reference in ("calmest", "wildest"):
            seed_sds[1:] = _first(seed_sds[1:], (methods - 1) // 2)  # power is that of a row from the middle
        counts = (seeds,) * methods
        return FamilyDesign(counts, cases, tuple(seed_sds), interaction_sd, residual_sd, self.heavy, self.dead)


def _first(values: list[float], place: int) -> list[float]:
    """The same values with that of `place` in front."""
    return [values[place], *values[:place], *values[place + 1 :]]


SCENARIOS = (
    Scenario("0.8 / 1 / 1", (0.8, 1, 1), "alike", gap=3),
    Scenario("0.3 / 2 / 2", (0.3, 2, 2), "alike", gap=3),
    Scenario("3 / 1 / 1", (3, 1, 1), "alike", gap=8),
    Scenario("0.2 / 1 / 1", (0.2, 1, 1), "alike", gap=2),
    Scenario("seeds 0.2 to 5, reference calmest", (0, 1, 1), "calmest", gap=5),
    Scenario("seeds 0.2 to 5, reference in the middle", (0, 1, 1), "middle", gap=5),
    Scenario("seeds 0.2 to 5, reference wildest", (0, 1, 1), "wildest", gap=12),
    Scenario("0.8 / 1 / 1, reference 5", (0.8, 1, 1), "alone", gap=12),
    Scenario("0.8 / 1 / 1, heavy tails", (0.8, 1, 1), "alike", gap=3, heavy=True),
    Scenario("3 / 1 / 1, heavy tails", (3, 1, 1), "alike", gap=8, heavy=True),
    Scenario("0.8 / 1 / 1, 6 % dead runs", (0.8, 1, 1), "alike", gap=3, dead=0.06),
)


@dataclass(frozen=True)
class Setting:
    """A place of a grid. crossed: whether its runs are draws that all methods share."""

    scenario: Scenario
    design: FamilyDesign
    crossed: bool


def _grid(runs: tuple[int, ...], crossed: bool) -> tuple[Setting, ...]:
    return tuple(
        Setting(scenario, scenario.design(count, cases, methods), crossed)
        for scenario, count, cases, methods in product(SCENARIOS, runs, CASES, METHODS)
    )


GRIDS = {"Seeds": _grid(SEEDS, crossed=False), "Draws": _grid(DRAWS, crossed=True)}
GRID = GRIDS["Seeds"] + GRIDS["Draws"]

REPLICATIONS, AT_ONCE = 2000, 2000
HIGHEST, MORE_REPLICATIONS = 16, 20_000


def simulated(place: int, replications: int = REPLICATIONS) -> list[float]:
    """Rates of the setting at this place of GRID: star, ring and power, with the pool and then without it."""
    setting = GRID[place]
    rng = np.random.default_rng([0, place])
    equal, unequal = (simulate_family(setting.design, replications, rng, gap) for gap in (0, setting.scenario.gap))
    rates = [
        (*star_and_ring_rates(equal, pooled, setting.crossed), star_power(unequal, pooled, setting.crossed))
        for pooled in (True, False)
    ]
    return [rate for of_rule in rates for rate in of_rule]


def simulated_again(place: int, replications: int = MORE_REPLICATIONS) -> tuple[float, float]:
    """Rates of false stars and rings at this place of GRID, with other random numbers."""
    rng = np.random.default_rng([1, place])
    setting, parts = GRID[place], replications // AT_ONCE
    rates = [
        star_and_ring_rates(simulate_family(setting.design, AT_ONCE, rng), crossed=setting.crossed)
        for _ in range(parts)
    ]
    star, ring = np.mean(rates, axis=0)
    return float(star), float(ring)


def overview(name: str, rates: np.ndarray) -> str:
    """The first table of a grid; `rates` has a line of `simulated` for each of its settings."""
    lines = [
        f"| Seed, method-by-case, residual SD | {name} | False star [%] | False ring [%] | Power [%]"
        " | Without pool: false star [%] | False ring [%] | Power [%] |",
        "| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    places: dict[tuple[str, int], list[int]] = {}
    for place, setting in enumerate(GRIDS[name]):
        places.setdefault((setting.scenario.name, setting.design.seeds[0]), []).append(place)
    for key, of in places.items():
        highest, power = 100 * rates[of].max(0), 100 * rates[of].mean(0)
        numbers = [highest[0], highest[1], power[2], highest[3], highest[4], power[5]]
        lines.append(_line(*key, *(f"{number:.1f}" for number in numbers)))
    return "\n".join(lines)


def highest_again(name: str, rates: np.ndarray) -> str:
    """The second table of a grid: the settings with the highest rates, with new random numbers."""
    lines = [
        f"| Seed, method-by-case, residual SD | {name} | Cases | Methods | False star [%] | False ring [%] |",
        "| :--- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for place in np.argsort(-rates[:, :2].max(1), kind="stable")[:HIGHEST]:
        setting = GRIDS[name][place]
        again = simulated_again(GRID.index(setting))
        sizes = (setting.design.seeds[0], setting.design.cases, len(setting.design.seeds))
        lines.append(_line(setting.scenario.name, *sizes, *(f"{100 * rate:.1f}" for rate in again)))
    return "\n".join(lines)


def _line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    for name in sys.argv[1:] or GRIDS:
        rates = np.array([simulated(GRID.index(setting)) for setting in GRIDS[name]])
        sys.stdout.write(f"{overview(name, rates)}\n\n{highest_again(name, rates)}\n\n")


if __name__ == "__main__":
    main()
