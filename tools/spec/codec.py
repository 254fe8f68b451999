"""The bytes of godwit/1: integers, packet numbers, headers, frames and transport parameters (SPEC sections 3.1, 6 and 10)."""

from dataclasses import dataclass

VERSION = 0x67770001
MAX_VARINT = (1 << 62) - 1
MAX_CONNECTION_ID = 20

INITIAL, ZERO_RTT, HANDSHAKE, RETRY, SHORT, VERSION_NEGOTIATION = "initial", "0-rtt", "handshake", "retry", "short", "versions"
LONG_TYPES = (INITIAL, ZERO_RTT, HANDSHAKE, RETRY)


class FormError(ValueError):
    """Bytes that do not parse."""


def varint(value, width=0):
    """Encodes value in the shortest form, or in width bytes."""
    for exponent, size in enumerate((1, 2, 4, 8)):
        if value < 1 << (8 * size - 2) and size >= width:
            return (value | exponent << (8 * size - 2)).to_bytes(size, "big")
    raise FormError(f"{value} does not fit a varint")


class Reader:
    """Takes bytes apart from the front."""

    def __init__(self, data, at=0):
        self.data = data
        self.at = at

    def more(self):
        return self.at < len(self.data)

    def take(self, size):
        end = self.at + size
        if end > len(self.data):
            raise FormError(f"{size} bytes wanted, {len(self.data) - self.at} left")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def rest(self):
        return self.take(len(self.data) - self.at)

    def integer(self, size):
        return int.from_bytes(self.take(size), "big")

    def varint(self):
        size = 1 << (self.integer(1) >> 6)
        self.at -= 1
        return self.integer(size) & ((1 << (8 * size - 2)) - 1)

    def prefixed(self):
        return self.take(self.varint())

    def connection_id(self):
        size = self.integer(1)
        if size > MAX_CONNECTION_ID:
            raise FormError(f"connection ID of {size} bytes")
        return self.take(size)


# Packet numbers (RFC 9000, appendix A)


def truncate_number(number, largest_acked=-1):
    """The low bytes of number, enough for a receiver that has everything up to largest_acked."""
    size = 1
    while 1 << (8 * size) <= 2 * (number - largest_acked):
        size += 1
    return (number & ((1 << (8 * size)) - 1)).to_bytes(size, "big")


def expand_number(truncated, largest):
    """The number nearest to largest + 1 that ends in truncated."""
    window = 1 << (8 * len(truncated))
    expected = largest + 1
    candidate = (expected & ~(window - 1)) | int.from_bytes(truncated, "big")
    if candidate <= expected - window // 2 and candidate + window <= MAX_VARINT:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate


# Headers


def _ids(destination, source):
    return bytes([len(destination)]) + destination + bytes([len(source)]) + source


def long_header(kind, destination, source, number, rest, token=b"", version=VERSION):
    """The header of an Initial or Handshake packet; number is truncated, rest the bytes that follow it."""
    first = 0xC0 | LONG_TYPES.index(kind) << 4 | len(number) - 1
    header = bytes([first]) + version.to_bytes(4, "big") + _ids(destination, source)
    if kind == INITIAL:
        header += varint(len(token)) + token
    return header + varint(len(number) + rest, 2) + number


def short_header(destination, number, phase=0):
    return bytes([0x40 | phase << 2 | len(number) - 1]) + destination + number


def retry_packet(destination, source, token):
    """A Retry without its integrity tag; the four unused bits are 1."""
    return b"\xff" + VERSION.to_bytes(4, "big") + _ids(destination, source) + token


def version_negotiation(destination, source, versions):
    return b"\xc0" + bytes(4) + _ids(destination, source) + b"".join(v.to_bytes(4, "big") for v in versions)


@dataclass
class Packet:
    """What can be read of a packet before protection is removed."""

    kind: str
    destination: bytes
    data: bytes
    source: bytes = b""
    token: bytes = b""
    number_at: int = 0
    versions: tuple = ()


def read_packets(datagram, id_length):
    """The packets of a datagram; id_length is that of the connection IDs which the receiver issued."""
    packets = []
    reader = Reader(datagram)
    while reader.more():
        start = reader.at
        first = reader.integer(1)
        if not first & 0x80:
            destination = reader.take(id_length)
            packets.append(Packet(SHORT, destination, datagram[start:], number_at=reader.at - start))
            return packets
        version = reader.integer(4)
        destination, source = reader.connection_id(), reader.connection_id()
        if version == 0:
            rest = Reader(reader.rest())
            versions = []
            while rest.more():
                versions.append(rest.integer(4))
            return packets + [Packet(VERSION_NEGOTIATION, destination, datagram[start:], source, versions=tuple(versions))]
        if version != VERSION or not first & 0x40:
            raise FormError("a packet of another version or without the fixed bit")
        kind = LONG_TYPES[first >> 4 & 3]
        if kind == RETRY:
            token = reader.rest()[:-16]
            return packets + [Packet(RETRY, destination, datagram[start:], source, token)]
        token = reader.prefixed() if kind == INITIAL else b""
        length = reader.varint()
        number_at = reader.at - start
        reader.take(length)
        packets.append(Packet(kind, destination, datagram[start : reader.at], source, token, number_at))
    return packets


# Frames


class Frame:
    """A frame: its name and its fields as attributes."""

    def __init__(self, name, **fields):
        self.name = name
        self.__dict__.update(fields)

    def __eq__(self, other):
        return self.__dict__ == other.__dict__

    def __repr__(self):
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items() if k != 'name')})"


# Kinds of fields: i varint, data with its length before it, rest up to the end of the packet, id with one byte of length, a number of
# bytes; ranges, items and keyed items have functions of their own.
LAYOUTS = {
    0x01: ("PING", ""),
    0x02: ("ACK", "ranges:ranges"),
    0x03: ("ACK_ECN", "ranges:ranges ect0:i ect1:i ce:i"),
    0x04: ("RESET_STREAM", "stream:i error:i size:i"),
    0x05: ("STOP_SENDING", "stream:i error:i"),
    0x06: ("CRYPTO", "offset:i data:data"),
    0x07: ("NEW_TOKEN", "token:data"),
    0x10: ("MAX_DATA", "limit:i"),
    0x11: ("MAX_CHANNEL", "channel:i limit:i"),
    0x12: ("MAX_STREAMS", "limit:i"),
    0x14: ("BLOCKED", "limit:i"),
    0x15: ("CHANNEL_BLOCKED", "channel:i limit:i"),
    0x18: ("NEW_CONNECTION_ID", "sequence:i retire:i connection_id:id token:16"),
    0x19: ("RETIRE_CONNECTION_ID", "sequence:i"),
    0x1A: ("PATH_CHALLENGE", "data:8"),
    0x1B: ("PATH_RESPONSE", "data:8"),
    0x1C: ("CLOSE", "error:i frame_type:i reason:data"),
    0x1D: ("APPLICATION_CLOSE", "error:i reason:data"),
    0x1E: ("HANDSHAKE_DONE", ""),
    0x1F: ("IMMEDIATE_ACK", ""),
    0x20: ("ACK_FREQUENCY", "sequence:i threshold:i max_ack_delay:i reordering:i"),
    0x30: ("MESSAGE", "channel:i id:i data:data"),
    0x31: ("MESSAGE_KEYED", "channel:i id:i key:i data:data"),
    0x32: ("MESSAGES", "channel:i id:i items:items"),
    0x33: ("MESSAGES_KEYED", "channel:i id:i items:keyed"),
    0x34: ("FRAGMENT", "channel:i id:i offset:i total:i data:data"),
    0x35: ("FRAGMENT_KEYED", "channel:i id:i key:i offset:i total:i data:data"),
    0x36: ("SKIP", "channel:i up_to:i cost:i"),
}
for bits in range(8):
    LAYOUTS[0x08 | bits] = (
        "STREAM" + "_OFF" * (bits >> 2) + "_LEN" * (bits >> 1 & 1) + "_FIN" * (bits & 1),
        "stream:i " + "offset:i " * (bits >> 2) + ("data:data" if bits & 2 else "data:rest"),
    )
LAYOUTS = {t: (name, [f.split(":") for f in fields.split()]) for t, (name, fields) in LAYOUTS.items()}
TYPES = {name: t for t, (name, _) in LAYOUTS.items()}


def _encode_ranges(frame):
    """Ranges are (low, high), the highest first."""
    low, largest = frame.ranges[0]
    encoded = varint(largest) + varint(frame.delay) + varint(len(frame.ranges) - 1) + varint(largest - low)
    for next_low, next_high in frame.ranges[1:]:
        encoded += varint(low - next_high - 2) + varint(next_high - next_low)
        low = next_low
    return encoded


def _decode_ranges(reader, fields):
    high = reader.varint()
    fields["delay"] = reader.varint()
    count = reader.varint()
    if count > 63:
        raise FormError(f"ACK with {count + 1} ranges")
    low = high - reader.varint()
    ranges = [(low, high)]
    for _ in range(count):
        high = low - reader.varint() - 2
        low = high - reader.varint()
        ranges.append((low, high))
    if low < 0:
        raise FormError("ACK range below 0")
    return ranges


def _encode_items(frame, keyed):
    """Items are payloads, or pairs of key and payload; a count_width widens the count."""
    encoded = varint(len(frame.items), getattr(frame, "count_width", 0))
    for item in frame.items:
        if keyed:
            key, item = item
            encoded += varint(key)
        encoded += varint(len(item)) + item
    return encoded


def _decode_items(reader, keyed):
    items = []
    for _ in range(reader.varint()):
        key = reader.varint() if keyed else None
        data = reader.prefixed()
        items.append((key, data) if keyed else data)
    if not items:
        raise FormError("MESSAGES without a message")
    return items


def encode_frame(frame):
    if frame.name == "PADDING":
        return bytes(frame.size)
    encoded = bytes([TYPES[frame.name]])
    for name, kind in LAYOUTS[TYPES[frame.name]][1]:
        if kind == "ranges":
            encoded += _encode_ranges(frame)
            continue
        value = getattr(frame, name)
        if kind == "i":
            encoded += varint(value)
        elif kind == "data":
            encoded += varint(len(value)) + value
        elif kind == "id":
            encoded += bytes([len(value)]) + value
        elif kind in ("items", "keyed"):
            encoded += _encode_items(frame, kind == "keyed")
        else:
            encoded += value
    return encoded


def _decode_field(reader, kind, fields):
    if kind == "i":
        return reader.varint()
    if kind == "data":
        return reader.prefixed()
    if kind == "rest":
        return reader.rest()
    if kind == "id":
        return reader.connection_id()
    if kind == "ranges":
        return _decode_ranges(reader, fields)
    if kind in ("items", "keyed"):
        return _decode_items(reader, kind == "keyed")
    return reader.take(int(kind))


def _check_form(frame):
    """The rules of SPEC section 6.1 that are marked [form] and are not met by the shape alone."""
    if getattr(frame, "channel", 0) > 255 and frame.name not in ("MAX_CHANNEL", "CHANNEL_BLOCKED"):
        raise FormError(f"channel {frame.channel}")
    if frame.name == "CRYPTO" and frame.offset + len(frame.data) > MAX_VARINT:
        raise FormError("CRYPTO beyond 2^62 - 1")
    if frame.name == "NEW_TOKEN" and not frame.token:
        raise FormError("empty token")
    if frame.name == "NEW_CONNECTION_ID" and (not frame.connection_id or frame.retire > frame.sequence):
        raise FormError("NEW_CONNECTION_ID out of range")
    if frame.name.startswith("MESSAGES") and frame.id + len(frame.items) - 1 > MAX_VARINT:
        raise FormError("message ID above 2^62 - 1")
    if getattr(frame, "stream", 256) < 256:
        raise FormError(f"stream {frame.stream}")
    if frame.name == "MAX_STREAMS" and frame.limit > 1 << 60:
        raise FormError("more than 2^60 streams")


def decode_frames(payload):
    frames = []
    reader = Reader(payload)
    while reader.more():
        frame_type = reader.integer(1)
        if frame_type == 0:
            run = len(payload) - reader.at - len(payload[reader.at :].lstrip(b"\0"))
            reader.take(run)
            frames.append(Frame("PADDING", size=run + 1))
            continue
        if frame_type not in LAYOUTS:
            raise FormError(f"frame type {frame_type:#x}")
        name, layout = LAYOUTS[frame_type]
        fields = {}
        for field, kind in layout:
            fields[field] = _decode_field(reader, kind, fields)
        frame = Frame(name, **fields)
        _check_form(frame)
        frames.append(frame)
    return frames


# Transport parameters

PARAMETERS = {
    0x00: ("original_destination_connection_id", "bytes"),
    0x01: ("max_idle_timeout", "int"),
    0x02: ("stateless_reset_token", "bytes"),
    0x03: ("max_udp_payload_size", "int"),
    0x04: ("initial_max_data", "int"),
    0x08: ("initial_max_streams", "int"),
    0x0A: ("ack_delay_exponent", "int"),
    0x0B: ("max_ack_delay", "int"),
    0x0E: ("active_connection_id_limit", "int"),
    0x0F: ("initial_source_connection_id", "bytes"),
    0x10: ("retry_source_connection_id", "bytes"),
    0x11: ("version_information", "versions"),
    0x6700: ("initial_max_channel", "int"),
    0x6701: ("max_message_size", "int"),
    0x6702: ("channels", "channels"),
    0x6703: ("plain_mode", "bytes"),
    0xFF04DE1B: ("min_ack_delay", "int"),
}
PARAMETER_IDS = {name: number for number, (name, _) in PARAMETERS.items()}


@dataclass
class ChannelEntry:
    channel: int
    mode: int
    priority: int
    weight: int
    limit: int


def encode_parameter(number, value):
    """One parameter; a value of bytes is taken as it is, so that a faulty one can be sent too."""
    if isinstance(value, int):
        value = varint(value)
    elif isinstance(value, tuple):
        value = b"".join(v.to_bytes(4, "big") for v in value)
    elif isinstance(value, list):
        value = b"".join(
            varint(e.channel) + bytes([e.mode, e.priority & 0xFF, e.weight]) + varint(e.limit) for e in value
        )
    return varint(number) + varint(len(value)) + value


def encode_parameters(named):
    """All parameters of a dict, in the order of their IDs."""
    numbers = sorted((PARAMETER_IDS[name], value) for name, value in named.items())
    return b"".join(encode_parameter(number, value) for number, value in numbers)


def _decode_value(value, form):
    if form == "bytes":
        return value
    reader = Reader(value)
    if form == "int":
        decoded = reader.varint()
        if reader.more():
            raise FormError("bytes behind an integer parameter")
        return decoded
    decoded = []
    while reader.more():
        if form == "versions":
            decoded.append(reader.integer(4))
            continue
        channel, mode, priority, weight = reader.varint(), reader.integer(1), reader.integer(1), reader.integer(1)
        decoded.append(ChannelEntry(channel, mode, priority - 256 * (priority > 127), weight, reader.varint()))
    return tuple(decoded) if form == "versions" else decoded


def decode_parameters(data):
    """The known parameters by name; unknown ones are passed over."""
    named = {}
    reader = Reader(data)
    while reader.more():
        number, value = reader.varint(), reader.prefixed()
        if number not in PARAMETERS:
            continue
        name, form = PARAMETERS[number]
        if name in named:
            raise FormError(f"{name} twice")
        named[name] = _decode_value(value, form)
    return named
