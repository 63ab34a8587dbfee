"""MetaImage files (.mha, .mhd): what their header claims."""

import math
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
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_LONG": 4,
    "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip


def read_header(path: Path) -> Header:
    """The header of a file. Raises DataError for impossible claims."""
    fields, begin, rest = _fields(path)
    for needed in ("ndims", "dimsize", "elementtype"):
        if needed not in fields:
            raise damaged(path, f"its header has no field {needed}")
    dimensions = numbers(path, "NDims", fields["ndims"], int)
    shape = numbers(path, "DimSize", fields["dimsize"], int)
    if len(dimensions) != 1 or not 1 <= dimensions[0] <= 9 or len(shape) != dimensions[0]:
        raise damaged(path, f"NDims is {fields['ndims']!r} and DimSize {fields['dimsize']!r}, which do not fit")
    voxel_bytes = BYTES.get(fields["elementtype"].upper())
    if voxel_bytes is None:
        raise damaged(path, f"its ElementType is {fields['elementtype']!r}, which is none of {', '.join(BYTES)}")
    for name, least in (("headersize", -1), ("compresseddatasize", 0), ("elementnumberofchannels", 1)):
        if name in fields and any(n < least for n in numbers(path, name, fields[name], float)):
            raise damaged(path, f"its field {name} is {fields[name]!r}")
    names = _data_files(path, fields["elementdatafile"], rest)
    files = local_files(path, names)
    stored = sum(file.stat().st_size for file in files) if files else path.stat().st_size - begin
    packed = fields.get("compresseddata", "").lower() in ("true", "1")
    binary = fields.get("binarydata", "true").lower() in ("true", "1")
    channels = numbers(path, "channels", fields.get("elementnumberofchannels", "1"))[:1] or (1,)
    check_claim(path, shape, voxel_bytes * channels[0] if binary else 1, stored, packed)
    stated = {name: _sizes(path, name, fields) for name in ("ElementSpacing", "ElementSize") if name.lower() in fields}
    return Header(shape, stated, files, unit=other_unit(fields.get("distanceunits", "")))


def _sizes(path: Path, name: str, fields: dict[str, str]) -> tuple[float, ...]:
    sizes = numbers(path, name, fields[name.lower()])
    if len(sizes) < 3 or not all(0 < mm < math.inf for mm in sizes):  # with which ITK reads nothing
        raise damaged(
            path,
            f"its field {name} is {fields[name.lower()]!r}: write the mm of each axis there, or remove the line and "
            "set data.voxel",
        )
    return sizes[:3]


def _fields(path: Path) -> tuple[dict[str, str], int, bytes]:
    """The fields by lower-case name, the position of the first voxel, and what follows the header."""
    content = text_header(path)
    fields: dict[str, str] = {}
    position = 0
    while "elementdatafile" not in fields:
        end = content.find(b"\n", position)
        end = len(content) if end < 0 else end
        line = content[position:end].decode("latin-1").strip()
        name, equals, value = line.partition("=")
        if not equals or position >= len(content):
            raise damaged(path, f"it has no MetaImage header{hint(content)}")
        name = name.strip().lower()
        if name in fields:
            raise damaged(path, f"its header has the field {name} twice")
        fields[name] = value.strip()
        position = end + 1
    return fields, position, content[position:]


def _data_files(path: Path, value: str, rest: bytes) -> list[str]:
    """The names of the files with the voxels: none, one, a list below the header, or a numbered series."""
    words = value.split()
    if value.lower() == "local":
        return []
    if not words:
        raise damaged(path, "its ElementDataFile is empty")
    if words[0].lower() == "list":
        return listed(path, rest)
    return series(path, words[0], *(words[1:] + ["1"] * 3)[:3]) if "%" in value else [value]
