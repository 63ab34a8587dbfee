"""How often a method that diverges in one of its seeds gets a star, and what decides it.

`python -m reports.statistics.divergence_simulation` prints the table of docs/calibration.md.
"""

import numpy as np

from reports.statistics.family_simulation import FamilyDesign, simulate_family, star_power

DICE, CASE_SD = 80.0, 5.0  # of a case, in percent: what a diverged run loses in it
GAP = 2.0  # points of Dice by which the method is better where it does not diverge
SEEDS, CASES = 3, 20
SEED_SDS, METHODS = (0.2, 0.4, 0.8), (4, 8, 18)


def star_rates(methods: int, seed_sd: float, replications: int, rng: np.random.Generator) -> dict[str, float]:
    """Shares of simulated families in which the second method has a star.

    It is two points better than all others. The first method is the reference. In each column but the last, one of
    three seeds of one method diverges: that of the second method if the column names no other.

    Args:
        methods: how many there are, three at least.
        seed_sd: of each method, in points of Dice. Method by case and residual have 1.
        replications: families to simulate.
        rng: source of the random numbers.

    Returns:
        The shares by column of the table: the diverged seed is left out, and the test has no pool of run variances; it
        is left out; it counts with Dice 0; so does one of a third method, and one of the reference; none diverges.

    Example:
        >>> rates = star_rates(methods=8, seed_sd=0.2, replications=500, rng=np.random.default_rng(0))
        >>> rates["Left out, no pool"] > 0.6, rates["Dice 0 (`worst`)"]
        (True, 0.0)
    """
    design = FamilyDesign((SEEDS,) * methods, CASES, (seed_sd,) * methods, interaction_sd=1.0, residual_sd=1.0)
    scores = simulate_family(design, replications, rng, gap=GAP)
    left_out = [*scores[:1], scores[1][:, 1:], *scores[2:]]
    nothing = -DICE - rng.normal(0, CASE_SD, (replications, CASES))

    def worst(method: int) -> float:
        counted = scores[method].copy()
        counted[:, 0] = nothing
        return star_power([*scores[:method], counted, *scores[method + 1 :]])

    return {
        "Left out, no pool": star_power(left_out, pooled=False),
        "Left out": star_power(left_out),
        "Dice 0 (`worst`)": worst(1),
        "Dice 0 in another row": worst(2),
        "Dice 0 in the reference": worst(0),
        "None diverges": star_power(scores),
    }


def table(replications: int = 2000) -> str:
    """The table, as Markdown."""
    rng = np.random.default_rng(0)
    lines = []
    for methods in METHODS:
        for seed_sd in SEED_SDS:
            rates = star_rates(methods, seed_sd, replications, rng)
            if not lines:
                header = ["Methods", "Seed SD", *(f"{column} [%]" for column in rates)]
                lines += [f"| {' | '.join(header)} |", f"|{' ---: |' * len(header)}"]
            lines.append(f"| {methods} | {seed_sd} | {' | '.join(f'{100 * rate:.1f}' for rate in rates.values())} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
