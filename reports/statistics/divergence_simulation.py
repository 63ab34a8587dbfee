"""How often a method that diverges in one of its seeds gets a star, and what decides it.

`python -m reports.statistics.divergence_simulation` prints the table of docs/statistics.md.
"""

import numpy as np

from reports.statistics.family_simulation import FamilyDesign, simulate_family, star_power

DICE, CASE_SD = 80.0, 5.0  # of a case, in percent: what a diverged run loses in it
GAP = 2.0  # points of Dice by which the method is better where it does not diverge
SEEDS, CASES = 3, 20
SEED_SDS, METHODS = (0.2, 0.4, 0.8), (4, 8, 18)
HEADER = [
    "Methods", "Seed SD", "Left out, no pool [%]", "Left out [%]", "Dice 0 (`worst`) [%]", "None diverges [%]",
]  # fmt: skip


def star_rates(
    methods: int, seed_sd: float, replications: int, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Shares of simulated families in which the second method gets a star.

    It is two points better than all others, and one of its three seeds diverges. The first method is the reference.

    Args:
        methods: how many there are.
        seed_sd: of each method, in points of Dice. Method by case and residual have 1.
        replications: families to simulate.
        rng: source of the random numbers.

    Returns:
        The shares if the diverged seed is left out and the test has no pool of run variances; if it is left out; if it
        counts with Dice 0; and if it does not diverge.

    Example:
        >>> rates = star_rates(methods=8, seed_sd=0.2, replications=500, rng=np.random.default_rng(0))
        >>> bool(rates[0] > 0.6), rates[2]
        (True, 0.0)
    """
    design = FamilyDesign((SEEDS,) * methods, CASES, (seed_sd,) * methods, interaction_sd=1.0, residual_sd=1.0)
    scores = simulate_family(design, replications, rng, gap=GAP)
    left_out = [*scores[:1], scores[1][:, 1:], *scores[2:]]
    nothing = scores[1].copy()
    nothing[:, 0] = -DICE - rng.normal(0, CASE_SD, (replications, CASES))
    worst = [*scores[:1], nothing, *scores[2:]]
    return star_power(left_out, pooled=False), star_power(left_out), star_power(worst), star_power(scores)


def table(replications: int = 2000) -> str:
    """The table, as Markdown."""
    rng = np.random.default_rng(0)
    lines = [f"| {' | '.join(HEADER)} |", f"|{' ---: |' * len(HEADER)}"]
    for methods in METHODS:
        for seed_sd in SEED_SDS:
            rates = star_rates(methods, seed_sd, replications, rng)
            lines.append(f"| {methods} | {seed_sd} | {' | '.join(f'{100 * rate:.1f}' for rate in rates)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
