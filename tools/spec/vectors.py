"""Regenerates every byte vector of the project from this codec and compares; also the worked numbers of SPEC section 3."""

import hashlib
import sys
from pathlib import Path

import codec
import protection
from codec import ChannelEntry, Frame

ROOT = Path(__file__).resolve().parents[2]
ORIGINAL = bytes.fromhex("8394c8f03e515708")
CLIENT_ID = bytes.fromhex("c11e47")
SERVER_ID = bytes.fromhex("8a0000015e4e123456789abc")
RESET_TOKEN = b"stateless reset!"

VARINTS = {
    "one-byte": (37, 0),
    "two-bytes": (15293, 0),
    "four-bytes": (494878333, 0),
    "eight-bytes": (151288809941952652, 0),
    "largest": (codec.MAX_VARINT, 0),
    "longer-than-needed": (37, 2),
}

# Name: number, largest acknowledged by then.
PACKET_NUMBERS = {
    "first": (0, -1),
    "one-byte": (1127, 1000),
    "two-bytes": (0xAC5C02, 0xABE8B3),
    "three-bytes": (0xACE8FE, 0xABE8B3),
    "decoded": (0xA82F9B32, 0xA82F30EA),
}

FRAMES = {
    "padding": Frame("PADDING", size=3),
    "ping": Frame("PING"),
    "ack": Frame("ACK", delay=300, ranges=[(100, 105), (90, 90), (0, 88)]),
    "ack-ecn": Frame("ACK_ECN", delay=0, ranges=[(64, 65)], ect0=10, ect1=0, ce=2),
    "reset-stream": Frame("RESET_STREAM", stream=256, error=5, size=1000),
    "stop-sending": Frame("STOP_SENDING", stream=260, error=6),
    "crypto": Frame("CRYPTO", offset=1200, data=b"hello"),
    "new-token": Frame("NEW_TOKEN", token=b"token"),
    "stream": Frame("STREAM_OFF_LEN_FIN", stream=256, offset=5, data=b"hi"),
    "stream-to-end": Frame("STREAM", stream=256, data=b"hi"),
    "max-data": Frame("MAX_DATA", limit=1572864),
    "max-channel": Frame("MAX_CHANNEL", channel=7, limit=1048576),
    "max-channel-stream": Frame("MAX_CHANNEL", channel=256, limit=1048576),
    "max-streams": Frame("MAX_STREAMS", limit=100),
    "blocked": Frame("BLOCKED", limit=1572864),
    "channel-blocked": Frame("CHANNEL_BLOCKED", channel=7, limit=1048576),
    "new-connection-id": Frame("NEW_CONNECTION_ID", sequence=2, retire=1, connection_id=SERVER_ID, token=RESET_TOKEN),
    "retire-connection-id": Frame("RETIRE_CONNECTION_ID", sequence=1),
    "path-challenge": Frame("PATH_CHALLENGE", data=bytes(range(1, 9))),
    "path-response": Frame("PATH_RESPONSE", data=bytes(range(1, 9))),
    "close": Frame("CLOSE", error=0x6701, frame_type=6, reason=b"channel 7"),
    "application-close": Frame("APPLICATION_CLOSE", error=77, reason=b""),
    "handshake-done": Frame("HANDSHAKE_DONE"),
    "immediate-ack": Frame("IMMEDIATE_ACK"),
    "ack-frequency": Frame("ACK_FREQUENCY", sequence=3, threshold=2, max_ack_delay=25000, reordering=1),
    "message": Frame("MESSAGE", channel=0, id=63, data=b"hello"),
    "message-keyed": Frame("MESSAGE_KEYED", channel=2, id=7, key=300, data=b"xyz"),
    "messages": Frame("MESSAGES", channel=3, id=1000, items=[b"ab", b""], count_width=2),
    "messages-short-count": Frame("MESSAGES", channel=3, id=1000, items=[b"ab", b""]),
    "messages-keyed": Frame("MESSAGES_KEYED", channel=3, id=1000, items=[(5, b"ab"), (300, b"")], count_width=2),
    "fragment": Frame("FRAGMENT", channel=9, id=64, offset=1000, total=1003, data=b"end"),
    "fragment-keyed": Frame("FRAGMENT_KEYED", channel=2, id=64, key=77, offset=1000, total=1003, data=b"end"),
    "skip": Frame("SKIP", channel=255, up_to=41, cost=4200),
}

USUAL = dict(
    max_idle_timeout=60000,
    max_udp_payload_size=1472,
    initial_max_data=1572864,
    initial_max_streams=100,
    active_connection_id_limit=4,
    version_information=(codec.VERSION, codec.VERSION),
    initial_max_channel=1048576,
    max_message_size=262144,
    min_ack_delay=1000,
)
PARAMETERS = {
    "client-default": USUAL | dict(initial_source_connection_id=CLIENT_ID),
    "server-default-after-retry": USUAL
    | dict(
        original_destination_connection_id=ORIGINAL,
        stateless_reset_token=RESET_TOKEN,
        initial_source_connection_id=SERVER_ID,
        retry_source_connection_id=SERVER_ID,
    ),
    "channels": dict(channels=[ChannelEntry(7, 2, -3, 1, 65536), ChannelEntry(255, 4, 127, 255, 0)]),
    "plain-mode": dict(plain_mode=b""),
}
GREASE = codec.encode_parameter(27 + 31 * 1000, b"\xca\xfe")


def headers():
    return {
        "initial-client": codec.long_header(codec.INITIAL, ORIGINAL, CLIENT_ID, (2).to_bytes(4, "big"), 1175),
        "initial-client-token": codec.long_header(codec.INITIAL, SERVER_ID, CLIENT_ID, b"\3", 1168, b"cookie"),
        "initial-server": codec.long_header(codec.INITIAL, CLIENT_ID, SERVER_ID, b"\0\0", 115),
        "handshake": codec.long_header(codec.HANDSHAKE, CLIENT_ID, SERVER_ID, b"\1", 1020),
        "retry-without-tag": codec.retry_packet(CLIENT_ID, SERVER_ID, b"cookie"),
        "version-negotiation": codec.version_negotiation(CLIENT_ID, ORIGINAL, [codec.VERSION, 0x0A1A2A3A]),
        "short-to-server": codec.short_header(SERVER_ID, b"\x12\x34"),
        "short-to-client": codec.short_header(b"", b"\7", phase=1),
    }


def suite_keys():
    """Each suite by the name it has in the vectors, with the keys of the secret 00 01 02 and so on."""
    for suite in protection.SUITES:
        name = suite.name.removeprefix("TLS_").rsplit("_", 1)[0].lower().replace("_", "-")
        yield name, protection.Keys(suite, bytes(range(hashlib.new(suite.hash_name).digest_size)))


def protected():
    vectors = {}
    for side, keys in zip(("client", "server"), protection.initial_keys(ORIGINAL)):
        vectors |= {
            f"{side}-initial-secret": keys.secret,
            f"{side}-initial-key": keys.key,
            f"{side}-initial-iv": keys.iv,
            f"{side}-initial-hp": keys.header_key,
        }
    crypto = codec.encode_frame(Frame("CRYPTO", offset=0, data=bytes(range(256))))
    keys = protection.initial_keys(ORIGINAL)[0]
    vectors["client-initial"] = keys.seal(headers()["initial-client"], 2, crypto.ljust(1175 - keys.overhead, b"\0"))

    message = codec.encode_frame(FRAMES["message"])
    for name, keys in suite_keys():
        vectors |= {
            f"{name}-key": keys.key,
            f"{name}-iv": keys.iv,
            f"{name}-hp": keys.header_key,
            f"{name}-packet": keys.seal(codec.short_header(SERVER_ID, b"\x12\x34"), 0x1234, message),
            f"{name}-next-secret": keys.next().secret,
            f"{name}-updated-packet": keys.next().seal(codec.short_header(SERVER_ID, b"\x12\x35", 1), 0x1235, message),
        }
    plain = protection.PlainKeys(0x67770001)
    vectors["plain-packet"] = plain.seal(codec.short_header(SERVER_ID, b"\x12\x34"), 0x1234, message)
    retry = headers()["retry-without-tag"]
    vectors["retry"] = retry + protection.retry_tag(ORIGINAL, retry)
    return vectors


def generated():
    return {
        "internal/wire/testdata/varint.txt": {name: codec.varint(*v) for name, v in VARINTS.items()},
        "internal/wire/testdata/packet_number.txt": {
            name: codec.truncate_number(*numbers) for name, numbers in PACKET_NUMBERS.items()
        },
        "internal/wire/testdata/header.txt": headers(),
        "internal/wire/testdata/frame.txt": {name: codec.encode_frame(frame) for name, frame in FRAMES.items()},
        "internal/wire/testdata/params.txt": {name: codec.encode_parameters(p) for name, p in PARAMETERS.items()}
        | {"grease": GREASE},
        "internal/protect/testdata/protection.txt": protected(),
    }


def read_back():
    """What does not come out of the decoder as it went into the encoder."""
    wrong = [name for name, v in VARINTS.items() if codec.Reader(codec.varint(*v)).varint() != v[0]]
    for name, (number, largest) in PACKET_NUMBERS.items():
        if codec.expand_number(codec.truncate_number(number, largest), largest) != number:
            wrong.append(name)
    for name, frame in FRAMES.items():
        expected = Frame(**{k: v for k, v in frame.__dict__.items() if k != "count_width"})
        if codec.decode_frames(codec.encode_frame(frame)) != [expected]:
            wrong.append(name)
    for name, parameters in PARAMETERS.items():
        if codec.decode_parameters(GREASE + codec.encode_parameters(parameters)) != parameters:
            wrong.append(name)
    return wrong + opened_wrong()


def opened_wrong():
    vectors = protected()
    message = codec.encode_frame(FRAMES["message"])
    key_sets = {"plain-packet": protection.PlainKeys(0x67770001)}
    for name, keys in suite_keys():
        key_sets |= {f"{name}-packet": keys, f"{name}-updated-packet": keys.next()}
    wrong = []
    for name, keys in key_sets.items():
        (packet,) = codec.read_packets(vectors[name], len(SERVER_ID))
        header, number = keys.unmask(packet.data, packet.number_at, 0x1233)
        if number != 0x1234 + ("updated" in name) or keys.open(packet.data, header, number) != message:
            wrong.append(name)
        spoilt = packet.data[:-1] + bytes([packet.data[-1] ^ 1])
        try:
            keys.open(spoilt, header, number)
            wrong.append(f"{name} spoilt")
        except protection.OpenError:
            pass
    return wrong


def wrong_constants():
    """The constants of SPEC section 3 that can be recomputed."""
    origins = {
        "initial salt": protection.INITIAL_SALT,
        "retry key": protection.RETRY_KEY,
        "retry nonce": protection.RETRY_NONCE,
    }
    wrong = [
        name
        for name, value in origins.items()
        if hashlib.sha256(f"godwit/1 {name}".encode()).digest()[: len(value)] != value
    ]
    if protection.crc32c(b"123456789") != 0xE3069283 or protection.crc32c(b"123456789", 0x01020304) != 0xD9BBE550:
        wrong.append("CRC-32C")
    return wrong


def read_vectors(path):
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: bytes.fromhex(value) for name, value in (line.split(" = ") for line in lines)}


def main():
    failures = 0

    def report(what, faults):
        nonlocal failures
        failures += bool(faults)
        print(f"{'FAIL' if faults else 'ok  '} {what}" + (f": {', '.join(faults)}" if faults else ""))

    for file, mine in generated().items():
        theirs = read_vectors(ROOT / file)
        faults = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        report(f"{file}, {len(theirs)} vectors", faults)
    report("everything reads back", read_back())
    report("constants and checksums of section 3", wrong_constants())
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
