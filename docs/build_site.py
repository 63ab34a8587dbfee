"""What the site needs beyond its pages: a home page out of README.md, and the code that pages link to, with its lines.

A hook of mkdocs, see mkdocs.yml. Links that lead out of docs/ go to a page of the file's text instead.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(?:#([^)\s]+))?(?=\))")
CODE = "code"  # where the files' texts lie in the site
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}  # pages made of files above docs/


def on_config(config):
    """A page each in the navigation for docs/methods."""
    pages = sorted((ROOT / "docs" / "methods").glob("*.md"), key=lambda page: (page.name != "README.md", page.name))
    titles = [re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)[1] for page in pages]
    for section in config.nav:
        if "Methods" in section:
            section["Methods"] = [{t: f"methods/{page.name}"} for t, page in zip(titles, pages, strict=True)]
    return config


def on_files(files, config):
    """README.md and CONTRIBUTING.md as pages, and a page for every file outside of docs/ that some page links to."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=_page_of(source)))
    linked = {
        target
        for page in files.documentation_pages()
        for link, _ in LINK.findall(page.content_string)
        if (target := _outside(page.src_uri, link)) is not None
    }
    for target in sorted(linked - set(PAGES)):
        if (ROOT / target).is_file():
            files.append(File.generated(config, f"{CODE}/{target}.html", content=_text_page(ROOT / target)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to such files, and to their lines."""

    def instead(match: re.Match) -> str:
        target = _outside(page.file.src_uri, match[1])
        if target is None:
            return match[0]
        if target in PAGES:
            place = posixpath.relpath(PAGES[target], posixpath.dirname(page.file.src_uri) or ".")
            return f"{place}#{match[2]}" if match[2] else place
        anchor = re.sub(r"^L(\d+)$", r"#line-\1", match[2]) if match[2] else ""
        shown = f"{CODE}/{target}.html" if (ROOT / target).is_file() else "methods/README.md"
        return posixpath.relpath(shown, posixpath.dirname(page.file.src_uri) or ".") + anchor

    return LINK.sub(instead, markdown)


def _page_of(source: str) -> str:
    """A file from above docs/, whose links are from there."""
    text = (ROOT / source).read_text(encoding="utf-8")
    return LINK.sub(lambda m: m[0].removeprefix("docs/") if m[0].startswith("docs/") else f"../{m[0]}", text)


def _outside(page: str, link: str) -> str | None:
    """The file from the root that a page's link leads to, if that is not in docs/."""
    target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if target == "docs" or target.startswith("docs/") else target


def _text_page(file: Path) -> str:
    try:
        lexer = get_lexer_for_filename(file.name)
    except ClassNotFound:
        lexer = TextLexer()
    formatter = HtmlFormatter(full=True, title=file.relative_to(ROOT).as_posix(), linenos="inline", lineanchors="line")
    return highlight(file.read_text(encoding="utf-8"), lexer, formatter)
