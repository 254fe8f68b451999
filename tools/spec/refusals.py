"""What a server refuses, and with which error code: one table for the handshake, one for packets behind it."""

from dataclasses import dataclass, field

import codec
from codec import INITIAL, SHORT, VERSION, ChannelEntry, Frame

STREAM_LIMIT_ERROR, STREAM_STATE_ERROR, FINAL_SIZE_ERROR = 0x04, 0x05, 0x06
FLOW_CONTROL_ERROR, FRAME_ENCODING_ERROR, TRANSPORT_PARAMETER_ERROR = 0x03, 0x07, 0x08
CONNECTION_ID_LIMIT_ERROR, PROTOCOL_VIOLATION, CRYPTO_BUFFER_EXCEEDED = 0x09, 0x0A, 0x0D
KEY_UPDATE_ERROR, VERSION_NEGOTIATION_ERROR = 0x0E, 0x11
UNEXPECTED_MESSAGE, MISSING_EXTENSION, NO_APPLICATION_PROTOCOL = 0x10A, 0x16D, 0x178
CHANNEL_MISMATCH, MESSAGE_TOO_LARGE, REASSEMBLY_ERROR, PLAIN_MODE_MISMATCH, MESSAGE_LIMIT = range(0x6701, 0x6706)

MAX_MESSAGE = 262144
ANSWER_TIME = 2.0


@dataclass
class Hello:
    """A handshake that is refused: options of the connection, and bytes or frames in place of ClientHello."""

    name: str
    code: int
    options: dict = field(default_factory=dict)
    hello: bytes = None
    frames: tuple = ()

    def provoke(self, server):
        with server.connection(**self.options) as connection:
            if self.frames:
                connection.spaces[INITIAL].pending.extend(self.frames)
            else:
                connection.start(self.hello)
            connection.run(lambda: connection.closed, ANSWER_TIME)
            return connection.closed


@dataclass
class Packets:
    """Packets that are refused: their payloads, or a function that takes a connection and sends."""

    name: str
    code: int
    sends: object
    options: dict = field(default_factory=dict)

    def frame_type(self):
        """The type that CLOSE names: that of the last packet's frame, 0 for what is wrong about the packet itself."""
        return 0 if callable(self.sends) else self.sends[-1][0]

    def provoke(self, server):
        with server.connection(**self.options) as connection:
            connection.connect()
            if callable(self.sends):
                self.sends(connection)
            else:
                for payload in self.sends:
                    connection.send_payload(connection.spaces[SHORT], payload)
            connection.run(lambda: connection.closed, ANSWER_TIME)
            return connection.closed


def _parameters(name, code=TRANSPORT_PARAMETER_ERROR, **parameters):
    return Hello(f"transport parameters: {name}", code, dict(parameters=parameters))


def _channels(name, *entries, code=TRANSPORT_PARAMETER_ERROR):
    return _parameters(name, code, channels=list(entries))


def _frame(name, **fields):
    return codec.encode_frame(Frame(name, **fields))


def _message(**fields):
    return _frame("MESSAGE", **(dict(channel=0, id=0, data=b"x") | fields))


def _stream(**fields):
    return _frame("STREAM_OFF_LEN_FIN", **(dict(stream=256, offset=0, data=b"x") | fields))


def _fragment(**fields):
    return _frame("FRAGMENT", **(dict(channel=0, id=0, offset=0, total=1000, data=b"x") | fields))


def _new_id(sequence, retire=0, connection_id=b"1234"):
    return _frame("NEW_CONNECTION_ID", sequence=sequence, retire=retire, connection_id=connection_id, token=bytes(16))


def _ack(largest, count=0, first=0, rest=b""):
    return b"\x02" + codec.varint(largest) + b"\0" + codec.varint(count) + codec.varint(first) + rest


def _two_updates(connection):
    # Both packets are built before the first leaves, so that it is not acknowledged in between.
    space, datagrams = connection.spaces[SHORT], []
    for phase in (1, 0):
        connection.update_keys()
        number = space.next.to_bytes(4, "big")
        header = codec.short_header(connection.destination, number, phase)
        datagrams.append(connection.write_keys[SHORT].seal(header, space.next, b"\x01"))
        space.next += 1
    for datagram in datagrams:
        connection.send_datagram(datagram)


def _empty_packet(connection):
    # Four bytes of packet number, so that no padding is needed for the sample of header protection.
    space = connection.spaces[SHORT]
    header = codec.short_header(connection.destination, space.next.to_bytes(4, "big"))
    connection.send_datagram(connection.write_keys[SHORT].seal(header, space.next, b""))
    space.next += 1


def _reserved_bits(connection):
    connection.send_payload(connection.spaces[SHORT], b"\x01", reserved=0x08)


REFUSALS = [
    Hello("ALPN of another protocol", NO_APPLICATION_PROTOCOL, dict(alpn=b"h3")),
    Hello("no ALPN", NO_APPLICATION_PROTOCOL, dict(alpn=b"")),
    Hello("a session of another kind", UNEXPECTED_MESSAGE, hello=b"\x02" + bytes(40)),
    Hello("ClientHello of 4,097 bytes", CRYPTO_BUFFER_EXCEEDED, dict(hello_size=4097)),
    Hello(
        "nine separate pieces of CRYPTO",
        CRYPTO_BUFFER_EXCEEDED,
        frames=tuple(Frame("CRYPTO", offset=at, data=b"x") for at in range(100, 1000, 100)),
    ),
    Hello("MESSAGE in an Initial", PROTOCOL_VIOLATION, frames=(Frame("MESSAGE", channel=0, id=0, data=b""),)),
    Hello("plain_mode to a server that encrypts", PLAIN_MODE_MISMATCH, dict(parameters=dict(plain_mode=b""))),
    Hello("no transport parameters", MISSING_EXTENSION, dict(parameters=None)),
    Hello(
        "transport parameters: one twice",
        TRANSPORT_PARAMETER_ERROR,
        dict(more_parameters=codec.encode_parameter(codec.PARAMETER_IDS["max_idle_timeout"], 1000)),
    ),
    _parameters("no initial_source_connection_id", initial_source_connection_id=None),
    _parameters("another initial_source_connection_id", initial_source_connection_id=b"else"),
    _parameters("original_destination_connection_id", original_destination_connection_id=b"12345678"),
    _parameters("stateless_reset_token", stateless_reset_token=bytes(16)),
    _parameters("retry_source_connection_id", retry_source_connection_id=b"12345678"),
    _parameters("max_udp_payload_size 1199", max_udp_payload_size=1199),
    _parameters("ack_delay_exponent 21", ack_delay_exponent=21),
    _parameters("max_ack_delay 2^14", max_ack_delay=1 << 14),
    _parameters("active_connection_id_limit 1", active_connection_id_limit=1),
    _parameters("min_ack_delay above max_ack_delay", min_ack_delay=25001),
    _parameters("bytes behind an integer", max_idle_timeout=b"\x01\x01"),
    _parameters("plain_mode with a value", plain_mode=b"\x01"),
    _parameters("version 0", version_information=(VERSION, 0)),
    _parameters("33 versions", version_information=(VERSION,) * 34),
    _parameters("another chosen version", VERSION_NEGOTIATION_ERROR, version_information=(0x67770002, VERSION)),
    _channels("mode 5", ChannelEntry(7, 5, 0, 16, 0)),
    _channels("weight 0", ChannelEntry(7, 0, 0, 0, 0)),
    _channels("channel 256", ChannelEntry(256, 0, 0, 16, 0)),
    _channels("a channel twice", ChannelEntry(7, 0, 0, 16, 0), ChannelEntry(7, 0, 0, 16, 0)),
    _channels("another mode", ChannelEntry(7, 1, 0, 16, 1 << 20), code=CHANNEL_MISMATCH),
    _channels("another priority", ChannelEntry(7, 0, 1, 16, 1 << 20), code=CHANNEL_MISMATCH),
    _channels("another weight", ChannelEntry(7, 0, 0, 17, 1 << 20), code=CHANNEL_MISMATCH),
    Packets("a packet without frames", PROTOCOL_VIOLATION, _empty_packet),
    Packets("reserved bits", PROTOCOL_VIOLATION, _reserved_bits),
    Packets("two key updates in a row", KEY_UPDATE_ERROR, _two_updates),
    Packets("frame type 0x13", FRAME_ENCODING_ERROR, [b"\x13"]),
    Packets("frame type 0x45", FRAME_ENCODING_ERROR, [b"\x45" + bytes(20)]),
    Packets("PING with a type of two bytes", FRAME_ENCODING_ERROR, [b"\x40\x01"]),
    Packets("a frame beyond its packet", FRAME_ENCODING_ERROR, [_message(data=b"hello")[:-1]]),
    Packets("channel 256", FRAME_ENCODING_ERROR, [_message(channel=256)]),
    Packets("MESSAGES without a message", FRAME_ENCODING_ERROR, [b"\x32\x00\x00\x00"]),
    Packets(
        "MESSAGES beyond the largest ID",
        FRAME_ENCODING_ERROR,
        [_frame("MESSAGES", channel=4, id=codec.MAX_VARINT, items=[b"", b""])],
    ),
    Packets("an ACK range below 0", FRAME_ENCODING_ERROR, [_ack(0, first=1)]),
    Packets("an ACK of 65 ranges", FRAME_ENCODING_ERROR, [_ack(1000, count=64, rest=bytes(128))]),
    Packets("an ACK of what was not sent", PROTOCOL_VIOLATION, [_ack(1000)]),
    Packets("CRYPTO beyond 2^62", FRAME_ENCODING_ERROR, [_frame("CRYPTO", offset=codec.MAX_VARINT, data=b"x")]),
    Packets("a connection ID of no bytes", FRAME_ENCODING_ERROR, [_new_id(1, connection_id=b"")]),
    Packets("a connection ID of 21 bytes", FRAME_ENCODING_ERROR, [_new_id(1, connection_id=bytes(21))]),
    Packets("Retire Prior To above Sequence", FRAME_ENCODING_ERROR, [_new_id(1, retire=2)]),
    Packets(
        "too many connection IDs",
        CONNECTION_ID_LIMIT_ERROR,
        [b"".join(_new_id(n, connection_id=bytes(3) + bytes([n])) for n in range(1, 5))],
    ),
    Packets("NEW_CONNECTION_ID from a client without an ID", PROTOCOL_VIOLATION, [_new_id(1)], dict(id_length=0)),
    Packets("NEW_TOKEN from a client", PROTOCOL_VIOLATION, [_frame("NEW_TOKEN", token=b"token")]),
    Packets("HANDSHAKE_DONE from a client", PROTOCOL_VIOLATION, [_frame("HANDSHAKE_DONE")]),
    Packets("STREAM beyond the limit of streams", STREAM_LIMIT_ERROR, [_stream(stream=256 + 4 * 100)]),
    Packets("CHANNEL_BLOCKED beyond it", STREAM_LIMIT_ERROR, [_frame("CHANNEL_BLOCKED", channel=256 + 4 * 100, limit=1)]),
    Packets("a unidirectional stream", STREAM_LIMIT_ERROR, [_stream(stream=258)]),
    Packets("STREAM that the server has not opened", STREAM_STATE_ERROR, [_stream(stream=257)]),
    Packets("RESET_STREAM of such a stream", STREAM_STATE_ERROR, [_frame("RESET_STREAM", stream=257, error=0, size=0)]),
    Packets("STOP_SENDING of such a stream", STREAM_STATE_ERROR, [_frame("STOP_SENDING", stream=257, error=0)]),
    Packets("MAX_CHANNEL of such a stream", STREAM_STATE_ERROR, [_frame("MAX_CHANNEL", channel=257, limit=1)]),
    Packets("data behind the end of a stream", FINAL_SIZE_ERROR, [_stream(), _stream(offset=1)]),
    Packets("RESET_STREAM below what was sent", FINAL_SIZE_ERROR, [_stream(), _frame("RESET_STREAM", stream=256, error=0, size=0)]),
    Packets("STREAM beyond its credit", FLOW_CONTROL_ERROR, [_stream(offset=1048576)]),
    Packets("STREAM on a channel", FRAME_ENCODING_ERROR, [_stream(stream=255)]),
    Packets("MAX_STREAMS above 2^60", FRAME_ENCODING_ERROR, [_frame("MAX_STREAMS", limit=(1 << 60) + 1)]),
    Packets("a key on an ordered channel", PROTOCOL_VIOLATION, [_frame("MESSAGE_KEYED", channel=0, id=0, key=1, data=b"")]),
    Packets("no key on a latest channel", PROTOCOL_VIOLATION, [_message(channel=2)]),
    Packets("SKIP on an unreliable channel", PROTOCOL_VIOLATION, [_frame("SKIP", channel=4, up_to=0, cost=0)]),
    Packets(
        "SKIP that costs less than was counted",
        PROTOCOL_VIOLATION,
        [_message(id=1, data=bytes(100)), _frame("SKIP", channel=0, up_to=1, cost=131)],
    ),
    Packets("SKIP beyond the credit", FLOW_CONTROL_ERROR, [_frame("SKIP", channel=0, up_to=0, cost=1048577)]),
    Packets("more credit used than granted", FLOW_CONTROL_ERROR, [_fragment(id=n, total=MAX_MESSAGE) for n in range(4)]),
    Packets("a message above max_message_size", MESSAGE_TOO_LARGE, [_fragment(total=MAX_MESSAGE + 1)]),
    Packets("65,537 bytes on an unreliable channel", MESSAGE_TOO_LARGE, [_fragment(channel=4, total=65537)]),
    Packets("an empty fragment", REASSEMBLY_ERROR, [_fragment(data=b"")]),
    Packets("a fragment that overruns", REASSEMBLY_ERROR, [_fragment(offset=1000)]),
    Packets("another Total", REASSEMBLY_ERROR, [_fragment(), _fragment(offset=1, total=1001)]),
    Packets(
        "another Key",
        REASSEMBLY_ERROR,
        [_frame("FRAGMENT_KEYED", channel=2, id=0, key=k, offset=k, total=9, data=b"x") for k in range(2)],
    ),
    Packets("fragments in 18 runs", REASSEMBLY_ERROR, [_fragment(total=100, offset=2 * n) for n in range(18)]),
    Packets("an ID 16,384 above the floor, ordered", MESSAGE_LIMIT, [_message(id=16384)]),
    Packets("an ID 4,096 above the floor, unordered", MESSAGE_LIMIT, [_message(channel=1, id=4096)]),
    Packets(
        "an ID 4,096 above the floor, latest",
        MESSAGE_LIMIT,
        [_frame("MESSAGE_KEYED", channel=2, id=4096, key=0, data=b"")],
    ),
]
