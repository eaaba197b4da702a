"""permessage-deflate (RFC 7692) that compresses a frame once for all sockets, and inflates bounded.

Hypercorn 0.18 always negotiates wsproto's extension, per connection (FACTS 2): each socket then
holds 130 KiB of windows, each frame is compressed anew for every viewer, and a frame of 60 KB
inflates to 200 MB before its size is looked at. There is no setting for it, so `install` puts this
class in that one's place. It can go when Hypercorn takes an extension by its configuration.
"""

import zlib
from collections import OrderedDict

from hypercorn.protocol import ws_stream
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

INFLATED_AT_MOST = 64 * 1024  # bytes; as websocket_max_message_size in hypercorn.toml
WORTH_IT = 128  # bytes; shorter frames gain nothing
KEPT = 128  # compressed frames; what one flush sends to many sockets is far fewer

_compressed: OrderedDict[tuple[int, bytes], bytes] = OrderedDict()


class SharedDeflate(PerMessageDeflate):
    """No context is carried from message to message, on either side: nothing is kept per socket,
    and equal frames compress to equal bytes."""

    def __init__(self) -> None:
        super().__init__(client_no_context_takeover=True, server_no_context_takeover=True)
        self._inflated = 0

    def accept(self, offer: str) -> bool | str | None:
        try:
            return super().accept(offer)
        except ValueError:
            return None  # parameters that make no sense: then without compression

    def frame_outbound(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        data: bytes,
        fin: bool,
    ) -> tuple[RsvBits, bytes]:
        whole = fin and opcode in (Opcode.TEXT, Opcode.BINARY)
        if not whole or len(data) < WORTH_IT:
            return rsv, data
        return RsvBits(True, rsv[1], rsv[2]), compress(data, self.server_max_window_bits)

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        if not self._inbound_compressed or not self._inbound_is_compressible:
            return data
        assert self._decompressor is not None, "frame_inbound_header made it"
        # One byte more than the bound is enough for Hypercorn to refuse the message (1009).
        room = INFLATED_AT_MOST + 1 - self._inflated
        if room <= 0:
            return b""
        try:
            inflated = self._decompressor.decompress(bytes(data), room)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._inflated += len(inflated)
        return inflated

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        if fin and self._inflated > INFLATED_AT_MOST:
            # The rest stays folded: finishing it would inflate all of it.
            self._inflated = 0
            self._decompressor = None
            self._inbound_compressed = None
            return None
        if fin and self._inbound_is_compressible:
            self._inflated = 0
        return super().frame_inbound_complete(proto, fin)


def compress(data: bytes, window_bits: int) -> bytes:
    """The frame's deflated bytes, from memory when it was sent to another socket just now."""
    known = _compressed.get((window_bits, data))
    if known is not None:
        return known
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -window_bits)
    deflated = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    deflated = deflated[:-4]  # RFC 7692, 7.2.1: the empty block at the end is left out
    _compressed[window_bits, data] = deflated
    if len(_compressed) > KEPT:
        _compressed.popitem(last=False)
    return deflated


def install() -> None:
    """Put SharedDeflate where Hypercorn takes its extension from."""
    name = PerMessageDeflate.__name__
    assert getattr(ws_stream, name) in (PerMessageDeflate, SharedDeflate), "see the docstring"
    setattr(ws_stream, name, SharedDeflate)
