"""One self-contained HTML page of a comparison: tables, figures and a viewer of cases, no network needed."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from benchmark.records.case_values import POSTPROCESSINGS
from reports.page import contents
from reports.page.lead import lead
from reports.page.viewer_cases import Packed, View, choose, describe_cases, measures_of, pack_cases
from reports.page.viewer_volumes import packed
from reports.results import Results
from reports.tables import Table, Tables
from reports.tables.datasets import OverDatasets
from reports.tables.latex import latex
from reports.tables.structures import MEAN

LIMIT = 24_500_000  # bytes of a page
LARGEST_SVG = 300_000  # bytes; a larger drawing goes in as PNG

HERE = Path(__file__).parent
SCRIPTS = ("geometry.js", "tables.js", "views.js", "viewer.js")
LIBRARIES = {"datatables": ("itables", "html/dt_bundle.js"), "plotly": ("plotly", "package_data/plotly.min.js")}
HEADINGS = {
    "comparison": "Comparison", "sweep": "Label sweep", "cost": "Cost", "ledger": "Published and measured",
    "tuning": "Published and tuned settings", "structures": "Each structure", "further": "Further measures",
    "selection": "Choice of the checkpoint",
    "datasets": "Methods by data sets",
}  # fmt: skip
NO_PICTURES = Packed({}, 0, False)
FILTERED = ("Labelled", "Predictions", "Structure", "Measure", "Unit")


@dataclass(frozen=True)
class ReportedExperiment:
    """What the page shows of one experiment: `figures` and `left_out` as `reports.figures.draw_all` gives them."""

    tables: Tables
    figures: Sequence = ()
    left_out: Sequence = ()


@dataclass(frozen=True)
class ReportedComparison:
    """What the page shows of several data sets together: `figures` and `left_out` as of `draw_over_datasets`."""

    over: OverDatasets
    figures: Sequence = ()
    left_out: Sequence = ()


def write_page(
    experiments: Sequence[ReportedExperiment],
    folder: Path | str,
    limit: int = LIMIT,
    compared: ReportedComparison | None = None,
) -> Path:
    """Write FOLDER/index.html and return its path; the same experiments give the same bytes.

    What compares several data sets stands first, before what there is of each.

    Where all pictures would make the page larger than `limit` bytes, it has predictions of one run for each number of
    labelled cases, then fewer cases, the hardest. It says so.
    """
    shown = [_experiment(f"e{number}", experiment) for number, experiment in enumerate(experiments, start=1)]
    first = _comparison(compared) if compared else None
    page = _render(shown, first)
    room = limit - len(page)
    for number, (experiment, text) in enumerate(zip(experiments, shown, strict=True)):
        room -= _add_volumes(experiment.tables.results, text["cases"], room // (len(shown) - number))
    path = Path(folder) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_render(shown, first) if room < limit - len(page) else page)
    return path


def _experiment(prefix: str, experiment: ReportedExperiment) -> dict:
    """All that the template shows of one experiment but the volumes of its cases."""
    results, plan = experiment.tables.results, experiment.tables.results.plan
    measures = contents.measures_block(results)
    tests = contents.statistics_block(results, experiment.tables.statistics)
    chosen = contents.POSTPROCESSING[plan.evaluation.postprocessing]
    return {
        "id": prefix,
        "title": plan.title or plan.experiment,
        "lead": lead(results),
        "status": experiment.tables.tables[0].status,
        "origin": contents.origin(results),
        "tables": _tables(prefix, experiment.tables.tables),
        "details": contents.details(results),
        "cases": _cases(results),
        "figures": [_figure(drawn) for drawn in experiment.figures],
        "left_out": experiment.left_out,
        "statistics": (tests, contents.filters(tests, {"Structure": MEAN, "Measure": ""})),
        "measures": (measures, contents.filters(measures, dict.fromkeys(FILTERED, "") | {"Predictions": chosen})),
        "protocol": contents.protocol_of(results),
    }


def _comparison(compared: ReportedComparison) -> dict:
    """All that the template shows of several data sets together."""
    over = compared.over
    return {
        "id": "datasets",
        "title": f"{len(over.names)} data sets: {', '.join(over.names)}" if over.table else "Several data sets",
        "reason": over.reason,
        "status": over.table.status if over.table else "",
        "links": [(f"e{place + 1}", name) for name, place in over.names.items()],
        "tables": _tables("datasets", [over.table] if over.table else []),
        "figures": [_figure(drawn) for drawn in compared.figures],
        "left_out": compared.left_out,
    }


def _tables(prefix: str, tables: Sequence[Table]) -> list[dict]:
    """Notes that stand under an earlier table are not repeated."""
    shown, told = [], set()
    for table in tables:
        shown.append({
            "id": f"{prefix}-{table.name}",
            "table": table,
            "heading": HEADINGS[table.name],
            "notes": [note for note in table.notes if note not in told],
            "latex": latex(table) if table.blocks else "",
        })  # fmt: skip
        told.update(table.notes)
    return shown


def _cases(results: Results) -> dict:
    """What the viewer offers; `_add_volumes` adds the volumes."""
    shown = choose(results)
    view = shown.views[shown.first] if shown.views else View("", "", [], [], False, [])
    data = describe_cases(results, shown)
    headline, reference = results.plan.evaluation.postprocessing, results.plan.reference
    return {
        "shown": shown,
        "data": data,
        "volumes": {},
        "notes": contents.notes_on_cases(results, shown, NO_PICTURES),
        "measures": [(name, name) for name in measures_of(results)],
        "postprocessings": [
            (name, contents.POSTPROCESSING[name] + (" (headline)" if name == headline else ""))
            for name in sorted(POSTPROCESSINGS, key=lambda name: name != headline)
        ],
        "structures": list(enumerate(results.plan.data.class_names or range(1, data["classes"] + 1))),
        "options": list(enumerate(data["cases"])),
        "first": view,
        "budgets": [(of.budget, of.budget) for of in map(shown.views.__getitem__, shown.main)],
        "runs": [(number, of.run) for number, of in enumerate(shown.views) if of.budget == view.budget],
        "methods": list(enumerate(view.labels)),
        "reference": view.labels.index(reference) if reference in view.labels else 0,
    }


def _add_volumes(results: Results, cases: dict, allowance: int) -> int:
    """Put as many volumes as fit into `cases`; how many bytes they take."""
    pictures = pack_cases(results, cases["shown"], cases["data"]["cases"], allowance)
    cases["volumes"] = {cases["data"]["cases"].index(case): volume for case, volume in pictures.cases.items()}
    cases["notes"] = contents.notes_on_cases(results, cases["shown"], pictures)
    return sum(len(json.dumps(volume)) for volume in pictures.cases.values())


def _figure(drawn) -> dict:
    path, kind = (drawn.svg, "svg+xml") if drawn.svg.stat().st_size <= LARGEST_SVG else (drawn.png, "png")
    source = f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    return {"name": drawn.name, "title": drawn.title, "caption": drawn.caption, "source": source}


@cache
def _library(name: str) -> str:
    package, path = LIBRARIES[name]
    return packed((resources.files(package) / path).read_bytes())


def _render(experiments: list[dict], compared: dict | None) -> bytes:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    titles = "; ".join(dict.fromkeys(experiment["title"] for experiment in experiments))
    text = environment.get_template("template.html").render(
        title=f"{titles} – SemiSeg-Bench" if titles else "SemiSeg-Bench",
        experiments=experiments,
        compared=compared,
        libraries={name: _library(name) for name in LIBRARIES},
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        scripts=Markup("\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)),
    )
    return text.encode("utf-8")
