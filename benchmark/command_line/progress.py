"""Shows a run: a live table on a terminal, plain lines elsewhere."""

import time
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from benchmark.planning.plan import PlannedTrial
from benchmark.records.models import name_with_role
from benchmark.trial.specification import Progress
from data.errors import one_line
from reports.durations import duration

LINE_SECONDS = 30  # between two plain lines of one trial
STYLES = {"done": "green", "failed": "red", "diverged": "red", "waiting": "dim"}
ENDED = ("done", "failed", "diverged")
HEADERS = ["step", "it/s", "loss", "Dice", "ETA"]


@dataclass
class _Row:
    planned: PlannedTrial
    stage: str = "waiting"
    first_step: int | None = None  # where the trial began or went on in this run
    step: int = 0
    iterations: int = 0
    loss: float | None = None
    dice: float | None = None
    reason: str | None = None
    rate: float | None = None  # iterations a second, smoothed
    seen: float = 0.0
    printed: float = field(default=float("-inf"))
    begun: float | None = None  # when the first sign of life came
    seconds: float | None = None  # from then to the end

    def take(self, progress: Progress) -> None:
        now = time.monotonic()
        self.begun = now if self.begun is None else self.begun
        self.seconds = now - self.begun if progress.stage in ENDED else None
        if self.stage == progress.stage == "training" and now > self.seen and progress.step > self.step:
            rate = (progress.step - self.step) / (now - self.seen)
            self.rate = rate if self.rate is None else 0.8 * self.rate + 0.2 * rate
        if self.first_step is None and progress.stage == "training":
            self.first_step = progress.step
        self.stage, self.step, self.iterations = progress.stage, progress.step, progress.iterations
        self.loss, self.dice, self.reason, self.seen = progress.loss, progress.dice, progress.reason, now

    @property
    def title(self) -> str:
        cell = self.planned.trial.cell
        draw = "" if cell.draw == "first" else f", draw {cell.draw}"
        return f"{name_with_role(cell.display, cell.role)}, {cell.labelled} labelled{draw}, seed {cell.seed}"

    def facts(self) -> list[str]:
        """The cells below HEADERS; "" if a value is unknown."""
        left = (self.iterations - self.step) / self.rate if self.rate and self.stage == "training" else None
        return [
            f"{self.step}/{self.iterations}" if self.iterations else "",
            f"{self.rate:.2f}" if self.rate else "",
            f"{self.loss:.4f}" if self.loss is not None else "",
            f"{100 * self.dice:.2f}" if self.dice is not None else "",
            duration(left) if left is not None else "",
        ]

    def work(self) -> tuple[float, float]:
        """The work done and the whole work of the trial in this run, in the units of `Trial.cost`."""
        begun = (self.first_step or 0) / max(self.iterations, 1)
        share = 1.0 if self.stage in ENDED else self.step / max(self.iterations, 1)
        return self.planned.trial.cost * max(share - begun, 0), self.planned.trial.cost * (1 - begun)


class ProgressView:
    """Context manager; call it with each sign of life."""

    def __init__(self, trials: list[PlannedTrial], console: Console):
        self._rows = {planned.trial.id: _Row(planned) for planned in trials}
        self._console = console
        self._begin = time.monotonic()
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
            self._console.print(f"{row.title}: {note}", soft_wrap=True, markup=False)
        if self._live is None and (before != row.stage.split()[0] or row.seen - row.printed >= LINE_SECONDS):
            row.printed = row.seen
            facts = [f"{header} {value}" for header, value in zip(HEADERS, row.facts(), strict=True) if value]
            state = one_line(row.reason or row.stage)
            self._console.print(f"{row.title}: {', '.join([state, *facts])} ({self.overall()})", soft_wrap=True)

    def note(self, line: str) -> None:
        """Print a line above the table that belongs to no single trial."""
        self._console.print(line, soft_wrap=True)

    @property
    def failures(self) -> list[tuple[PlannedTrial, str]]:
        return [
            (row.planned, row.reason or row.stage) for row in self._rows.values() if row.stage in ("failed", "diverged")
        ]

    def overall(self) -> str:
        """Progress of the whole run, and the time left if the machine stays as busy as it was in this run."""
        rows = list(self._rows.values())
        done, total = map(sum, zip(*(row.work() for row in rows), strict=True))
        elapsed = time.monotonic() - self._begin
        parts = [f"{sum(row.stage == 'done' for row in rows)} of {len(rows)} trials done"]
        if 0 < done < total:
            parts.append(f"{100 * done / total:.0f} % of the work")
        parts.append(f"{duration(elapsed)} elapsed")
        if 0 < done < total:
            left = self._left()
            training = time.monotonic() - min(row.begun for row in rows if row.begun is not None)
            at_least = training * (total - done) / done  # nobody knows yet how long testing takes
            parts.append(f"at least {duration(at_least)} left" if left is None else f"about {duration(left)} left")
        return ", ".join(parts)

    def _left(self) -> float | None:
        """Seconds that the other trials need, testing included, at the pace of those that this run has finished."""
        rows = list(self._rows.values())
        done = [(row.seconds, row.work()[0]) for row in rows if row.stage == "done" and row.seconds is not None]
        seconds, work = map(sum, zip(*done, strict=True)) if done else (0, 0)
        if not work:
            return None
        now = time.monotonic()
        running = [row for row in rows if row.begun is not None and row.stage not in ENDED]
        need = sum(row.work()[1] * seconds / work for row in rows if row.begun is None)
        need += sum(max(row.work()[1] * seconds / work - (now - row.begun), 0) for row in running)
        return need / max(len(running), 1)

    def _table(self) -> Table:
        """The running trials, then as many others as fit. Finished ones are dropped first."""
        rows = list(self._rows.values())
        columns = ["trial", Column("state", no_wrap=True)]
        columns += [Column(header, justify="right", no_wrap=True) for header in HEADERS]
        table = Table(*columns, title=self.overall(), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        order = sorted(rows, key=lambda row: {"waiting": 1, "done": 2}.get(row.stage, 0))
        room = max(self._console.height - 6, 3)
        for row in order[:room]:
            table.add_row(Text(row.title), row.stage, *row.facts(), style=STYLES.get(row.stage))
        if len(order) > room:
            table.caption = f"{len(order) - room} more"
        return table
