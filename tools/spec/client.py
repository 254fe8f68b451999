"""Checks a running echo server against the specification, one line a check; the exit code is 0 only if all of them hold.

usage: client.py BANNER KEYLOG PLAIN_BANNER

BANNER and PLAIN_BANNER are files with the JSON line that `godwit serve --json` prints, the second of a server with --plain; KEYLOG is the
file that the first one writes with --keylog.
"""

import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import codec
from checking import Failure, expect
from codec import HANDSHAKE, INITIAL, SHORT, VERSION, ChannelEntry, Frame
from connection import CE, ECT0, Connection
from messages import LATEST, ORDERED, OVERHEAD, SEQUENCED, UNORDERED, UNRELIABLE
from protection import SUITES, initial_keys
from refusals import PLAIN_MODE_MISMATCH, REFUSALS, Hello, Packets
from stream_checks import STREAM_CHECKS
from tls import EARLY_DATA

UNKNOWN_VERSION = 0x0A1A2A3A
# The servers are started with this many shards.
SHARDS = 2


@dataclass
class Server:
    address: tuple
    pin: str
    options: dict

    @classmethod
    def of_banner(cls, path, **options):
        banner = json.loads(Path(path).read_text().splitlines()[0])
        host, port = banner["listen"].rsplit(":", 1)
        return cls((host, int(port)), banner["pin"], options)

    def connection(self, **options):
        return Connection(self.address, self.pin, **self.options | options)


def answer(server, datagram, timeout):
    """What a server answers to a datagram from a fresh port, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as fresh:
        fresh.sendto(datagram, server.address)
        return fresh.recv(65536) if select.select([fresh], [], [], timeout)[0] else None


def echo(connection, channel, *payloads, key=None, timeout=5.0):
    connection.send(channel, *payloads, key=key)
    returned = connection.take(channel, len(payloads), timeout)
    expect([m.data for m in returned] == list(payloads), f"other bytes came back on channel {channel}")
    return returned


def echo_in_time(connection, channel, payload):
    """Echoes over an unreliable channel, again if a slow moment made the server give a message up."""
    for _ in range(5):
        try:
            echo(connection, channel, payload, timeout=1.0)
            return
        except TimeoutError:
            continue
    raise Failure(f"nothing came back on channel {channel}")


# Without a connection


def unknown_version(server):
    """a packet of an unknown version is answered with Version Negotiation"""
    destination, source = os.urandom(8), os.urandom(5)
    header = codec.long_header(INITIAL, destination, source, bytes(4), 1100, version=UNKNOWN_VERSION)
    (packet,) = codec.read_packets(answer(server, header.ljust(1200, b"\0"), 2) or b"", 0) or [None]
    expect(packet and packet.kind == codec.VERSION_NEGOTIATION, "no Version Negotiation")
    expect((packet.destination, packet.source) == (source, destination), "the connection IDs are not swapped")
    expect(VERSION in packet.versions and UNKNOWN_VERSION not in packet.versions, f"versions {packet.versions}")


def not_answered(server):
    """an unknown version or an Initial in 1,199 bytes, and an Initial to a connection ID of 7 bytes, are not answered"""
    for version, id_size, size in ((UNKNOWN_VERSION, 8, 1199), (VERSION, 8, 1199), (VERSION, 7, 1200)):
        destination = os.urandom(id_size)
        hello = codec.encode_frame(Frame("CRYPTO", offset=0, data=server.connection().handshake.hello))
        payload = size - len(codec.long_header(INITIAL, destination, b"", bytes(4), 1100)) - 16
        header = codec.long_header(INITIAL, destination, b"", bytes(4), payload + 16, version=version)
        datagram = initial_keys(destination)[0].seal(header, 0, hello.ljust(payload, b"\0"))
        expect(len(datagram) == size and answer(server, datagram, 0.1) is None, f"an answer to {size} bytes")


def unknown_id(server):
    """a packet to an unknown connection ID is answered with a stateless reset, shorter and with the same token each time"""
    # A server may pass over an ID that cannot be one of its own, so one of its own is changed.
    with server.connection() as connection:
        connection.connect()
        destination = connection.destination[:-1] + bytes([connection.destination[-1] ^ 1])
    tokens = set()
    for size in (1000, 64, 43):
        reset = answer(server, b"\x40" + destination + os.urandom(size - 1 - len(destination)), 2)
        expect(reset, f"no answer to {size} bytes")
        expect(21 <= len(reset) < size and reset[0] >> 6 == 1, f"{len(reset)} bytes that begin with {reset[0]:#x}")
        tokens.add(reset[-16:])
    expect(len(tokens) == 1, "different tokens for the same connection ID")
    expect(answer(server, b"\x40" + destination + os.urandom(20 - len(destination)), 0.2) is None, "an answer to 21 bytes")


# Handshake


def suites(server):
    """every suite completes a handshake and carries a message"""
    for suite in SUITES:
        with server.connection(suites=(suite,)) as connection:
            connection.connect()
            expect(connection.handshake.suite is suite, f"{connection.handshake.suite.name} instead of {suite.name}")
            echo(connection, ORDERED, suite.name.encode())


def key_log(server, path):
    """the secrets in the server's key log are those of the key schedule"""
    with server.connection() as connection:
        connection.connect()
        echo(connection, ORDERED, b"logged")
        logged = {}
        for line in Path(path).read_text().splitlines():
            label, client_random, secret = line.split()
            if client_random == connection.handshake.random.hex():
                logged[label] = bytes.fromhex(secret)
        for kind, name in ((HANDSHAKE, "HANDSHAKE_TRAFFIC_SECRET"), (SHORT, "TRAFFIC_SECRET_0")):
            for side, secret in zip(("CLIENT", "SERVER"), connection.handshake.secrets[kind]):
                expect(logged.get(f"{side}_{name}") == secret, f"{side}_{name} differs")


def no_client_id(server):
    """a client may have a connection ID of no bytes, or of 20"""
    for length in (0, 20):
        with server.connection(id_length=length) as connection:
            connection.connect()
            echo(connection, ORDERED, b"without an ID")


def early_message(server):
    """a message sent with the client's Finished arrives"""
    with server.connection() as connection:
        connection.start()
        connection.run(lambda: connection.messages)
        echo(connection, ORDERED, b"early")


def long_hello(server):
    """a ClientHello of 4,096 bytes in four Initials, one of them lost, completes, and only that one is sent again"""
    with server.connection(hello_size=4096) as connection:
        sent = connection.spaces[INITIAL]
        connection.lose = 1
        connection.connect()
        # Beside the four and the one repeated there are acknowledgments, and a probe on a slow machine.
        expect(sent.next < 4 + 4, f"{sent.next} Initials were sent")
        echo(connection, ORDERED, b"long")


def ticket(server):
    """a session ticket does not allow early data"""
    with server.connection() as connection:
        connection.connect()
        connection.wait(0.1)
        expect(all(EARLY_DATA not in extensions for extensions in connection.handshake.tickets), "early_data in a ticket")


def amplification(server):
    """a server sends at most three times the bytes that came from an address it has not validated"""
    with server.connection(source="127.0.8.1") as connection:
        connection.start()
        connection.flush()
        size, deadline = 0, time.monotonic() + 0.7
        while select.select([connection.socket], [], [], max(0, deadline - time.monotonic()))[0]:
            size += len(connection.socket.recv(65536))
        expect(1200 < size <= 3600, f"{size} bytes")


def retry(server):
    """once 8 handshakes of one /24 are unfinished in a shard, the next one there is validated by Retry"""
    opened = []
    for _ in range(8 * SHARDS + 1):
        connection = server.connection(source="127.0.9.1")
        opened.append(connection)
        connection.start()
        connection.flush()
        expect(select.select([connection.socket], [], [], 2)[0], "no answer to an Initial")
        # The header's first four bits are not protected: form, fixed bit and type.
        if connection.socket.recv(1, socket.MSG_PEEK)[0] >> 4 == 0b1111:
            break
    connection.run(lambda: connection.confirmed)
    expect(connection.retry_source is not None, f"no Retry for {len(opened)} handshakes")
    echo(connection, ORDERED, b"validated")
    for connection in opened:
        connection.close(0)
        connection.socket.close()


# Messages


def modes(server):
    """messages come back on a channel of every mode, empty ones and long ones too"""
    with server.connection() as connection:
        connection.connect()
        for channel in (ORDERED, UNORDERED, SEQUENCED, UNRELIABLE, 255):
            echo(connection, channel, b"one")
            echo(connection, channel, b"")
        (returned,) = echo(connection, LATEST, b"value", key=300)
        expect(returned.key == 300, f"the key became {returned.key}")


def batches(server):
    """MESSAGES frames come back in order, keyed ones with their keys"""
    with server.connection() as connection:
        connection.connect()
        for channel in (ORDERED, UNORDERED, SEQUENCED, UNRELIABLE):
            returned = echo(connection, channel, *(b"%d" % n for n in range(20)))
            expect([m.id for m in returned] == list(range(20)), "the IDs do not count from 0")
        connection.send(LATEST, *((key, b"value %d" % key) for key in range(20)))
        returned = connection.take(LATEST, 20)
        expect({m.key: m.data for m in returned} == {key: b"value %d" % key for key in range(20)}, "other keys or values")


def fragments(server):
    """fragmented messages come back whole: 20 kB of every mode, and one of max_message_size"""
    with server.connection() as connection:
        connection.connect()
        for channel in (ORDERED, UNORDERED):
            echo(connection, channel, os.urandom(20000))
        echo(connection, LATEST, os.urandom(20000), key=0)
        for channel in (SEQUENCED, UNRELIABLE):
            echo_in_time(connection, channel, os.urandom(20000))
        # A sender that its congestion window limits asks for an ACK of every second packet.
        connection.ask_ack_frequency(1)
        echo(connection, ORDERED, os.urandom(connection.peer["max_message_size"]))


def shuffled_fragments(server):
    """fragments in any order, cut differently the second time, make the message they were"""
    data = os.urandom(1000)
    with server.connection() as connection:
        connection.connect()
        for start, end in ((700, 1000), (100, 400), (300, 800), (0, 150)):
            connection.queue(Frame("FRAGMENT", channel=UNORDERED, id=0, offset=start, total=1000, data=data[start:end]))
        (returned,) = connection.take(UNORDERED, 1)
        expect(returned.data == data, "other bytes came back")


def order(server):
    """an ordered channel waits for a missing message, an unordered one does not"""
    with server.connection() as connection:
        connection.connect()
        for channel in (ORDERED, UNORDERED):
            connection.queue(Frame("MESSAGE", channel=channel, id=1, data=b"second"))
        (returned,) = connection.take(UNORDERED, 1)
        expect(returned.data == b"second", "the unordered channel waited")
        connection.wait(0.1)
        expect(not connection.messages.inbox, "the ordered channel did not wait")
        connection.queue(Frame("MESSAGE", channel=ORDERED, id=0, data=b"first"))
        expect([m.data for m in connection.take(ORDERED, 2)] == [b"first", b"second"], "another order")


def stale(server):
    """older messages of a sequenced channel, and of a key of a latest one, are not delivered"""
    with server.connection() as connection:
        connection.connect()
        for number in (5, 3, 6):
            connection.queue(Frame("MESSAGE", channel=SEQUENCED, id=number, data=b"%d" % number))
        expect([m.data for m in connection.take(SEQUENCED, 2)] == [b"5", b"6"], "sequenced")
        for number, key in ((2, 1), (1, 1), (0, 2)):
            connection.queue(Frame("MESSAGE_KEYED", channel=LATEST, id=number, key=key, data=b"%d" % number))
        expect([m.data for m in connection.take(LATEST, 2)] == [b"2", b"0"], "latest")
        connection.wait(0.1)
        expect(not connection.messages.inbox, "a stale message came back")


# Credit


def credit_returned(server):
    """the credit of messages that are given up comes back: 1.5 MB are begun under limits of 1 MB and 1.5 MB"""
    with server.connection() as connection:
        connection.connect()
        messages, total = connection.messages, connection.peer["max_message_size"]
        for number in range(6):
            cost = (number + 1) * (total + OVERHEAD)
            connection.run(lambda: min(messages.send_limit, messages.outgoing[ORDERED].limit) >= cost)
            connection.queue(Frame("FRAGMENT", channel=ORDERED, id=number, offset=0, total=total, data=b"x"))
            connection.queue(Frame("SKIP", channel=ORDERED, up_to=number, cost=cost))
        connection.run(connection.settled)
        expect(cost > max(connection.peer["initial_max_data"], connection.peer["initial_max_channel"]), "the limits are higher")


def stalled(name, parameters):
    def check(server):
        with server.connection(parameters=parameters) as connection:
            connection.connect()
            connection.messages.withhold = True
            for _ in range(8):
                connection.send(7, bytes(968))
            inbox = connection.messages.inbox
            connection.run(lambda: len(inbox) >= 4 and connection.messages.seen.get(name))
            connection.wait(0.1)
            expect(len(inbox) == 4, f"{len(inbox)} messages with credit for 4")
            connection.messages.release_owed()
            connection.take(7, 8)

    check.__doc__ = f"a server without credit stops, sends {name}, and goes on when it gets more"
    return check


def skip(server):
    """SKIP lets an ordered channel go on behind messages that were lost, and one that was never begun"""
    with server.connection() as connection:
        connection.connect()
        echo(connection, ORDERED, b"zero")
        connection.lose = 1
        connection.send(ORDERED, b"one")
        connection.flush()
        connection.abandon(ORDERED, 1)
        echo(connection, ORDERED, b"two")
        channel = connection.messages.outgoing[ORDERED]
        channel.next_id += 1
        connection.abandon(ORDERED, 3)
        echo(connection, ORDERED, b"four")
        connection.run(connection.settled)


# Loss


def lost_to_server(server):
    """a packet lost on the way to the server is repeated and its message echoed once"""
    with server.connection() as connection:
        connection.connect()
        connection.lose = 1
        echo(connection, ORDERED, b"lost")
        connection.lose = 1
        for number in range(5):
            connection.send(UNORDERED, b"%d" % number)
            connection.flush()
        expect({m.data for m in connection.take(UNORDERED, 5)} == {b"0", b"1", b"2", b"3", b"4"}, "one is missing")
        connection.run(connection.settled)
        expect(not connection.messages.inbox, "a message came back twice")


def lost_to_client(server):
    """a packet lost on the way to the client is repeated with another number"""
    with server.connection() as connection:
        connection.connect()
        connection.discard = lambda frames: any(f.name == "MESSAGE" for f in frames)
        echo(connection, ORDERED, b"lost")
        expect(len(connection.discarded) == 1, "nothing was lost")
        connection.wait(0.1)
        expect(not connection.messages.inbox, "a message came back twice")
        numbers = connection.spaces[SHORT].received.ranges
        expect(all(not low <= connection.discarded[0] <= high for low, high in numbers), "the number came again")


def lost_unreliable(server):
    """an unreliable message that is lost on the way to the client is not repeated"""
    with server.connection() as connection:
        connection.connect()
        connection.discard = lambda frames: any(f.name == "MESSAGE" for f in frames)
        connection.send(UNRELIABLE, b"lost")
        connection.run(lambda: connection.discarded)
        connection.wait(0.3)
        expect(not connection.messages.inbox, "it was repeated")


def duplicates(server):
    """a packet that comes twice, and a message that comes in two packets, are delivered once"""
    with server.connection() as connection:
        connection.connect()
        for channel in (ORDERED, UNORDERED, SEQUENCED, UNRELIABLE):
            connection.twice = 1
            echo(connection, channel, b"once")
        for channel in (ORDERED, UNORDERED):
            connection.queue(Frame("MESSAGE", channel=channel, id=0, data=b"once"))
        connection.run(connection.settled)
        connection.wait(0.1)
        expect(not connection.messages.inbox, "a message came back twice")


def spoilt(server):
    """a packet with one bit turned is dropped"""
    with server.connection() as connection:
        connection.connect()
        connection.spoil = 1
        echo(connection, ORDERED, b"repeated")


# Connection


def key_update(server):
    """the server follows two key updates, and answers in the new phase"""
    with server.connection() as connection:
        connection.connect()
        for phase in (1, 0):
            connection.update_keys()
            echo(connection, ORDERED, b"phase")
            expect(connection.read_phase == phase, "the answer has the old phase")
            connection.run(connection.settled)
            connection.wait(0.1)


def rebinding(server):
    """the server follows a client to another port, validates it and goes on"""
    with server.connection() as connection:
        connection.connect()
        connection.issue_id()
        connection.run(connection.settled)
        connection.rebind()
        echo(connection, ORDERED, b"moved")
        connection.run(lambda: connection.challenges)
        connection.run(connection.settled)
        echo(connection, ORDERED, os.urandom(20000))


def path_challenge(server):
    """PATH_CHALLENGE is answered with its data, PING and what else elicits an ACK are acknowledged"""
    with server.connection() as connection:
        connection.connect()
        connection.queue(Frame("PATH_CHALLENGE", data=b"8 octets"), Frame("PING"), Frame("IMMEDIATE_ACK"))
        connection.run(lambda: connection.path_responses and connection.settled())
        expect(connection.path_responses == [b"8 octets"], "other data")


def datagram_size(server):
    """the server finds out that datagrams above 1,200 bytes pass, and none is above max_udp_payload_size"""
    for size in (1200, 1472):
        with server.connection(parameters=dict(max_udp_payload_size=size)) as connection:
            connection.connect()
            for _ in range(5):
                connection.wait(0.05)
                echo(connection, ORDERED, os.urandom(20000))
            largest = connection.largest_datagram
            expect(largest <= size, f"a datagram of {largest} bytes")
            expect(largest > 1200 or size == 1200, "no datagram above 1,200 bytes")


def congestion_marks(server):
    """a mark of congestion is reported in ACK_ECN"""
    with server.connection() as connection:
        connection.connect()
        connection.mark(CE)
        echo(connection, ORDERED, b"marked")
        connection.mark(ECT0)
        echo(connection, ORDERED, b"not marked")
        connection.run(connection.settled)
        expect(connection.reported_ecn and connection.reported_ecn[2] >= 1, f"reported {connection.reported_ecn}")


def close(server):
    """a closed connection is silent, and then forgotten: the server answers with the reset token that it announced"""
    with server.connection() as connection:
        connection.connect()
        echo(connection, ORDERED, b"last")
        connection.close(77, b"done")
        expect_reset(connection)


def closing(server):
    """a server that closed repeats its CLOSE ever more rarely"""
    with server.connection() as connection:
        connection.connect()
        space = connection.spaces[SHORT]
        connection.send_payload(space, b"\x13")
        connection.run(lambda: connection.closed)
        connection.closed, repeats = None, 0
        for _ in range(8):
            connection.send_payload(space, b"\x01")
            if select.select([connection.socket], [], [], 0.005)[0]:
                connection.receive()
            if connection.closed:
                connection.closed, repeats = None, repeats + 1
        connection.closing = True
        expect(1 <= repeats <= 4, f"{repeats} answers to 8 packets")


def idle(server):
    """the smaller idle timeout of both ends a connection without a word"""
    with server.connection(parameters=dict(max_idle_timeout=300)) as connection:
        connection.connect()
        connection.wait(0.6)
        connection.closing = True
        expect_reset(connection)


def expect_reset(connection):
    deadline = time.monotonic() + 5
    while not connection.reset and time.monotonic() < deadline:
        connection.send_payload(connection.spaces[SHORT], b"\x01" + bytes(60))
        select.select([connection.socket], [], [], 0.2)
        connection.receive()
        expect(not connection.closed, f"the server closed: {connection.closed}")
    expect(connection.reset, "no stateless reset with the token of the connection ID")


def refused(refusal):
    def check(server):
        closed = refusal.provoke(server)
        expect(closed.name == "CLOSE", f"the server sent {closed}")
        expect(closed.error == refusal.code, f"the server closed with {closed.error:#x}: {closed.reason.decode()}")
        if isinstance(refusal, Packets):
            expect(closed.frame_type == refusal.frame_type(), f"CLOSE names the frame type {closed.frame_type:#x}")

    check.__doc__ = f"{refusal.code:#x} closes: {refusal.name}"
    return check


def checks(keylog):
    def logged(server):
        key_log(server, keylog)

    logged.__doc__ = key_log.__doc__
    encrypted = [unknown_version, not_answered, unknown_id, suites, logged, no_client_id, early_message, long_hello]
    encrypted += [ticket, amplification, retry, key_update]
    both = [modes, batches, fragments, shuffled_fragments, order, stale, skip, credit_returned]
    both += [
        stalled("CHANNEL_BLOCKED", dict(channels=[ChannelEntry(7, 0, 0, 16, 4500)])),
        stalled("BLOCKED", dict(initial_max_data=4500)),
    ]
    both += [lost_to_server, lost_to_client, lost_unreliable, duplicates, spoilt]
    both += STREAM_CHECKS
    both += [rebinding, path_challenge, datagram_size, congestion_marks, close, closing, idle]
    return encrypted + both + [refused(r) for r in REFUSALS], both


def main(banner, keylog, plain_banner):
    server, plain_server = Server.of_banner(banner), Server.of_banner(plain_banner, plain=True)
    for_encrypted, for_plain = checks(keylog)
    failures = 0
    for check in for_encrypted:
        failures += not run(check, server, check.__doc__)
    for check in for_plain:
        failures += not run(check, plain_server, f"plain mode: {check.__doc__}")
    mismatch = refused(Hello("no plain_mode to a server that demands it", PLAIN_MODE_MISMATCH, dict(plain=False)))
    failures += not run(mismatch, plain_server, mismatch.__doc__)
    print(f"{failures} checks failed" if failures else "all checks hold")
    return 1 if failures else 0


def run(check, server, name):
    started = time.monotonic()
    try:
        check(server)
    except Exception as error:  # A check that fails in any way must not keep the others from running.
        print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
        return False
    print(f"ok   {name} ({(time.monotonic() - started) * 1000:.0f} ms)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
