"""Writes small files of the data package."""

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write a file in one step: a reader sees the earlier text or the new one, whole."""
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
