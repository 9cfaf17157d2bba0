# SPDX-License-Identifier: AGPL-3.0-or-later
"""Protobuf's wire format, as far as ONNX files need it: which fields a message holds. Knows no message's meaning."""

from collections.abc import Iterator

_SEVEN_BITS, _MORE = 0x7F, 0x80
_LONGEST_VARINT = 10
_BYTES = 2  # wire types: 0 a varint, 1 eight bytes, 2 a length and as many bytes, 5 four bytes


class NoMessageError(Exception):
    """What was read is no protobuf message."""


def fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield each field's number, all its bytes, and its content where it has a length (else nothing).

    Raises:
        NoMessageError: it is none, or was cut short.
    """
    at = 0
    while at < len(message):
        begin = at
        tag, at = _varint(message, at)
        content = message[:0]
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                length, at = _varint(message, at)
                content = message[at : at + length]
                at += length
            case 5:
                at += 4
            case _:
                raise NoMessageError
        if at > len(message):
            raise NoMessageError
        yield tag >> 3, message[begin:at], content


def contents(message: memoryview, field: int) -> list[memoryview]:
    """Return the content of every field with this number."""
    return [body for number, _, body in fields(message) if number == field]


def text(message: memoryview, field: int) -> list[str]:
    """Return every field with this number as text.

    Raises:
        UnicodeDecodeError: it is none.
    """
    return [str(body, "utf-8") for body in contents(message, field)]


def numbers(message: memoryview, field: int) -> list[int]:
    """Return every varint with this number; negative ones as they are stored, in 64 bits without a sign."""
    return [_value(raw) for number, raw, _ in fields(message) if number == field and not raw[0] & 7]


def _value(raw: memoryview) -> int:
    _, at = _varint(raw, 0)
    value, _ = _varint(raw, at)
    return value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in message[at : at + _LONGEST_VARINT]:
        at += 1
        value |= (byte & _SEVEN_BITS) << shift
        if not byte & _MORE:
            return value, at
        shift += 7
    raise NoMessageError


def field(number: int, content: bytes) -> bytes:
    """Return a field with a length."""
    return _to_varint(number << 3 | _BYTES) + _to_varint(len(content)) + content


def _to_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > _SEVEN_BITS:
        encoded.append(value & _SEVEN_BITS | _MORE)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
