"""What `methods` and `new-method` do."""

import inspect
import os
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from benchmark.records.source_code import CHECKOUT
from methods.shared import registry


def show_methods(console: Console) -> None:
    """All methods, a line each."""
    table = Table(Column("name", no_wrap=True), "title", "year", "passes a step", "fidelity")
    for known in registry.names():
        info = registry.get(known).info
        table.add_row(known, info.title, str(info.year), str(info.passes), info.fidelity)
    console.print(table)


def show_method(method: str, console: Console) -> None:
    """Print a method, or all that a file registers, with its settings and their allowed values."""
    for name in registry.names_in(method):
        shown = registry.get(name)
        console.print(f"{shown.info.title} ({shown.info.source}), {shown.info.fidelity}\n")
        console.print(f"{inspect.getdoc(shown) or ''}\n")
        table = Table(Column("setting", no_wrap=True), "default", "choices, or range to search", "meaning")
        for key, field in shown.Settings.model_fields.items():
            search = registry.search_of(field)
            may_be = registry.choices_of(field) or ([f"{search[0]} to {search[1]}"] if search else [])
            table.add_row(key, str(field.default), ", ".join(may_be), field.description or "")
        console.print(table)


def new_method(name: str, teacher: bool, console: Console) -> None:
    """Write a starting file into the working directory, and say how to check and run it."""
    path = registry.write_starting_file(name, Path.cwd(), date.today().year, teacher)
    script, demo = (os.path.relpath(CHECKOUT / file) for file in ("run_benchmark.py", "configs/demo.yaml"))
    console.print(f"wrote {path}; try it:", soft_wrap=True)
    console.print(f"  python {script} check {path.name}", soft_wrap=True)
    console.print(
        f"  python {script} run {demo} --plugin {path.name} "
        f"--set 'methods=[{registry.BASELINE}, {name}]' --set reference=null --results results/{name}",
        soft_wrap=True,
    )
