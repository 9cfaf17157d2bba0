# SPDX-License-Identifier: AGPL-3.0-or-later
"""A page of memory that outlives a crash: it names the cameras whose packets are being decoded right now.

The parent makes it and the child writes to it, one slot a decoder thread. When the child dies in native code, the parent
reads who was there. Nothing is locked: a slot has one writer, and its reader reads when that one is gone.

A slot of 512 bytes, little endian: the length of the name (2 bytes, 0: nobody), 6 bytes unused, when it began (8 bytes,
monotonic nanoseconds, which on one machine mean the same in every process), the name in UTF-8.
"""

import mmap
import os
import struct
import tempfile
import time
import weakref
from types import TracebackType
from typing import Self

SLOTS = 128
_SLOT_BYTES = 512
_HEAD = struct.Struct("<H6xq")
_LENGTH = struct.Struct("<H")
_MOST_NAME_BYTES = _SLOT_BYTES - _HEAD.size


class DecodingPage:
    """Shared memory with a slot for each decoder thread.

    Args:
        descriptor: of the memory, which must be `SLOTS` slots long; the page closes it, at the latest when it is gone.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._hang_up = descriptor, weakref.finalize(self, os.close, descriptor)
        self._memory = mmap.mmap(descriptor, SLOTS * _SLOT_BYTES)
        self._decodings = tuple(Decoding(self._memory, slot * _SLOT_BYTES) for slot in range(SLOTS))

    @classmethod
    def create(cls) -> "DecodingPage":
        """Return an empty page; a child process that inherits `descriptor` can attach to it."""
        descriptor = _anonymous()
        os.ftruncate(descriptor, SLOTS * _SLOT_BYTES)
        return cls(descriptor)

    @property
    def descriptor(self) -> int:
        """What a child has to inherit."""
        return self._descriptor

    def decoding(self, slot: int, camera_id: str) -> "Decoding":
        """Name a camera in a slot: `with page.decoding(slot, camera_id): …`; the name goes when the block is left.

        A slot belongs to one thread, and blocks of one slot are not nested.
        """
        decoding = self._decodings[slot]
        decoding.name = camera_id
        return decoding

    def named(self, for_at_least_s: float = 0.0) -> list[str]:
        """Return the cameras that are named, of those only what has been there for so long; each once.

        What cannot be read (a process that died while it wrote) is left out.
        """
        now, found = time.monotonic_ns(), []
        for offset in range(0, SLOTS * _SLOT_BYTES, _SLOT_BYTES):
            length, since_ns = _HEAD.unpack_from(self._memory, offset)
            if not 0 < length <= _MOST_NAME_BYTES or now - since_ns < for_at_least_s * 1e9:
                continue
            start = offset + _HEAD.size
            name = self._memory[start : start + length].decode("utf-8", "replace")
            if name not in found:
                found.append(name)
        return found

    def clear(self) -> None:
        """Empty every slot. Only while nobody writes."""
        self._memory[:] = bytes(len(self._memory))

    def close(self) -> None:
        """Let go of the memory. Only while nobody writes."""
        self._memory.close()
        self._hang_up()


class Decoding:
    """One slot, and the block in which a camera stands in it. Made once; made anew for every packet it would cost too much."""

    __slots__ = ("_memory", "_offset", "_start", "name")

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory, self._offset, self._start = memory, offset, offset + _HEAD.size
        self.name = ""

    def __enter__(self) -> Self:
        data = self.name.encode("utf-8", "replace")[:_MOST_NAME_BYTES]
        self._memory[self._start : self._start + len(data)] = data
        _HEAD.pack_into(self._memory, self._offset, len(data), time.monotonic_ns())  # last: now it counts
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _LENGTH.pack_into(self._memory, self._offset, 0)


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("gridwatch-decoding")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
