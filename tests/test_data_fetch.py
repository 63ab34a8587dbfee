"""Fetching from a server that drops connections, truncates and corrupts; everything is served on this machine."""

import hashlib
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from data import fetch
from data.case import DataError
from data.la import FILE, IMAGES

CONTENT = {f"CASE{i}": bytes([i]) * 20_000 for i in range(6)}


class Server(BaseHTTPRequestHandler):
    """`trouble`: what happens to the first requests of a case, in order; afterwards it is served as it is."""

    trouble: dict[str, list[str]] = {}
    requests: Counter = Counter()

    def do_GET(self):  # noqa: N802
        case = unquote(self.path).split("/")[-2]
        type(self).requests[case] += 1
        wrong = self.trouble.get(case, [])
        kind = wrong.pop(0) if wrong else "none"
        body = CONTENT.get(case)
        if kind == "drop":
            self.connection.close()
            return
        if body is None or kind == "error":
            self.send_error(404 if body is None else 503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "truncate":
            body = body[: len(body) // 2]
        if kind == "corrupt":
            body = body[:-1] + b"\xff"
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def origin(monkeypatch, tmp_path):
    checksums = tmp_path / "sha256.txt"
    lines = [f"{hashlib.sha256(body).hexdigest()}  {case}/{FILE}" for case, body in CONTENT.items()]
    checksums.write_text("\n".join(lines))
    monkeypatch.setattr(fetch, "CHECKSUMS", checksums)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # pauses between attempts
    Server.trouble, Server.requests = {}, Counter()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/some%20folder"
    server.shutdown()
    server.server_close()


def present(root):
    return {path.parent.name: path.read_bytes() for path in (root / IMAGES).glob(f"*/{FILE}")}


def leftovers(root):
    return [path for path in root.rglob("*") if path.is_file() and path.name != FILE]


def test_all_cases_arrive_as_distributed(origin, tmp_path):
    ended = []
    assert fetch.fetch_la(tmp_path / "la", origin, on_file=lambda case, reason: ended.append((case, reason))) == {}
    assert present(tmp_path / "la") == CONTENT and not leftovers(tmp_path / "la")
    assert sorted(ended) == [(case, None) for case in sorted(CONTENT)]
    assert fetch.verify_la(tmp_path / "la") == {}


@pytest.mark.parametrize("kind", ["drop", "error", "truncate", "corrupt"])
def test_a_bad_answer_is_asked_for_again(origin, kind, tmp_path):
    Server.trouble = {"CASE1": [kind] * 2, "CASE4": [kind]}
    assert fetch.fetch_la(tmp_path / "la", origin) == {}
    assert present(tmp_path / "la") == CONTENT and not leftovers(tmp_path / "la")
    assert Server.requests["CASE1"] == 3 and Server.requests["CASE4"] == 2 and Server.requests["CASE0"] == 1


@pytest.mark.parametrize("kind", ["drop", "error", "truncate", "corrupt"])
def test_what_stays_bad_is_named_and_nothing_of_it_stays(origin, kind, tmp_path):
    Server.trouble = {"CASE2": [kind] * 99}
    failed = fetch.fetch_la(tmp_path / "la", origin)
    assert list(failed) == ["CASE2"] and failed["CASE2"]
    assert present(tmp_path / "la") == {case: body for case, body in CONTENT.items() if case != "CASE2"}
    assert not leftovers(tmp_path / "la")
    assert Server.requests["CASE2"] == fetch.ATTEMPTS


def test_a_second_fetch_asks_for_what_is_missing_or_wrong_alone(origin, tmp_path):
    fetch.fetch_la(tmp_path / "la", origin)
    (tmp_path / "la" / IMAGES / "CASE0" / FILE).unlink()
    (tmp_path / "la" / IMAGES / "CASE3" / FILE).write_bytes(b"damaged")
    wrong = fetch.verify_la(tmp_path / "la")
    assert wrong["CASE0"] == "missing" and "sha256" in wrong["CASE3"] and len(wrong) == 2
    Server.requests.clear()
    assert fetch.fetch_la(tmp_path / "la", origin) == {}
    assert Server.requests == {"CASE0": 1, "CASE3": 1}
    assert present(tmp_path / "la") == CONTENT


def test_a_folder_is_copied_from_and_held_to_the_checksums_too(origin, tmp_path):
    fetch.fetch_la(tmp_path / "mirror", origin)
    (tmp_path / "mirror" / IMAGES / "CASE5" / FILE).write_bytes(b"damaged")
    (tmp_path / "mirror" / IMAGES / "CASE2" / FILE).unlink()
    failed = fetch.fetch_la(tmp_path / "la", str(tmp_path / "mirror" / IMAGES))
    assert sorted(failed) == ["CASE2", "CASE5"]
    assert "there is no" in failed["CASE2"]
    assert len(present(tmp_path / "la")) == 4 and not leftovers(tmp_path / "la")


def test_an_origin_that_is_nowhere_is_refused(origin, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        fetch.fetch_la(tmp_path / "la", str(tmp_path / "nowhere"))


def test_a_place_that_cannot_be_written_is_refused(origin, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write to"):
        fetch.fetch_la(tmp_path / "file", origin)


def test_the_shipped_checksums_are_of_the_published_split():
    cases = fetch.la_checksums()
    listed = [
        line.strip().removesuffix(f"/{FILE}")
        for name in ("la_train.list", "la_test.list")
        for line in (fetch.CHECKSUMS.parent / name).read_text().split()
    ]
    assert sorted(cases) == sorted(listed) and len(cases) == 100
    assert all(len(digest) == 64 for digest in cases.values())


def test_an_interrupted_fetch_tries_nothing_more(origin, tmp_path, monkeypatch):
    Server.trouble = {case: ["error"] * 99 for case in CONTENT}
    monkeypatch.setattr(fetch, "AT_A_TIME", 2)

    def interrupt(case, reason):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch_la(tmp_path / "la", origin, on_file=interrupt)
    assert sum(Server.requests.values()) < fetch.ATTEMPTS * len(CONTENT)
    assert len(Server.requests) < len(CONTENT)  # those that had not begun were not


def test_another_folder_may_be_the_distributions_or_that_of_its_cases(origin, tmp_path):
    fetch.fetch_la(tmp_path / "la", origin)
    for number, place in enumerate((tmp_path / "la", tmp_path / "la" / IMAGES)):
        assert fetch.fetch_la(tmp_path / f"copy{number}", str(place)) == {}
        assert present(tmp_path / f"copy{number}") == CONTENT
