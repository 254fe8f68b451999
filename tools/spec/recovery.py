"""Acknowledgment, loss detection and congestion control (SPEC section 8; RFC 9002)."""

from collections import deque

from codec import Frame

GRANULARITY = 0.001
INITIAL_PTO = 0.3
MAX_DATAGRAM = 1200
CRYPTO_PIECE = 1100
MAX_RANGES = 64
SENT_RANGES = 32


class Violation(Exception):
    """The peer did what the specification forbids."""


class Ranges:
    """Packet numbers received: ranges (low, high), the newest first."""

    def __init__(self):
        self.ranges = []
        self._floor = 0

    def add(self, number):
        """Reports whether number is new."""
        if number < self._floor or any(low <= number <= high for low, high in self.ranges):
            return False
        low = high = number
        apart = []
        for other_low, other_high in self.ranges:
            if other_low - 1 <= number <= other_high + 1:
                low, high = min(low, other_low), max(high, other_high)
            else:
                apart.append((other_low, other_high))
        self.ranges = sorted(apart + [(low, high)], reverse=True)
        if len(self.ranges) > MAX_RANGES:
            self._floor = self.ranges.pop()[1] + 1
        return True

    def largest(self):
        return self.ranges[0][1] if self.ranges else -1


class Sent:
    """A packet in flight."""

    def __init__(self, time, size, frames):
        self.time = time
        self.size = size
        self.frames = frames
        self.eliciting = eliciting(frames)
        self.in_flight = self.eliciting or any(f.name == "PADDING" for f in frames)


def eliciting(frames):
    return any(f.name not in ("PADDING", "ACK", "ACK_ECN", "CLOSE", "APPLICATION_CLOSE") for f in frames)


class Space:
    """A packet-number space: what was received, what was sent, and the frames that wait to be sent."""

    def __init__(self, kind):
        self.kind = kind
        self.next = 0
        self.omitted = set()
        self.sent = {}
        self.largest_acked = -1
        self.received = Ranges()
        self.largest_at = 0.0
        self.ack_due = None
        self.unacked = 0
        self.since_eliciting = 0
        self.pending = deque()
        self.crypto_sent = 0
        self.crypto_read = 0
        self.crypto_held = {}

    def send_crypto(self, data):
        for at in range(0, len(data), CRYPTO_PIECE):
            piece = data[at : at + CRYPTO_PIECE]
            self.pending.append(Frame("CRYPTO", offset=self.crypto_sent, data=piece))
            self.crypto_sent += len(piece)

    def receive_crypto(self, offset, data):
        """The bytes that are now in order."""
        self.crypto_held[offset] = max(self.crypto_held.get(offset, b""), data, key=len)
        ready = b""
        for start in sorted(self.crypto_held):
            if start > self.crypto_read:
                break
            fresh = self.crypto_held.pop(start)[self.crypto_read - start :]
            ready += fresh
            self.crypto_read += len(fresh)
        return ready

    def last_eliciting(self):
        """When the newest ack-eliciting packet in flight was sent, or None."""
        return max((s.time for s in self.sent.values() if s.eliciting), default=None)


class Recovery:
    """The RTT and congestion window of the path, and what is acknowledged and lost in the spaces."""

    def __init__(self):
        self.smoothed = None
        self.variation = None
        self.latest = None
        self.minimum = None
        self.backoff = 0
        self.window = 10 * MAX_DATAGRAM
        self.threshold = float("inf")
        self.in_flight = 0
        self.reduced_at = 0.0

    def may_send(self):
        return self.in_flight < self.window

    def sent(self, space, packet):
        space.sent[space.next] = packet
        if packet.in_flight:
            self.in_flight += packet.size

    def forget(self, space):
        """The keys of a space are gone, so nothing of it will be acknowledged."""
        self.in_flight -= sum(s.size for s in space.sent.values() if s.in_flight)
        space.sent.clear()
        space.pending.clear()
        space.ack_due = None

    def acknowledged(self, space, frame, now, delay):
        """Takes an ACK frame; delay is the seconds that it says it waited."""
        for low, high in frame.ranges:
            if high >= space.next or any(low <= n <= high for n in space.omitted):
                raise Violation(f"ACK of {low}-{high}, which holds a number that was not sent")
        numbers = [n for n in space.sent if any(low <= n <= high for low, high in frame.ranges)]
        largest = frame.ranges[0][1]
        if largest in numbers and any(space.sent[n].eliciting for n in numbers):
            self._sample(now - space.sent[largest].time, delay)
        space.largest_acked = max(space.largest_acked, largest)
        for packet in [space.sent.pop(n) for n in numbers]:
            if packet.in_flight:
                self.in_flight -= packet.size
                grown = packet.size if self.window < self.threshold else MAX_DATAGRAM * packet.size // self.window
                self.window += grown if packet.time > self.reduced_at else 0
        if numbers:
            self.backoff = 0

    def _sample(self, rtt, delay):
        self.latest = rtt
        if self.smoothed is None:
            self.smoothed, self.variation, self.minimum = rtt, rtt / 2, rtt
            return
        self.minimum = min(self.minimum, rtt)
        if rtt >= self.minimum + delay:
            rtt -= delay
        self.variation += (abs(self.smoothed - rtt) - self.variation) / 4
        self.smoothed += (rtt - self.smoothed) / 8

    def _loss_delay(self):
        if self.smoothed is None:
            return INITIAL_PTO
        return max(9 / 8 * max(self.smoothed, self.latest), GRANULARITY)

    def loss_time(self, space):
        """When the next packet of a space has been missing too long, or None."""
        older = [s.time for n, s in space.sent.items() if n < space.largest_acked]
        return min(older) + self._loss_delay() if older else None

    def detect_lost(self, space, now):
        """Returns the packets now declared lost."""
        numbers = [
            n
            for n, s in space.sent.items()
            if n + 3 <= space.largest_acked or n < space.largest_acked and s.time + self._loss_delay() <= now
        ]
        lost = [space.sent.pop(n) for n in numbers]
        for packet in lost:
            if packet.in_flight:
                self.in_flight -= packet.size
                if packet.time > self.reduced_at:
                    self.reduced_at = now
                    self.threshold = self.window = max(self.window // 2, 2 * MAX_DATAGRAM)
        return lost

    def pto(self, ack_delay):
        if self.smoothed is None:
            base = INITIAL_PTO
        else:
            base = self.smoothed + max(4 * self.variation, GRANULARITY) + ack_delay
        return min(base * 2**self.backoff, 60)
