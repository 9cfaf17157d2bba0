# SPDX-License-Identifier: AGPL-3.0-or-later
"""Key pictures in one piece. Nothing is decoded here.

Where a camera codes a picture in several slices and puts the parameter sets before each of them, FFmpeg's parser cuts it:
it takes every parameter set for the beginning of a picture.
"""

from dataclasses import replace

from ingest import annexb
from ingest.packets import Packet

_MOST_BYTES = 8 << 20  # of a picture: a stream that has lost its first slices must not be joined for ever


class WholeKeys:
    """Joins the pieces of one stream's key pictures.

    A stream is taken to send them whole until it has sent a piece; from then on each key picture waits for the packet
    after it. To be asked about key pictures, and about what follows one that is `held`.

    Attributes:
        held: a key picture that may not be whole yet; None where nothing waits.
    """

    __slots__ = ("_in_pieces", "held")

    def __init__(self) -> None:
        self._in_pieces = False
        self.held: Packet | None = None

    def take(self, packet: Packet) -> list[Packet]:
        """Return what is whole now, in order.

        The first piece of a stream is known by the second, when it has gone out already: that one then goes out as a picture
        that refers to it.
        """
        held, self.held = self.held, None
        if packet.is_key and not annexb.begins_picture(packet.payload, packet.info.codec):
            self._in_pieces = True
            if held is None or held.size + packet.size > _MOST_BYTES:
                return [*([held] if held else []), replace(packet, is_key=False)]
            self.held = _joined(held, packet)
            return []
        ready = [] if held is None else [held]
        if packet.is_key and self._in_pieces:
            self.held = packet
        else:
            ready.append(packet)
        return ready


def _joined(one: Packet, other: Packet) -> Packet:
    pts = other.pts if one.pts is None else one.pts
    dts = other.dts if one.dts is None else one.dts
    return replace(one, payload=one.payload + other.payload, pts=pts, dts=dts)
