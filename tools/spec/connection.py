"""A client's connection: packets in and out of a UDP socket, the handshake around TLS, connection IDs, repetition, closing."""

import os
import random
import select
import socket
import time

import codec
from codec import HANDSHAKE, INITIAL, RETRY, SHORT, VERSION, VERSION_NEGOTIATION, Frame
from messages import CARRIERS, CONTROL, RELIABLE, Messages
from protection import CHECKSUM_LABEL, SUITES, Keys, OpenError, PlainKeys, initial_keys, retry_tag
from recovery import MAX_DATAGRAM, SENT_RANGES, Recovery, Sent, Space, Violation, eliciting
from streams import about_stream
from tls import ALPN, Handshake

MAX_ACK_DELAY = 0.025
ECT0, CE = 2, 3
APPLICATION_ERROR = 0x0C
CAPPED_PTO, CAPPED_FOR = 0.2, 5.0
LONG_FRAMES = ("PADDING", "PING", "ACK", "ACK_ECN", "CRYPTO", "CLOSE")
# Of these, and of messages of unreliable modes, nothing is sent again.
NEVER_REPEATED = ("PADDING", "PING", "ACK", "ACK_ECN", "PATH_RESPONSE", "IMMEDIATE_ACK")

PARAMETERS = dict(
    max_idle_timeout=60000,
    max_udp_payload_size=1472,
    initial_max_data=1572864,
    active_connection_id_limit=4,
    version_information=(VERSION, VERSION),
    initial_max_channel=1048576,
    max_message_size=262144,
    min_ack_delay=1000,
)


class Closed(Exception):
    """The server closed the connection."""


class Connection:
    """A connection to a server whose key has the given pin.

    parameters overrides those of PARAMETERS, and None leaves one of them, or all, out; more_parameters are bytes behind them.
    """

    def __init__(
        self, server, pin, suites=SUITES, alpn=ALPN, plain=False, parameters=(), more_parameters=b"", hello_size=0,
        id_length=4, source="127.0.0.1",
    ):  # fmt: skip
        self.server = server
        self.plain = plain
        self.source = source
        self.socket = self._open_socket()
        self.original_destination = self.destination = os.urandom(8)
        self.own_ids = {0: os.urandom(id_length)}
        own = PARAMETERS | dict(initial_source_connection_id=self.own_ids[0]) | ({"plain_mode": b""} if plain else {})
        self.own = {name: value for name, value in (own | dict(parameters or ())).items() if value is not None}
        encoded = None if parameters is None else codec.encode_parameters(self.own) + more_parameters
        self.handshake = Handshake(encoded, pin, suites, alpn, hello_size)

        self.spaces = {kind: Space(kind) for kind in (INITIAL, HANDSHAKE, SHORT)}
        write, read = initial_keys(self.destination)
        self.write_keys, self.read_keys = {INITIAL: write}, {INITIAL: read}
        self.write_phase = self.read_phase = 0
        self.phase_start = 0
        self.previous_keys, self.previous_until = None, 0.0
        self.recovery = Recovery()
        self.silent_since = self.last_sent = time.monotonic()

        self.server_source = None
        self.token = b""
        self.retry_source = None
        self.peer = None
        self.peer_ids = {}
        self.peer_sequence = 0
        self.messages = None
        self.confirmed = False
        self.closed = None
        self.closing = False
        self.reset = False
        self.ack_threshold = float("inf")
        self.ack_frequency = -1
        self.asked_ack_frequency = 0

        self.received_ecn = {kind: [0, 0, 0] for kind in self.spaces}
        self.reported_ecn = None
        self.largest_datagram = 0
        self.challenges = 0
        self.path_responses = []
        # Faults made on purpose: how many of the next datagrams are lost, sent twice or spoilt, and which opened packet is thrown away.
        self.lose, self.twice, self.spoil, self.discard = 0, 0, 0, None
        self.discarded = []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if not (self.closed or self.closing or self.reset):
            self.close(0)
        self.socket.close()

    def _open_socket(self):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, ECT0)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        opened.bind((self.source, 0))
        opened.connect(self.server)
        opened.setblocking(False)
        return opened

    # What a user of the connection does

    def start(self, hello=None):
        """Queues ClientHello, or other bytes in its place."""
        self.spaces[INITIAL].send_crypto(hello or self.handshake.hello)

    def connect(self):
        self.start()
        self.run(lambda: self.confirmed)

    def run(self, done, timeout=5.0):
        """Works until done() holds; a connection that is closed before or a time that passes is an error."""
        if not self._work(done, timeout):
            raise TimeoutError("nothing more happened")

    def wait(self, seconds):
        """Works for some time."""
        self._work(lambda: False, seconds)

    def _work(self, done, timeout):
        deadline = time.monotonic() + timeout
        while not done():
            if self.closed and not self.closing:
                raise Closed(f"the server closed: {self.closed}")
            self.flush()
            timer = self._next_timer()
            now = time.monotonic()
            if now >= deadline:
                return False
            if select.select([self.socket], [], [], max(0, min(timer, deadline) - now))[0]:
                self.receive()
            self._on_timers(time.monotonic())
        self.flush()
        return True

    def send(self, channel, *payloads, key=None):
        self.messages.send(channel, *payloads, key=key)

    def queue(self, *frames):
        self.spaces[SHORT].pending.extend(frames)

    def take(self, channel, count, timeout=5.0):
        """Waits for messages on a channel and takes them."""
        inbox = self.messages.inbox
        self.run(lambda: sum(m.channel == channel for m in inbox) >= count, timeout)
        taken = [m for m in inbox if m.channel == channel][:count]
        for message in taken:
            inbox.remove(message)
        return taken

    def settled(self):
        """Whether everything ack-eliciting is acknowledged."""
        spaces = self.spaces.values()
        return not any(s.pending for s in spaces) and all(s.last_eliciting() is None for s in spaces)

    def abandon(self, channel, up_to):
        """Gives up the messages of a channel up to an ID, all of which are acknowledged or to be forgotten."""

        def kept(frame):
            return not (frame.name in CARRIERS and frame.channel == channel and frame.id <= up_to)

        space = self.spaces[SHORT]
        space.pending = type(space.pending)(filter(kept, space.pending))
        for packet in space.sent.values():
            packet.frames = [f for f in packet.frames if kept(f)]
        self.messages.abandon(channel, up_to)

    def ask_ack_frequency(self, threshold):
        self.queue(Frame("ACK_FREQUENCY", sequence=self.asked_ack_frequency, threshold=threshold,
                         max_ack_delay=round(MAX_ACK_DELAY * 1e6), reordering=1))  # fmt: skip
        self.asked_ack_frequency += 1

    def update_keys(self):
        self.write_keys[SHORT] = self.write_keys[SHORT].next()
        self.write_phase ^= 1

    def issue_id(self):
        sequence = max(self.own_ids) + 1
        self.own_ids[sequence] = os.urandom(len(self.own_ids[0]))
        self.queue(Frame("NEW_CONNECTION_ID", sequence=sequence, retire=0, connection_id=self.own_ids[sequence],
                         token=os.urandom(16)))  # fmt: skip

    def rebind(self):
        """Moves to another port, as a NAT does."""
        self.socket.close()
        self.socket = self._open_socket()

    def mark(self, ecn):
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, ecn)

    def close(self, code, reason=b""):
        self.closing = True
        if SHORT in self.write_keys:
            frame = Frame("APPLICATION_CLOSE", error=code, reason=reason)
            self.send_payload(self.spaces[SHORT], codec.encode_frame(frame))
        if not self.confirmed:
            frame = Frame("CLOSE", error=APPLICATION_ERROR, frame_type=0, reason=b"")
            for kind in (INITIAL, HANDSHAKE):
                if kind in self.write_keys:
                    padding = 1100 if kind == INITIAL else 0
                    self.send_payload(self.spaces[kind], codec.encode_frame(frame).ljust(padding, b"\0"))

    # Sending

    def flush(self):
        """Sends what waits and may leave."""
        if self.closing:
            return
        if self.messages:
            self.queue(*self.messages.frames)
            self.messages.frames.clear()
        for space in self.spaces.values():
            while space.kind in self.write_keys:
                frames = self._next_frames(space, time.monotonic())
                if not frames:
                    break
                self._send_frames(space, frames)

    def _room(self, kind):
        header = 1 + len(self.destination) + 4
        if kind != SHORT:
            header += 4 + 1 + 1 + len(self.own_ids[0]) + 2
        if kind == INITIAL:
            header += len(codec.varint(len(self.token))) + len(self.token)
        return MAX_DATAGRAM - header - self.write_keys[kind].overhead

    def _next_frames(self, space, now):
        may_send = self.recovery.may_send() and space.pending
        if not may_send and (space.ack_due is None or space.ack_due > now):
            return []
        frames = []
        room = self._room(space.kind)
        if space.ack_due is not None:
            frames.append(self._ack(space, now))
            room -= len(codec.encode_frame(frames[0]))
            if not may_send and space.since_eliciting >= 32:
                frames.append(Frame("PING"))
                room -= 1
        while may_send and space.pending:
            size = len(codec.encode_frame(space.pending[0]))
            if size > room:
                break
            room -= size
            frames.append(space.pending.popleft())
        return frames

    def _ack(self, space, now):
        # Receivers pass over the delay in the other spaces.
        delay = round((now - space.largest_at) * 1e6) >> self.own.get("ack_delay_exponent", 3) if space.kind == SHORT else 0
        space.ack_due = None
        space.unacked = 0
        ranges = space.received.ranges[:SENT_RANGES]
        ecn = self.received_ecn[space.kind]
        if any(ecn):
            return Frame("ACK_ECN", delay=delay, ranges=ranges, ect0=ecn[0], ect1=ecn[1], ce=ecn[2])
        return Frame("ACK", delay=delay, ranges=ranges)

    def _send_frames(self, space, frames):
        payload = b"".join(map(codec.encode_frame, frames))
        if space.kind == INITIAL:
            # Four bytes of packet number are reckoned with, so that a shorter one only makes the padding longer.
            padding = self._room(INITIAL) - len(payload) + 3
            frames = frames + [Frame("PADDING", size=padding)]
            payload += bytes(padding)
        if space.kind == SHORT and eliciting(frames) and random.random() < 0.05:
            # A number that is left out now and then shows whether the server acknowledges what it did not get.
            space.omitted.add(space.next)
            space.next += 1
        space.since_eliciting = 0 if eliciting(frames) else space.since_eliciting + 1
        packet = Sent(time.monotonic(), len(payload), frames)
        self.recovery.sent(space, packet)
        self.send_payload(space, payload)

    def send_payload(self, space, payload, reserved=0):
        """Sends bytes as the payload of the next packet of a space; reserved is set in the header's reserved bits."""
        keys = self.write_keys[space.kind]
        number = codec.truncate_number(space.next, space.largest_acked)
        payload = payload.ljust(4 - len(number), b"\0")
        if space.kind == SHORT:
            header = codec.short_header(self.destination, number, self.write_phase)
            header = bytes([header[0] | reserved]) + header[1:]
        else:
            rest = len(payload) + keys.overhead
            header = codec.long_header(space.kind, self.destination, self.own_ids[0], number, rest, self.token)
        self.send_datagram(keys.seal(header, space.next, payload))
        space.next += 1
        if space.kind == HANDSHAKE:
            self._discard_keys(INITIAL)

    def send_datagram(self, datagram):
        self.last_sent = time.monotonic()
        if self.lose:
            self.lose -= 1
            return
        if self.spoil:
            self.spoil -= 1
            datagram = datagram[:-1] + bytes([datagram[-1] ^ 1])
        if self.twice:
            self.twice -= 1
            self.socket.send(datagram)
        self.socket.send(datagram)

    def _repeat(self, space, frames):
        """Queues again what a lost packet carried and is still wanted."""
        space.pending.extendleft(reversed([f for f in frames if self._wanted(f)]))

    def _wanted(self, frame):
        if frame.name in NEVER_REPEATED:
            return False
        if frame.name in CARRIERS:
            return self.messages.outgoing[frame.channel].mode in RELIABLE
        if about_stream(frame) or frame.name in CONTROL and frame.name != "SKIP":
            return self.messages.current(frame)
        return True

    # Timers

    def _pto_time(self):
        """When a probe is due, and in which space."""
        due = []
        for space in self.spaces.values():
            sent = space.last_eliciting()
            if sent is None or space.kind == SHORT and not self.confirmed:
                continue
            delay = self.peer.get("max_ack_delay", 25) / 1000 if space.kind == SHORT else 0
            pto = self.recovery.pto(delay)
            if space.kind == SHORT and time.monotonic() - self.silent_since < CAPPED_FOR:
                pto = min(pto, max(CAPPED_PTO, pto / 2**self.recovery.backoff))
            due.append((sent + pto, space))
        if not due and not self.confirmed:
            # The server may be waiting for bytes before it may send more.
            kind = HANDSHAKE if HANDSHAKE in self.write_keys else INITIAL
            if self.spaces[kind].next:
                due.append((self.last_sent + self.recovery.pto(0), self.spaces[kind]))
        return min(due, key=lambda entry: entry[0], default=(float("inf"), None))

    def _next_timer(self):
        times = [self._pto_time()[0]]
        for space in self.spaces.values():
            times += [t for t in (space.ack_due, self.recovery.loss_time(space)) if t is not None]
        return min(times)

    def _on_timers(self, now):
        if self.closing:
            return
        for space in self.spaces.values():
            for packet in self.recovery.detect_lost(space, now):
                self._repeat(space, packet.frames)
        due, space = self._pto_time()
        if due > now:
            return
        self.recovery.backoff += 1
        oldest = next((s.frames for s in space.sent.values() if s.eliciting), [])
        frames = [f for f in oldest if self._wanted(f)] or [Frame("PING")]
        self._send_frames(space, frames)

    # Receiving

    def receive(self):
        """Takes all datagrams that are there."""
        while True:
            try:
                datagram, ancillary, _, _ = self.socket.recvmsg(65536, 64)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                # ICMP messages are not believed.
                continue
            ecn = next((value[0] & 3 for _, kind, value in ancillary if kind == socket.IP_TOS), 0)
            self._datagram(datagram, ecn)

    def _datagram(self, datagram, ecn):
        if self.closed:
            return
        try:
            packets = codec.read_packets(datagram, len(self.own_ids[0]))
        except codec.FormError:
            packets = []
        opened = False
        for packet in packets:
            if packet.kind == VERSION_NEGOTIATION:
                if VERSION not in packet.versions and not self.server_source:
                    raise Violation(f"the server speaks only versions {packet.versions}")
            elif packet.kind == RETRY:
                self._on_retry(packet)
            else:
                opened |= self._packet(packet, ecn, len(datagram))
        tokens = [token for _, token in self.peer_ids.values()]
        if not opened and len(datagram) >= 21 and datagram[-16:] in tokens:
            self.reset = True

    def _on_retry(self, packet):
        if self.server_source or self.retry_source or not packet.token:
            return
        if packet.data[-16:] != retry_tag(self.original_destination, packet.data[:-16]):
            raise Violation("the tag of a Retry is wrong")
        self.retry_source = self.destination = packet.source
        self.token = packet.token
        self.write_keys[INITIAL], self.read_keys[INITIAL] = initial_keys(packet.source)
        space = self.spaces[INITIAL]
        frames = [f for s in space.sent.values() for f in s.frames] + list(space.pending)
        self.recovery.forget(space)
        self._repeat(space, frames)

    def _packet(self, packet, ecn, size):
        """Takes a protected packet; reports whether it could be opened."""
        space = self.spaces.get(packet.kind)
        if packet.kind not in self.read_keys or packet.destination not in self.own_ids.values():
            return False
        if packet.kind != SHORT and packet.source != (self.server_source or packet.source):
            return False
        try:
            header, number, payload = self._unprotect(packet, space)
        except OpenError:
            return False
        self.largest_datagram = max(self.largest_datagram, size)
        if header[0] & (0x0C if header[0] & 0x80 else 0x18):
            raise Violation("reserved bits are set")
        frames = codec.decode_frames(payload)
        if not frames:
            raise Violation("a packet without frames")
        if self.discard and self.discard(frames):
            self.discarded.append(number)
            self.discard = None
            return True
        in_order = number == space.received.largest() + 1
        if not space.received.add(number):
            return True
        if not self.server_source and packet.kind != SHORT:
            self.server_source = self.destination = packet.source
        self._note_arrival(space, number, frames, ecn, in_order)
        for frame in frames:
            self._frame(space, frame)
        return True

    def _unprotect(self, packet, space):
        keys = self.read_keys[packet.kind]
        header, number = keys.unmask(packet.data, packet.number_at, space.received.largest())
        if packet.kind != SHORT or self.plain or header[0] >> 2 & 1 == self.read_phase:
            return header, number, keys.open(packet.data, header, number)
        if number < self.phase_start:
            if time.monotonic() > self.previous_until:
                raise OpenError("the keys of the previous phase are gone")
            return header, number, self.previous_keys.open(packet.data, header, number)
        payload = keys.next().open(packet.data, header, number)
        self.previous_keys, self.read_keys[SHORT] = keys, keys.next()
        self.previous_until = time.monotonic() + 3 * self.recovery.pto(self.peer.get("max_ack_delay", 25) / 1000)
        self.read_phase ^= 1
        self.phase_start = number
        if self.write_phase != self.read_phase:
            self.update_keys()
        return header, number, payload

    def _note_arrival(self, space, number, frames, ecn, in_order):
        """Decides when the packet is acknowledged (SPEC section 8.1)."""
        now = self.silent_since = time.monotonic()
        if number == space.received.largest():
            space.largest_at = now
        if ecn:
            self.received_ecn[space.kind][{2: 0, 1: 1, 3: 2}[ecn]] += 1
        if not eliciting(frames):
            return
        space.unacked += 1
        at_once = (
            space.kind != SHORT
            or not in_order
            or ecn == CE
            or space.unacked > self.ack_threshold
            or any(f.name == "IMMEDIATE_ACK" for f in frames)
        )
        due = now if at_once else now + MAX_ACK_DELAY
        space.ack_due = min(space.ack_due or due, due)

    def _frame(self, space, frame):
        if space.kind != SHORT and frame.name not in LONG_FRAMES:
            raise Violation(f"{frame.name} in a packet of kind {space.kind}")
        if frame.name in ("ACK", "ACK_ECN"):
            self._on_ack(space, frame)
        elif frame.name == "CRYPTO":
            self._on_crypto(space, frame)
        elif frame.name in ("CLOSE", "APPLICATION_CLOSE"):
            self.closed = frame
        elif frame.name == "HANDSHAKE_DONE":
            self.confirmed = True
            self._discard_keys(HANDSHAKE)
        elif frame.name == "NEW_CONNECTION_ID":
            self._on_new_id(frame)
        elif frame.name == "RETIRE_CONNECTION_ID":
            del self.own_ids[frame.sequence]
        elif frame.name == "PATH_CHALLENGE":
            self.challenges += 1
            self.queue(Frame("PATH_RESPONSE", data=frame.data))
        elif frame.name == "PATH_RESPONSE":
            self.path_responses.append(frame.data)
        elif frame.name == "ACK_FREQUENCY":
            if frame.sequence > self.ack_frequency:
                self.ack_frequency, self.ack_threshold = frame.sequence, frame.threshold
        elif frame.name in CARRIERS + CONTROL or about_stream(frame):
            self.messages.receive(frame)
        elif frame.name not in ("PADDING", "PING", "IMMEDIATE_ACK", "NEW_TOKEN"):
            raise Violation(f"{frame.name} from a server")

    def _on_ack(self, space, frame):
        delay = (frame.delay << self.peer.get("ack_delay_exponent", 3)) / 1e6 if space.kind == SHORT else 0
        self.recovery.acknowledged(space, frame, time.monotonic(), delay)
        if frame.name == "ACK_ECN" and space.kind == SHORT:
            self.reported_ecn = (frame.ect0, frame.ect1, frame.ce)

    def _on_crypto(self, space, frame):
        self.handshake.receive(space.kind, space.receive_crypto(frame.offset, frame.data))
        secrets = self.handshake.secrets
        if HANDSHAKE in secrets and HANDSHAKE not in self.read_keys and not self.confirmed:
            self._install(HANDSHAKE, *(Keys(self.handshake.suite, secret) for secret in secrets[HANDSHAKE]))
        if self.handshake.complete and self.peer is None:
            self._on_complete(secrets[SHORT])

    def _install(self, kind, write, read):
        self.write_keys[kind], self.read_keys[kind] = write, read

    def _on_complete(self, secrets):
        self.peer = codec.decode_parameters(self.handshake.peer_parameters)
        self._check_parameters()
        if self.plain:
            seed = int.from_bytes(self.handshake.export(CHECKSUM_LABEL, 4), "big")
            self._install(SHORT, PlainKeys(seed), PlainKeys(seed))
        else:
            self._install(SHORT, *(Keys(self.handshake.suite, secret) for secret in secrets))
        self.messages = Messages(self.own, self.peer)
        self.peer_ids[0] = (self.destination, self.peer.get("stateless_reset_token"))
        self.spaces[HANDSHAKE].send_crypto(self.handshake.outgoing[HANDSHAKE])

    def _check_parameters(self):
        """The checks of SPEC section 10.2."""
        expected = dict(
            initial_source_connection_id=self.server_source,
            original_destination_connection_id=self.original_destination,
            retry_source_connection_id=self.retry_source,
            plain_mode=b"" if self.plain else None,
        )
        for name, value in expected.items():
            if self.peer.get(name) != value:
                raise Violation(f"{name} is {self.peer.get(name)}, not {value}")
        if self.peer.get("version_information", (VERSION,))[0] != VERSION:
            raise Violation("another version was chosen")

    def _on_new_id(self, frame):
        self.peer_ids[frame.sequence] = (frame.connection_id, frame.token)
        for sequence in [s for s in self.peer_ids if s < frame.retire]:
            self.queue(Frame("RETIRE_CONNECTION_ID", sequence=sequence))
            del self.peer_ids[sequence]
        if self.peer_sequence not in self.peer_ids:
            self.peer_sequence = min(self.peer_ids)
            self.destination = self.peer_ids[self.peer_sequence][0]
        if len(self.peer_ids) > self.own["active_connection_id_limit"]:
            raise Violation("more connection IDs than the limit")

    def _discard_keys(self, kind):
        if self.write_keys.pop(kind, None):
            del self.read_keys[kind]
            self.recovery.forget(self.spaces[kind])
