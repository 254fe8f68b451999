"""Checks of byte streams, which the echo server returns like messages (SPEC section 7.8)."""

import os

import codec
from checking import expect
from codec import SHORT, Frame
from messages import ORDERED
from streams import FIRST_STREAM, STEP


def echo_stream(connection, data):
    """Sends a stream to its end and waits for all of it to come back."""
    streams = connection.messages.streams
    stream = streams.open()
    streams.write(stream, data, finish=True)
    connection.run(stream.whole, 20.0)
    expect(stream.data == data, f"other bytes came back on stream {stream.number}")
    return stream


def stream_echo(server):
    """streams come back whole, with their ends: an empty one, 1 byte, 300 kB, and 3 MB under limits of 1 MB and 1.5 MB"""
    with server.connection() as connection:
        connection.connect()
        for size in (0, 1, 300_000, 3_000_000):
            echo_stream(connection, os.urandom(size))
        connection.run(connection.settled)


def streams_side_by_side(server):
    """ten streams at a time, and messages between them"""
    with server.connection() as connection:
        connection.connect()
        streams = connection.messages.streams
        sent = {}
        for number in range(10):
            stream = streams.open()
            sent[stream.number] = os.urandom(20_000)
            streams.write(stream, sent[stream.number], finish=True)
            connection.send(ORDERED, b"%d" % number)
        connection.run(lambda: all(s.whole() for s in streams.by_number.values()), 10.0)
        expect({n: bytes(s.data) for n, s in streams.by_number.items()} == sent, "other bytes came back")
        connection.take(ORDERED, 10)


def stream_pieces(server):
    """pieces of a stream in any order, cut differently the second time, make the stream they were"""
    data = os.urandom(1000)
    with server.connection() as connection:
        connection.connect()
        stream = connection.messages.streams.open()
        for start, end in ((700, 1000), (100, 400), (300, 800), (0, 150)):
            name = "STREAM_OFF_LEN_FIN" if end == 1000 else "STREAM_OFF_LEN"
            connection.queue(Frame(name, stream=stream.number, offset=start, data=data[start:end]))
        connection.run(stream.whole)
        expect(stream.data == data, "other bytes came back")


def stream_forms(server):
    """a STREAM frame without a length runs to the end of its packet; one without bytes may carry the end"""
    with server.connection() as connection:
        connection.connect()
        stream, space = connection.messages.streams.open(), connection.spaces[SHORT]
        for frame in (
            Frame("STREAM", stream=stream.number, data=b"without offset "),
            Frame("STREAM_OFF", stream=stream.number, offset=15, data=b"and length"),
            Frame("STREAM_OFF_FIN", stream=stream.number, offset=25, data=b""),
        ):
            connection.send_payload(space, codec.encode_frame(frame))
        connection.run(stream.whole)
        expect(stream.data == b"without offset and length", f"{bytes(stream.data)} came back")


def lower_streams(server):
    """a stream opens those with lower numbers"""
    with server.connection() as connection:
        connection.connect()
        first, second = (connection.messages.streams.open() for _ in range(2))
        connection.queue(Frame("STREAM_LEN_FIN", stream=second.number, data=b"second"))
        connection.run(second.whole)
        connection.queue(Frame("STREAM_LEN_FIN", stream=first.number, data=b"first"))
        connection.run(first.whole)
        expect((first.data, second.data) == (b"first", b"second"), "other bytes came back")


def stream_lost(server):
    """bytes and ends that are lost in either direction are repeated"""
    with server.connection() as connection:
        connection.connect()
        connection.lose = 2
        echo_stream(connection, os.urandom(5000))
        connection.discard = lambda frames: any(f.name.startswith("STREAM") for f in frames)
        echo_stream(connection, os.urandom(5000))
        connection.discard = lambda frames: any(f.name.endswith("_FIN") for f in frames)
        echo_stream(connection, b"an end that is lost")
        expect(len(connection.discarded) == 2, "nothing was lost")


def stream_stalled(name, parameters):
    def check(server):
        with server.connection(parameters=parameters) as connection:
            connection.connect()
            streams = connection.messages.streams
            streams.withhold = True
            stream, data = streams.open(), os.urandom(12_000)
            streams.write(stream, data, finish=True)
            connection.run(lambda: connection.messages.seen.get(name))
            connection.wait(0.1)
            expect(len(stream.data) <= 4500, f"{len(stream.data)} bytes with credit for 4500")
            streams.release()
            connection.run(stream.whole)
            expect(stream.data == data, "other bytes came back")

    check.__doc__ = f"a server without credit for a stream stops, sends {name}, and goes on when it gets more"
    return check


def stream_reset(server):
    """a stream that is reset ends at the server, whose echo resets its own half with the same code; others go on"""
    with server.connection() as connection:
        connection.connect()
        streams = connection.messages.streams
        stream = streams.open()
        streams.write(stream, b"hello")
        connection.run(lambda: stream.data == b"hello")
        streams.reset(stream, 7)
        connection.run(lambda: stream.reset_code is not None)
        expect((stream.reset_code, stream.final) == (7, 5), f"code {stream.reset_code}, length {stream.final}")
        echo_stream(connection, b"another")


def stream_stopped(server):
    """STOP_SENDING is answered by RESET_STREAM with the same code, and the length that was sent"""
    with server.connection(parameters=dict(initial_max_channel=4500)) as connection:
        connection.connect()
        streams = connection.messages.streams
        streams.withhold = True
        stream = streams.open()
        streams.write(stream, bytes(12_000))
        connection.run(lambda: connection.messages.seen.get("CHANNEL_BLOCKED"))
        streams.stop(stream, 9)
        connection.run(lambda: stream.final is not None)
        expect((stream.reset_code, stream.final) == (9, 4500), f"code {stream.reset_code}, length {stream.final}")
        streams.release()
        echo_stream(connection, b"another")


def stream_limit(server):
    """a server raises the number of streams when some are over: three times as many as it allows at first, one after another"""
    with server.connection() as connection:
        connection.connect()
        streams = connection.messages.streams
        allowed = connection.peer["initial_max_streams"]
        for number in range(3 * allowed):
            connection.run(lambda: number < streams.allowed)
            stream = echo_stream(connection, b"%d" % number)
            expect(stream.number == FIRST_STREAM + STEP * number, "another number")
        expect(connection.messages.seen.get("MAX_STREAMS", 0) >= 2, "the limit was not raised")


STREAM_CHECKS = [
    stream_echo, streams_side_by_side, stream_pieces, stream_forms, lower_streams, stream_lost,
    stream_stalled("CHANNEL_BLOCKED", dict(initial_max_channel=4500)),
    stream_stalled("BLOCKED", dict(initial_max_data=4500)),
    stream_reset, stream_stopped, stream_limit,
]  # fmt: skip
