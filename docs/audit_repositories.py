"""The tables of docs/audit.md on released code, out of reports/literature/repositories.yaml, and methods' names."""

from functools import cache

import yaml

from docs.update_pages import table
from methods.shared import registry
from reports import published


@cache
def data() -> dict:
    """What repositories.yaml says; reports/literature/README.txt has its keys."""
    return yaml.safe_load((published.FOLDER / published.REPOSITORIES).read_text(encoding="utf-8"))


@cache
def years() -> dict[str, int | None]:
    """The year of each published method; None where it is not known here."""
    ours = {name: registry.get(name).info.year for name in registry.names()}
    return {name: other["year"] for name, other in data()["others"].items()} | ours


def title(method: str) -> str:
    """The name of a method, with a link to its page if there is one."""
    if method in data()["others"]:
        return data()["others"][method]["title"]
    return f"[{registry.get(method).info.title}](methods/{method}.md)"


def repositories() -> str:
    """A line for each repository."""
    rows = [
        (
            f"{repository['name']} {repository['commit']}",
            ", ".join(title(method) for method in repository["methods"]),
            ", ".join(repository["protocols"]) or "none of these",
            f"{repository['selection']['rule']}: {repository['selection']['where']}",
            repository["licence"] or "not read",
        )
        for repository in data()["repositories"]
    ]
    return table(("Repository, commit", "Methods", "Protocols", "Selection of the checkpoint", "Licence"), rows)


def departures() -> str:
    """A line for each departure of a repository."""
    rows = [
        (repository["name"], departure["release"], departure["where"], here(departure))
        for repository in data()["repositories"]
        for departure in repository["departures"]
    ]
    return table(("Repository", "What the release does", "Where", "Here"), rows)


def shared() -> str:
    """A line for each departure that several releases share."""
    rows = [(departure["release"], departure["where"], here(departure)) for departure in data()["shared"]]
    return table(("What the releases do", "Where", "Here"), rows)


def here(departure: dict) -> str:
    """The setting that does what the release does, or what is done instead."""
    if "here" in departure:
        return departure["here"]
    note = f": {departure['note']}" if "note" in departure else ""
    if "protocol" in departure:
        return f"`{departure['protocol']}`{note}"
    setting = departure["setting"]
    default = registry.get(setting["method"]).Settings.model_fields[setting["name"]].default
    value = _yaml(setting["value"])
    which = "the default" if default == setting["value"] else f"default `{_yaml(default)}`"
    return f"`{setting['method']}`: `{setting['name']}: {value}` ({which}){note}"


def _yaml(value) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
