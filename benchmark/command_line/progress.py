"""How a run looks while it goes on: a live table on a terminal, plain lines elsewhere."""

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table

from benchmark.planning.plan import PlannedTrial
from benchmark.trial.specification import Progress
from data.errors import one_line
from reports.durations import duration

LINE_SECONDS = 30  # between two plain lines of one trial
STYLES = {"done": "green", "failed": "red", "diverged": "red", "waiting": "dim"}


@dataclass
class _Row:
    planned: PlannedTrial
    stage: str = "waiting"
    step: int = 0
    iterations: int = 0
    loss: float | None = None
    reason: str | None = None
    rate: float | None = None  # iterations a second, smoothed
    seen: float = 0.0
    printed: float = field(default=float("-inf"))

    def take(self, progress: Progress) -> None:
        now = time.monotonic()
        if self.stage == progress.stage == "training" and now > self.seen and progress.step > self.step:
            rate = (progress.step - self.step) / (now - self.seen)
            self.rate = rate if self.rate is None else 0.8 * self.rate + 0.2 * rate
        self.stage, self.step, self.iterations = progress.stage, progress.step, progress.iterations
        self.loss, self.reason, self.seen = progress.loss, progress.reason, now

    def columns(self) -> list[str]:
        cell = self.planned.trial.cell
        left = (self.iterations - self.step) / self.rate if self.rate and self.stage == "training" else None
        return [
            cell.display, str(cell.labelled), str(cell.draw), str(cell.seed), one_line(self.reason or self.stage),
            f"{self.step}/{self.iterations}" if self.iterations else "",
            f"{self.rate:.2f}" if self.rate else "", f"{self.loss:.4f}" if self.loss is not None else "",
            duration(left) if left is not None else "",
        ]  # fmt: skip


HEADERS = ["method", "labelled", "draw", "seed", "state", "step", "it/s", "loss", "ETA"]


class ProgressView:
    """Context manager; call it with each sign of life."""

    def __init__(self, trials: list[PlannedTrial], console: Console):
        self._rows = {planned.trial.id: _Row(planned) for planned in trials}
        self._console = console
        self._live = (
            Live(console=console, refresh_per_second=2, get_renderable=self._table) if console.is_terminal else None
        )

    def __enter__(self) -> "ProgressView":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        row = self._rows[progress.trial]
        before = row.stage.split()[0]
        row.take(progress)
        for note in progress.notes:
            name, labelled, draw, seed, *_ = row.columns()
            self._console.print(
                f"{name}, {labelled} labelled ({draw}), seed {seed}: {note}", soft_wrap=True, markup=False
            )
        if self._live is None and (before != row.stage.split()[0] or row.seen - row.printed >= LINE_SECONDS):
            row.printed = row.seen
            done = sum(r.stage == "done" for r in self._rows.values())
            name, labelled, draw, seed, *rest = row.columns()
            facts = [f"{h} {v}" for h, v in zip(HEADERS[5:], rest[1:], strict=True) if v]
            self._console.print(
                f"[{done}/{len(self._rows)}] {name}, {labelled} labelled ({draw}), seed {seed}: "
                + ", ".join([rest[0], *facts]),
                soft_wrap=True,
            )

    def note(self, line: str) -> None:
        """Print a line that is of no single trial, above the table."""
        self._console.print(line, soft_wrap=True)

    @property
    def failures(self) -> list[tuple[PlannedTrial, str]]:
        return [
            (row.planned, row.reason or row.stage) for row in self._rows.values() if row.stage in ("failed", "diverged")
        ]

    def _table(self) -> Table:
        """The running trials, then as many of the others as fit; finished ones go first when room is short."""
        rows = list(self._rows.values())
        done = sum(row.stage == "done" for row in rows)
        table = Table(*HEADERS, title=f"{done} of {len(rows)} trials done", title_justify="left")
        order = sorted(rows, key=lambda row: {"waiting": 1, "done": 2}.get(row.stage, 0))
        room = max(self._console.height - 6, 3)
        for row in order[:room]:
            table.add_row(*row.columns(), style=STYLES.get(row.stage))
        if len(order) > room:
            table.caption = f"{len(order) - room} more"
        return table
