"""The little of Thrift's compact protocol that Parquet footers are taken apart and written with.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift (FileMetaData)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

MAGIC = b"PAR1"

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12
_BOOLEANS = (1, 2)
# Headers in FileMetaData: a field's number, less the last one's, and its type.
_NUM_ROWS, _ROW_GROUPS = 0x16, 0x19


def footer_parts(footer: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """Version and schema as they are, and where each RowGroup lies: offset and length.

    Raises ValueError or IndexError for what is no FileMetaData.
    """
    head, groups = b"", []
    at = number = 0
    while footer[at]:
        start = at
        number, kind, at = _field(footer, at, number)
        if number == 3:
            head = footer[:start]
        if number == 4:
            count, _, item = _list(footer, at)
            for _ in range(count):
                end = _after(footer, item, STRUCT)
                groups.append((item, end - item))
                item = end
        at = _after(footer, at, kind)
    return head, groups


def footer_of(head: bytes, groups: Sequence[bytes], rows: int) -> bytes:
    """The end of a Parquet file that has these RowGroups and no others."""
    numbers = bytes([_NUM_ROWS]) + integer(rows)
    return ended(b"".join((head, numbers, bytes([_ROW_GROUPS]), list_of(STRUCT, groups), b"\0")))


def ended(metadata: bytes) -> bytes:
    """A FileMetaData with what follows it in a Parquet file."""
    return metadata + len(metadata).to_bytes(4, "little") + MAGIC


def struct(*fields: tuple[int, int, bytes]) -> bytes:
    """A struct of fields: number, type and value, by number and less than 16 apart."""
    parts, last = [], 0
    for number, kind, value in fields:
        parts += [bytes([number - last << 4 | kind]), value]
        last = number
    return b"".join((*parts, b"\0"))


def list_of(kind: int, items: Sequence[bytes]) -> bytes:
    """A list of values of one type."""
    count = len(items)
    head = bytes([count << 4 | kind]) if count < 15 else bytes([0xF0 | kind]) + varint(count)
    return b"".join((head, *items))


def binary(value: bytes) -> bytes:
    """Bytes, or text in UTF-8."""
    return varint(len(value)) + value


def integer(number: int) -> bytes:
    """An integer that is not negative, of whatever size."""
    return varint(number << 1)


def varint(number: int) -> bytes:
    """A number as the protocol writes lengths."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def _field(data: bytes, at: int, last: int) -> tuple[int, int, int]:
    """Number and type of a field, and where its value begins."""
    header = data[at]
    if header >> 4:
        return last + (header >> 4), header & 15, at + 1
    number, at = read_varint(data, at + 1)
    return number >> 1, header & 15, at


def _list(data: bytes, at: int) -> tuple[int, int, int]:
    """How many elements, their type, and where they begin."""
    header = data[at]
    if header >> 4 < 15:
        return header >> 4, header & 15, at + 1
    count, at = read_varint(data, at + 1)
    return count, header & 15, at


def _after(data: bytes, at: int, kind: int) -> int:
    """Where a value ends."""
    if kind not in _AFTER:
        raise ValueError("no Parquet footer")
    return _AFTER[kind](data, at)


def _after_integer(data: bytes, at: int) -> int:
    while data[at] > 0x7F:
        at += 1
    return at + 1


def _after_binary(data: bytes, at: int) -> int:
    length, at = read_varint(data, at)
    return at + length


def _after_struct(data: bytes, at: int) -> int:
    while data[at]:
        _, kind, at = _field(data, at, 0)
        at = _after(data, at, kind)
    return at + 1


def _after_list(data: bytes, at: int) -> int:
    count, kind, at = _list(data, at)
    for _ in range(count):
        # A boolean in a list takes a byte; as a field, its type is its value.
        at = at + 1 if kind in _BOOLEANS else _after(data, at, kind)
    return at


_AFTER: dict[int, Callable[[bytes, int], int]] = {
    **dict.fromkeys(_BOOLEANS, lambda data, at: at),
    3: lambda data, at: at + 1,
    **dict.fromkeys((4, 5, 6), _after_integer),
    7: lambda data, at: at + 8,
    8: _after_binary,
    **dict.fromkeys((9, 10), _after_list),
    STRUCT: _after_struct,
}
