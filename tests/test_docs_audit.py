"""docs/audit.md is made of the published figures and of the study's records, and each of its claims has a source."""

import csv
import io
import json
import tarfile
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from benchmark.records.protocol import Evaluation, Training
from docs import audit_repositories, update_audit
from methods.shared import registry
from reports import claims, published

ENTRIES = [entry for protocol in published.protocols().values() for entry in protocol["entries"]]
DATA = audit_repositories.data()
DEPARTURES = [departure for repository in DATA["repositories"] for departure in repository["departures"]]
STALE = ("dtml", "vnet_sdm")


@pytest.fixture(scope="module")
def expected():
    return update_audit.expected()


@pytest.fixture(scope="module")
def lines(expected):
    return list(csv.DictReader(io.StringIO(expected[update_audit.CSV])))


def test_page_and_csv_are_up_to_date(expected):
    for page, text in expected.items():
        assert page.read_text(encoding="utf-8") == text, f"docs/{page.name} is out of date: run `make docs`"


@pytest.fixture(scope="module")
def runs():
    """{method: Dice in % of its runs with 8 labelled cases, {case: value} each}, read with the csv module alone."""
    with tarfile.open(update_audit.STUDY) as archive:
        files = {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()
            for member in archive.getmembers()
            if member.name.endswith(("plan.json", "cases.csv"))
        }
    found = {}
    for cell in json.loads(files["plan.json"])["cells"]:
        default_vnet = cell["method"] != "vnet" or not cell["settings"]
        if cell["labelled"] == 8 and cell["role"] != "ceiling" and cell["method"] not in STALE and default_vnet:
            rows = csv.DictReader(io.StringIO(files[f"records/{cell['trial']}/cases.csv"]))
            wanted = ("dice", "last", "largest_component")
            values = {
                row["case"]: 100 * float(row["value"])
                for row in rows
                if (row["metric"], row["checkpoint"], row["postprocessing"]) == wanted
            }
            found.setdefault(cell["method"], []).append(values)
    return found


def test_probabilities_follow_from_the_raw_records_and_the_printed_means(runs, lines):
    cases = sorted(set(runs["vnet"][0]) - {"A4R1S23KR0KU2WSYHK2X"})
    assert len(cases) == 11 and sum(map(len, runs.values())) == 45
    scores = {method: [[run[case] for case in cases] for run in each] for method, each in runs.items()}
    means, sds = np.array([(np.mean(run), np.std(run, ddof=1)) for each in scores.values() for run in each]).T
    shape = means * (1 - means / 100)
    k = (shape * sds).sum() / (shape**2).sum()
    r = np.median([
        stats.pearsonr(one, other).statistic
        for first, second in combinations(scores, 2) for one in scores[first] for other in scores[second]
    ])  # fmt: skip
    for line in lines:
        first, second = float(line["first_dice"]), float(line["second_dice"])
        protocol = published.protocols()[line["protocol"]]
        n = 40 if line["protocol"] == "acdc" else protocol["test"]  # two volumes a patient
        a, b = (k * mean * (1 - mean / 100) for mean in (first, second))
        p = stats.t.cdf(n**0.5 * (second - first) / (a**2 + b**2 - 2 * a * b * r) ** 0.5, n - 1)
        assert float(line["p_false"]) == pytest.approx(p, rel=1e-3, abs=1e-12)


def test_the_first_sentence_counts_adjacent_lines(expected, lines):
    adjacent = [float(line["p_false"]) for line in lines if line["adjacent"] == "True"]
    loose = sum(p > 0.05 for p in adjacent)
    text = " ".join(expected[update_audit.PAGE].split())
    assert f"Of {len(adjacent)} adjacent pairs of published figures, **{loose} have a probability" in text


def test_every_two_headline_figures_of_a_budget_are_in_the_csv_once(lines):
    budgets = {}
    for entry in ENTRIES:
        if entry["headline"]:
            key = entry["protocol"], entry["labelled"], entry["unlabelled"]
            budgets[key] = budgets.get(key, 0) + 1
    assert len(lines) == sum(count * (count - 1) // 2 for count in budgets.values())
    assert len({tuple(line.values())[:12] for line in lines}) == len(lines)


def test_older_means_an_earlier_year_and_unknown_years_are_left_out():
    entries = [{"method": name, "dice": dice} for name, dice in (("a", 90), ("b", 91), ("c", 92), ("d", 89))]
    years = {"a": 2020, "b": 2021, "c": None, "d": 2020}
    older = [claims.best_older(entry, entries, years) for entry in entries]
    assert older == [None, entries[0], None, None]


# ---- Released code.


def test_every_published_method_has_a_name_and_a_year_or_says_that_it_is_unknown():
    assert {entry["method"] for entry in ENTRIES} <= set(audit_repositories.years())
    assert not set(DATA["others"]) & set(registry.names())


@pytest.mark.parametrize("repository", DATA["repositories"], ids=lambda repository: repository["name"])
def test_a_repository_says_where_it_was_read(repository):
    assert set(repository) == {"name", "commit", "methods", "licence", "protocols", "selection", "departures"}
    assert repository["name"].count("/") == 1 and len(repository["commit"]) == 7
    assert set(repository["methods"]) <= set(audit_repositories.years())
    assert set(repository["protocols"]) <= set(published.protocols())
    assert repository["selection"]["rule"] in ("last", "best on validation", "best on test", "unknown")
    assert repository["selection"]["where"] and repository["departures"]


@pytest.mark.parametrize("departure", [*DEPARTURES, *DATA["shared"]], ids=lambda departure: departure["release"][:40])
def test_a_departure_has_a_source_and_a_setting_that_exists(departure):
    assert departure["release"] and departure["where"]
    (kind,) = set(departure) & {"setting", "protocol", "here"}
    assert set(departure) <= {"release", "where", kind, "note"}
    if kind == "setting":
        setting = departure["setting"]
        settings = registry.get(setting["method"]).Settings(**{setting["name"]: setting["value"]})
        assert getattr(settings, setting["name"]) == setting["value"]
    if kind == "protocol":
        block, _, rest = departure["protocol"].partition(".")
        key, _, value = rest.partition(": ")
        model = {"training": Training, "evaluation": Evaluation}[block]
        assert key in model.model_fields and (not value or getattr(model(**{key: value}), key) == value)
