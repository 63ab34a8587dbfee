"""Downloads the left-atrium cases from their public repository and checks them against the known checksums.

A file appears only when it is complete and correct. Re-running skips these files, so an interrupted download continues.
"""

import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pooch
import requests

from data.case import DataError
from data.errors import one_line
from data.la import FILE, IMAGES, PREPARATION, images_folder
from data.progress import follow

REPOSITORY = "https://raw.githubusercontent.com/yulequan/UA-MT/master/data/2018LA_Seg_Training%20Set"
CHECKSUMS = Path(__file__).parent / "lists" / "la_sha256.txt"
ATTEMPTS = 5  # of a file, with a pause of 1, 2, ... seconds between
AT_A_TIME = 8
TIMEOUT = 30  # seconds without a byte


def la_checksums() -> dict[str, str]:
    """The sha256 of the file of each of the 100 cases, by case id."""
    lines = (line.split(maxsplit=1) for line in CHECKSUMS.read_text(encoding="utf-8").splitlines())
    return {name.removesuffix(f"/{FILE}"): digest for digest, name in lines}


def fetch_la(
    root: Path,
    origin: str = REPOSITORY,
    on_file: Callable[[str, str | None], None] = lambda case_id, reason: None,
) -> dict[str, str]:
    """Download the 100 cases to `root`/2018LA_Seg_Training Set/<case>/mri_norm2.h5.

    Args:
        root: the folder of the data set.
        origin: where `<case>/mri_norm2.h5` lies: a URL (the repository or a mirror) or a folder.
        on_file: called after each case with its id, and with the reason if it failed.

    Returns:
        Why cases failed, by case id.

    Raises:
        DataError: the folder cannot be written, or `origin` is no folder.
    """
    remote = "://" in origin
    if not remote:
        if not Path(origin).is_dir():
            raise DataError(f"--from {origin}: there is no such folder; give a folder of cases or a URL")
        origin = str(images_folder(Path(origin)))
    checksums = la_checksums()
    folder = root / IMAGES
    if (root / PREPARATION).exists():
        raise DataError(f"{root} holds cases that `data prepare` made from raw scans: choose another folder with --to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error}") from error
    pooch.get_logger().setLevel(logging.CRITICAL)  # failures are reported once, at the end
    registry = {f"{case}/{FILE}": f"sha256:{digest}" for case, digest in checksums.items()}
    attempts = ATTEMPTS if remote else 1
    files = pooch.create(folder, f"{origin.rstrip('/')}/", registry=registry, retry_if_failed=attempts - 1)
    stopped = Event()

    def download(url: str, file: str, of: pooch.Pooch) -> None:
        if stopped.is_set():
            raise InterruptedError("interrupted")  # pooch does not retry it
        (_download if remote else _copy)(url, file, of)

    def fetch_case(case: str) -> tuple[str, str | None]:
        try:
            files.fetch(f"{case}/{FILE}", downloader=download)
            reason = None
        except (ValueError, OSError, requests.RequestException) as error:  # a wrong checksum is a ValueError
            reason = one_line(error)
        on_file(case, reason)
        return case, reason

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            outcomes = list(pool.map(fetch_case, checksums))
        except KeyboardInterrupt:
            stopped.set()  # otherwise the pool would fetch the rest first
            pool.shutdown(cancel_futures=True)
            raise
    return {case: reason for case, reason in outcomes if reason is not None}


def verify_la(root: Path) -> dict[str, str]:
    """Compare the cases of a folder with the known checksums.

    Args:
        root: the folder of the data set.

    Returns:
        What is wrong, by case id: missing, unreadable, or with another checksum.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: give the left-atrium folder")
    folder = images_folder(root)
    wrong = {}
    for case, digest in follow(la_checksums().items(), "checking files"):
        path = folder / case / FILE
        try:
            found = pooch.file_hash(path, alg="sha256")
        except OSError as error:
            wrong[case] = "missing" if not path.exists() else f"cannot be read: {error}"
        else:
            if found != digest:
                wrong[case] = f"its sha256 is {found[:12]}…, not {digest[:12]}…"
    return wrong


def _download(url: str, file: str, files: pooch.Pooch) -> None:
    pooch.HTTPDownloader(progressbar=False, timeout=TIMEOUT)(url, file, files)


def _copy(source: str, file: str, files: pooch.Pooch) -> None:
    if not os.path.isfile(source):
        raise FileNotFoundError(f"there is no {source}")
    shutil.copyfile(source, file)
