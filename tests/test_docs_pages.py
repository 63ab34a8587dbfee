"""The pages on methods say what the code says, and links lead somewhere."""

import re
from pathlib import Path

import pytest

from docs import update_pages
from docs.update_pages import BEGIN, END, LINK, PAGES, PageError, updated
from methods.shared import registry
from reports import published

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
RELATIVE_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(?:#([^)\s]+))?\)")


@pytest.fixture(scope="module")
def expected():
    return update_pages.expected_pages()


@pytest.mark.parametrize("name", ["README", *update_pages.built_in_methods()])
def test_page_is_up_to_date(name, expected):
    page = PAGES / f"{name}.md"
    assert page.read_text(encoding="utf-8") == expected[page], f"docs/methods/{name}.md is out of date: run `make docs`"


def test_every_method_has_a_page_and_every_page_a_method(expected):
    assert set(expected) == set(PAGES.glob("*.md"))


@pytest.mark.parametrize("name", update_pages.built_in_methods())
def test_page_has_its_sections_and_links_to_the_loss(name):
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    for heading in (
        "What it does", "Its loss, term by term", "Where paper and released code differ",
        "Where we deviate, and why", "Uncertain", "Traps",
    ):  # fmt: skip
        assert f"\n## {heading}\n" in text
    assert len(LINK.findall(text)) >= 3
    assert text.count(".py#L") == len(LINK.findall(text)), "a link to a line must quote the code of that line"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(document):
    for target, anchor in RELATIVE_LINK.findall(document.read_text(encoding="utf-8")):
        file = document.parent / target
        assert file.exists(), f"{document.name} links to {target}"
        if line := re.fullmatch(r"L(\d+)", anchor):
            assert 1 <= int(line[1]) <= len(file.read_text(encoding="utf-8").splitlines()), f"{target}#{anchor}"
        elif anchor:
            assert anchor in headings(file), f"{document.name} links to {target}#{anchor}"


def headings(document):
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


# The updater, with a page of its own.


def write_page(folder, body, code="first = 1\nsecond = 2\n"):
    (folder / "code.py").write_text(code, encoding="utf-8")
    page = folder / "tiny.md"
    page.write_text(f"{BEGIN}\nold\n{END}\n\n{body}\n", encoding="utf-8")
    return page


def test_facts_are_replaced_and_lines_renumbered(tmp_path):
    page = write_page(tmp_path, "see [`second`](code.py#L77), [`first = 1`](code.py#L1) and [that](code.py)")
    assert updated(page, "new") == (
        f"{BEGIN}\n\nnew\n\n{END}\n\nsee [`second`](code.py#L2), [`first = 1`](code.py#L1) and [that](code.py)\n"
    )


def test_updating_again_changes_nothing(tmp_path):
    page = write_page(tmp_path, "[`second`](code.py#L9)")
    page.write_text(updated(page, "new"), encoding="utf-8")
    assert updated(page, "new") == page.read_text(encoding="utf-8")


def test_code_with_brackets_can_be_quoted(tmp_path):
    page = write_page(
        tmp_path, "| [`f(x)[:2]`](code.py#L9) | [`f(x)[2:]`](code.py#L9) |", "y = f(x)[:2]\nz = f(x)[2:]\n"
    )
    assert "| [`f(x)[:2]`](code.py#L1) | [`f(x)[2:]`](code.py#L2) |" in updated(page, "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[`third`](code.py#L1)", "`third` is no longer in code.py"),
        ("[` = `](code.py#L1)", "` = ` is on lines 1, 2 of code.py"),
        ("[`first`](gone.py#L1)", "links to gone.py, which does not exist"),
    ],
)
def test_links_that_cannot_be_mended_are_named(tmp_path, body, message):
    page = write_page(tmp_path, body)
    with pytest.raises(PageError, match=re.escape(message)) as error:
        updated(page, "new")
    assert str(page) in str(error.value)


@pytest.mark.parametrize("text", ["no markers", f"{BEGIN} alone", f"{END} before {BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_markers_must_stand_once_and_in_order(tmp_path, text):
    page = tmp_path / "tiny.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(PageError, match="once each and in this order"):
        updated(page, "new")


def test_missing_and_orphaned_pages_are_named(tmp_path):
    for name in ["README", *update_pages.built_in_methods()]:
        (tmp_path / f"{name}.md").write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    assert len(update_pages.expected_pages(tmp_path)) == len(update_pages.built_in_methods()) + 1
    (tmp_path / "nobody.md").write_text("", encoding="utf-8")
    with pytest.raises(PageError, match=r"nobody\.md belongs to no method"):
        update_pages.expected_pages(tmp_path)
    (tmp_path / "dtml.md").unlink()
    with pytest.raises(PageError, match="method 'dtml' has no page"):
        update_pages.expected_pages(tmp_path)


def test_running_it_writes_what_has_changed_only(tmp_path, monkeypatch, capsys):
    current, stale = tmp_path / "current.md", tmp_path / "stale.md"
    for page in (current, stale):
        page.write_text("old", encoding="utf-8")
    monkeypatch.setattr(update_pages, "ROOT", tmp_path)
    monkeypatch.setattr(update_pages, "expected_pages", lambda: {current: "old", stale: "new"})
    update_pages.main()
    assert capsys.readouterr().out == "wrote stale.md\n" and stale.read_text(encoding="utf-8") == "new"


# The facts.


def test_facts_hold_settings_cost_and_figures():
    facts = update_pages.facts_of("ua_mt")
    assert facts.startswith("# UA-MT\n") and "../../methods/ua_mt.py" in facts
    assert "4 patch passes with gradient and 36 forward only, 4 times the supervised V-Net's." in facts
    assert "| `consistency_weight` | `0.1` |" in facts and "| 0.01 to 1 |" in facts
    assert "| `all`, `unlabelled` |" in facts
    assert "| 16 / 64 | `all` | **88.88** | 80.21 | 2.26 | 7.32 |" in facts and "from memory" in facts


def test_facts_of_a_reconstruction_warn_and_figures_may_be_missing():
    assert "**what its authors published leaves parts open" in update_pages.facts_of("double_uncertainty")
    assert "None was found" in update_pages.facts_of("fixmatch")
    assert "| 91.26 | – | – | 5.76 |" in update_pages.facts_of("bcp").replace("**", "")


def test_new_figures_and_changed_defaults_show(monkeypatch):
    before = update_pages.facts_of("ict")
    entries = published.protocols()["la"]["entries"]
    entry = next(entry for entry in entries if entry["method"] == "ict")
    monkeypatch.setitem(published.protocols()["la"], "entries", [*entries, entry | {"dice": 12.34, "headline": False}])
    assert "| 12.34 |" in update_pages.facts_of("ict") and "12.34" not in before
    monkeypatch.setattr(registry.get("ict").Settings.model_fields["beta"], "default", 0.75)
    assert "`0.75`" in update_pages.facts_of("ict")


def test_methods_of_plugins_need_no_page(own_registry, tmp_path):
    plugin = tmp_path / "mine.py"
    registry.write_starting_file("mine", tmp_path, 2024)
    registry.load_plugin(plugin)
    assert "mine" in registry.names() and "mine" not in update_pages.built_in_methods()
