"""The documentation site builds without a warning, and its pages lead somewhere, to lines of the code, too."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},  # of its theme's end
    )  # fmt: skip
    assert built.returncode == 0 and "WARNING" not in built.stdout + built.stderr, built.stdout + built.stderr
    return folder


class _Links(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        if tag in ("a", "img", "link", "script"):
            self.links += [attrs[key] for key in ("href", "src") if attrs.get(key)]


def test_every_page_is_there_and_leads_somewhere(site):
    pages = {page: _Links(page) for page in site.rglob("*.html")}
    assert {"index.html", "guides/data.html", "methods/dtml.html", "code/methods/dtml.py.html"} <= {
        page.relative_to(site).as_posix() for page in pages
    }
    for page, found in pages.items():
        for link in found.links:
            if re.match(r"[a-z]+:|//", link) or page.name == "404.html":
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{page.relative_to(site)} links to {link}"
            if anchor and target in pages and not anchor.startswith("__"):
                assert anchor in pages[target].anchors, f"{page.relative_to(site)} links to {link}"


def test_nothing_is_fetched_from_elsewhere(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="https?://[^"]+\.(?:js|css|woff2?)"', text)
