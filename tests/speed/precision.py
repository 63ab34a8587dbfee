"""`make precision`: what bf16 costs in Dice. The V-Net of all_methods with 24 labelled cases and three times its
iterations, three seeds each: after 800, seeds of one precision differ by four points, and nothing could be told.

Needs SEMISEG_LA. Trains what is not there yet, into results/precision-<type>; prints each run's mean Dice and the 95 %
interval of the difference: over cases, as the comparison table has it, and over seeds and cases.
"""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from reports.statistics import paired_t_test, seed_aware_test  # noqa: E402

LIMIT = 1.5  # Dice
OVERRIDES = ("methods=[vnet]", "labelled=[24]", "baseline=null", "reference=null", "seeds=[1, 2, 3]",
             "training.iterations=2500")  # fmt: skip


def main() -> int:
    scores = {}
    for precision in ("bf16", "fp32"):
        folder = ROOT / "results" / f"precision-{precision}"
        command = [sys.executable, ROOT / "run_benchmark.py", "run", ROOT / "configs/la_half/all_methods.yaml"]
        for override in (*OVERRIDES, f"training.precision={precision}"):
            command += ["--set", override]
        subprocess.run([*command, "--results", folder], check=True)
        scores[precision] = dice_of(folder)
        print(f"{precision}: mean Dice of each seed {scores[precision].mean(axis=1).round(2).to_dict()}")
    over_cases = paired_t_test(scores["bf16"].mean(), scores["fp32"].mean())
    over_both = seed_aware_test(scores["bf16"], scores["fp32"])
    for what, test in (("cases", over_cases), ("seeds and cases", over_both)):
        print(
            f"bf16 - fp32 over {what}: {test.difference:+.2f} Dice, 95 % interval {test.low:+.2f} to {test.high:+.2f}"
        )
    return 0 if over_cases.low > -LIMIT and over_cases.high < LIMIT else 1


def dice_of(folder: Path) -> pd.DataFrame:
    """Dice in per cent of the largest component (index: seed, columns: case)."""
    rows = {}
    for cell in json.loads((folder / "plan.json").read_text(encoding="utf-8"))["cells"]:
        record = folder / "records" / cell["trial"]
        cases = pd.read_csv(record / "cases.csv")
        chosen = cases[(cases.metric == "dice") & (cases.postprocessing == "largest_component")]
        rows[cell["seed"]] = 100 * chosen.set_index("case").value
    return pd.DataFrame(rows).T


if __name__ == "__main__":
    sys.exit(main())
