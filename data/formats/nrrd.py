"""NRRD files (.nrrd, .nhdr): what their header claims."""

import math
import re
from pathlib import Path

from data.formats.header import (
    Header,
    check_claim,
    damaged,
    hint,
    listed,
    local_files,
    numbers,
    other_unit,
    series,
    text_header,
)

BYTES = {
    1: "signed char|int8|int8_t|uchar|unsigned char|uint8|uint8_t",
    2: "short|short int|signed short|signed short int|int16|int16_t|ushort|unsigned short|unsigned short int|uint16|"
    "uint16_t",
    4: "int|signed int|int32|int32_t|uint|unsigned int|uint32|uint32_t|float",
    8: "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t|ulonglong|"
    "unsigned long long|unsigned long long int|uint64|uint64_t|double",
}
PACKED = ("gzip", "gz")
PLAIN = ("raw", "txt", "text", "ascii", "hex")


def read_header(path: Path) -> Header:
    """The header of a file. Raises DataError for impossible claims."""
    fields, begin, rest = _fields(path)
    for needed in ("dimension", "sizes", "type", "encoding"):
        if needed not in fields:
            raise damaged(path, f"its header has no field {needed}")
    dimensions = numbers(path, "dimension", fields["dimension"], int)
    shape = numbers(path, "sizes", fields["sizes"], int)
    if len(dimensions) != 1 or not 1 <= dimensions[0] <= 16 or len(shape) != dimensions[0]:
        raise damaged(path, f"dimension is {fields['dimension']!r} and sizes {fields['sizes']!r}, which do not fit")
    kind, encoding = fields["type"].lower(), fields["encoding"].lower()
    voxel_bytes = next((size for size, names in BYTES.items() if kind in names.split("|")), None)
    if voxel_bytes is None or encoding not in PACKED + PLAIN:
        raise damaged(path, f"its type is {kind!r} and its encoding {encoding!r}; convert it to raw or gzip")
    names = _data_files(path, fields.get("datafile"), rest)
    files = local_files(path, names)
    stored = sum(file.stat().st_size for file in files) if files else path.stat().st_size - begin
    check_claim(path, shape, voxel_bytes if encoding in ("raw", *PACKED) else 1, stored, encoding in PACKED)
    units = re.findall(r'"([^"]*)"', fields.get("spaceunits", fields.get("units", "")))
    return Header(_space(shape, fields), _stated(path, fields), files, unit=other_unit(*units))


def _space(shape: tuple[int, ...], fields: dict[str, str]) -> tuple[int, ...]:
    """The sizes without a first axis of length 1 that is no axis of space."""
    vector = len(shape) == 4 and shape[0] == 1 and fields.get("spacedirections", "").split()[:1] == ["none"]
    return shape[1:] if vector else shape


def _stated(path: Path, fields: dict[str, str]) -> dict[str, tuple[float, ...]]:
    if "spacedirections" in fields:
        vectors = re.findall(r"\(([^)]*)\)", fields["spacedirections"])
        lengths = [math.hypot(*numbers(path, "space directions", vector)) for vector in vectors]
        return {"space directions": tuple(lengths[:3])}
    return {"spacings": numbers(path, "spacings", fields["spacings"])[:3]} if "spacings" in fields else {}


def _fields(path: Path) -> tuple[dict[str, str], int, bytes]:
    """The fields by their names in small letters without blanks; where the voxels begin; the lines of the header after
    `data file: LIST`."""
    content = text_header(path)
    if not re.match(rb"NRRD000\d\r?\n", content):
        raise damaged(path, f"it has no NRRD header{hint(content)}")
    blank = re.search(rb"\r?\n\r?\n", content)
    end = blank.end() if blank else len(content)
    if blank is None and len(content) < path.stat().st_size:
        raise damaged(path, "its header has no end")
    fields: dict[str, str] = {}
    lines = content[: blank.start() if blank else end].decode("latin-1").splitlines()[1:]
    for number, line in enumerate(lines, start=1):
        name, colon, value = line.partition(":")
        if line.startswith("#") or not colon or value.startswith("="):  # a comment, or a key of the user's
            continue
        name = re.sub(r"\s", "", name).lower()
        if name in fields:
            raise damaged(path, f"its header has the field {name} twice")
        fields[name] = value.strip()
        if name == "datafile" and value.split()[:1] == ["LIST"]:
            return fields, end, "\n".join(lines[number:]).encode("latin-1")
    return fields, end, b""


def _data_files(path: Path, value: str | None, rest: bytes) -> list[str]:
    """The names of the files with the voxels: none, one, a list, or a numbered series."""
    if value is None:
        return []
    words = value.split()
    if not words:
        raise damaged(path, "its data file is not named")
    if words[0] == "LIST":
        return listed(path, rest)
    return series(path, words[0], *(words[1:] + ["1"] * 3)[:3]) if "%" in value else [value]
