"""Messages on channels: modes, fragments, credit and SKIP (SPEC section 7)."""

from collections import deque
from dataclasses import dataclass

from codec import Frame
from recovery import Violation
from streams import Streams, about_stream

ORDERED, UNORDERED, LATEST, SEQUENCED, UNRELIABLE = range(5)
RELIABLE = (ORDERED, UNORDERED, LATEST)
OVERHEAD = 32
PIECE = 1100
CHANNELS = 256
CONTROL = ("MAX_DATA", "MAX_CHANNEL", "BLOCKED", "CHANNEL_BLOCKED", "SKIP")
CARRIERS = ("MESSAGE", "MESSAGE_KEYED", "MESSAGES", "MESSAGES_KEYED", "FRAGMENT", "FRAGMENT_KEYED")


def default_mode(channel):
    return channel if channel <= UNRELIABLE else ORDERED


@dataclass(frozen=True)
class Message:
    channel: int
    id: int
    key: object
    data: bytes


class Outgoing:
    """The sending half of a channel. What waits is a list of (first ID, items) that leave together; an item is (key, payload)."""

    def __init__(self, channel, mode, limit):
        self.channel = channel
        self.mode = mode
        self.limit = limit
        self.next_id = 0
        self.costs = {}
        self.reserved = 0
        self.waiting = deque()
        self.blocked_at = None

    def queue(self, items):
        self.waiting.append((self.next_id, items))
        self.next_id += len(items)

    def next_cost(self):
        return sum(len(data) + OVERHEAD for _, data in self.waiting[0][1]) if self.mode in RELIABLE else 0

    def begin(self):
        """The frames of the next batch."""
        cost = self.next_cost()
        first, items = self.waiting.popleft()
        self.reserved += cost
        if self.mode in RELIABLE:
            self.costs |= {first + i: len(data) + OVERHEAD for i, (_, data) in enumerate(items)}
        keyed = self.mode == LATEST
        suffix = "_KEYED" if keyed else ""
        if len(items) > 1:
            return [Frame("MESSAGES" + suffix, channel=self.channel, id=first, items=items if keyed else [d for _, d in items])]
        key, data = items[0]
        common = dict(channel=self.channel, id=first) | (dict(key=key) if keyed else {})
        if len(data) <= PIECE:
            return [Frame("MESSAGE" + suffix, **common, data=data)]
        return [
            Frame("FRAGMENT" + suffix, **common, offset=at, total=len(data), data=data[at : at + PIECE])
            for at in range(0, len(data), PIECE)
        ]

    def skip(self, up_to):
        """The SKIP that settles every message up to an ID. One that was never begun has no cost."""
        self.waiting = deque((first, items) for first, items in self.waiting if first > up_to)
        cost = sum(cost for number, cost in self.costs.items() if number <= up_to)
        return Frame("SKIP", channel=self.channel, up_to=up_to, cost=cost)


class Partial:
    """A message of which not all bytes are there."""

    def __init__(self, key, total):
        self.key = key
        self.data = bytearray(total)
        self.have = bytearray(total)

    def add(self, offset, data):
        span = slice(offset, offset + len(data))
        if any(self.have[span]):
            # What comes again is the same by rule; the bytes that came first are kept.
            data = bytes(old if had else new for old, had, new in zip(self.data[span], self.have[span], data))
        self.data[span] = data
        self.have[span] = b"\1" * len(data)

    def whole(self):
        return 0 not in self.have


class Incoming:
    """The receiving half of a channel."""

    def __init__(self, channel, mode, limit):
        self.channel = channel
        self.mode = mode
        self.limit = self.window = limit
        self.counted = {}
        self.settled = 0
        self.released = 0
        self.floor = 0
        self.whole = {}
        self.partial = {}
        self.versions = {}
        self.newest = -1

    def total(self):
        return self.settled + sum(self.counted.values())

    def take(self, number, key, offset, total, data):
        """Takes a message or a part of it; returns the messages to deliver."""
        if self.mode in RELIABLE:
            if number < self.floor or number in self.whole:
                return []
            self.counted.setdefault(number, total + OVERHEAD)
        partial = self.partial.setdefault(number, Partial(key, total))
        if len(partial.data) != total or partial.key != key or offset + len(data) > total:
            raise Violation(f"fragments of message {number} on channel {self.channel} contradict each other")
        partial.add(offset, data)
        if not partial.whole():
            return []
        del self.partial[number]
        return self._complete(Message(self.channel, number, key, bytes(partial.data)))

    def _complete(self, message):
        if self.mode == UNRELIABLE:
            return [message]
        if self.mode == SEQUENCED:
            newer = message.id > self.newest
            self.newest = max(self.newest, message.id)
            return [message] if newer else []
        self.whole[message.id] = message
        if self.mode == ORDERED:
            return self._advance()
        self._advance()
        if self.mode == LATEST:
            if self.versions.get(message.key, -1) > message.id:
                self.released += len(message.data) + OVERHEAD
                return []
            self.versions[message.key] = message.id
        return [message]

    def _advance(self):
        """Moves the floor over the messages that are whole and returns them."""
        passed = []
        while self.floor in self.whole:
            passed.append(self.whole.pop(self.floor))
            self.settled += self.counted.pop(self.floor)
            self.floor += 1
        return passed

    def skip(self, up_to, cost):
        """Takes SKIP; returns the messages to deliver."""
        if self.mode not in RELIABLE:
            raise Violation(f"SKIP on channel {self.channel}, which is not reliable")
        if up_to < self.floor:
            return []
        covered = {number: c for number, c in self.counted.items() if number <= up_to}
        known = self.settled + sum(covered.values())
        if cost < known:
            raise Violation(f"SKIP on channel {self.channel} with cost {cost}, but {known} was counted")
        present = [self.whole.pop(number) for number in sorted(covered) if number in self.whole]
        self.released += cost - known
        for number, c in covered.items():
            del self.counted[number]
            if self.partial.pop(number, None):
                self.released += c
        self.settled = cost
        self.floor = up_to + 1
        passed = self._advance()
        return present + passed if self.mode == ORDERED else []


class Messages:
    """All channels of a connection. Limits are parameters: own are those granted, peer those received."""

    def __init__(self, own, peer):
        def limits(parameters):
            listed = {e.channel: e for e in parameters.get("channels", [])}
            for channel in range(CHANNELS):
                entry = listed.get(channel)
                if entry:
                    yield channel, entry.mode, entry.limit
                else:
                    yield channel, default_mode(channel), parameters.get("initial_max_channel", 0)

        self.outgoing = [Outgoing(*limit) for limit in limits(peer)]
        self.incoming = [Incoming(*limit) for limit in limits(own)]
        self.peer_max_message = peer.get("max_message_size", 0)
        self.send_limit = peer.get("initial_max_data", 0)
        self.limit = self.window = own["initial_max_data"]
        self.blocked_at = None
        self.inbox = deque()
        self.frames = deque()
        self.withhold = False
        self.owed = []
        self.seen = {}
        self.streams = Streams(self, own, peer)

    # Sending

    def send(self, channel, *payloads, key=None):
        """Queues messages, which leave in one MESSAGES frame if there are several; payloads of a latest channel may be (key, payload)."""
        items = [item if isinstance(item, tuple) else (key, item) for item in payloads]
        if any(len(data) > self.peer_max_message for _, data in items):
            raise ValueError("message above the peer's max_message_size")
        self.outgoing[channel].queue(items)
        self.begin()

    def begin(self):
        """Begins the messages that credit allows."""
        for channel in self.outgoing:
            while channel.waiting:
                cost = channel.next_cost()
                if channel.mode in RELIABLE and channel.reserved + cost > channel.limit:
                    if channel.blocked_at != channel.limit:
                        channel.blocked_at = channel.limit
                        self.frames.append(Frame("CHANNEL_BLOCKED", channel=channel.channel, limit=channel.limit))
                    break
                if cost and cost > self.credit():
                    self.say_blocked()
                    break
                self.frames.extend(channel.begin())
        self.streams.begin()

    def credit(self):
        """What is left of the connection's credit."""
        return self.send_limit - sum(channel.reserved for channel in self.outgoing) - self.streams.reserved()

    def say_blocked(self):
        if self.blocked_at != self.send_limit:
            self.blocked_at = self.send_limit
            self.frames.append(Frame("BLOCKED", limit=self.send_limit))

    def current(self, frame):
        """Whether a frame about credit, which was lost, still says what holds."""
        if about_stream(frame):
            return self.streams.wanted(frame)
        if frame.name == "MAX_DATA":
            return frame.limit == self.limit
        if frame.name == "BLOCKED":
            return frame.limit == self.send_limit
        if frame.name == "MAX_CHANNEL":
            return frame.limit == self.incoming[frame.channel].limit
        return frame.limit == self.outgoing[frame.channel].limit

    def abandon(self, channel, up_to):
        self.frames.append(self.outgoing[channel].skip(up_to))

    # Receiving

    def receive(self, frame):
        """Takes a frame of this section."""
        self.seen[frame.name] = self.seen.get(frame.name, 0) + 1
        if frame.name == "MAX_DATA":
            self.send_limit = max(self.send_limit, frame.limit)
            self.begin()
        elif about_stream(frame):
            self.streams.receive(frame)
        elif frame.name == "MAX_CHANNEL":
            channel = self.outgoing[frame.channel]
            channel.limit = max(channel.limit, frame.limit)
            self.begin()
        elif frame.name in CARRIERS:
            self._carrier(frame)
        elif frame.name == "SKIP":
            self._deliver(self.incoming[frame.channel].skip(frame.up_to, frame.cost))
        self._check_credit()
        self.grant(asked=frame.name in ("BLOCKED", "CHANNEL_BLOCKED"))

    def _carrier(self, frame):
        channel = self.incoming[frame.channel]
        if frame.name.endswith("_KEYED") != (channel.mode == LATEST):
            raise Violation(f"{frame.name} on channel {frame.channel}")
        if frame.name.startswith("FRAGMENT"):
            if not frame.data:
                raise Violation("empty fragment")
            self._deliver(channel.take(frame.id, getattr(frame, "key", None), frame.offset, frame.total, frame.data))
        elif frame.name.startswith("MESSAGES"):
            for at, item in enumerate(frame.items):
                key, data = item if channel.mode == LATEST else (None, item)
                self._deliver(channel.take(frame.id + at, key, 0, len(data), data))
        else:
            self._deliver(channel.take(frame.id, getattr(frame, "key", None), 0, len(frame.data), frame.data))

    def _deliver(self, messages):
        self.inbox.extend(messages)
        if self.withhold:
            self.owed.extend(messages)
        else:
            self._release(messages)

    def _release(self, messages):
        for message in messages:
            channel = self.incoming[message.channel]
            channel.released += len(message.data) + OVERHEAD if channel.mode in RELIABLE else 0

    def release_owed(self):
        """The application is done with what was withheld."""
        self.withhold = False
        self._release(self.owed)
        self.owed = []
        self.grant(asked=True)

    def _check_credit(self):
        over = [c.channel for c in self.incoming if c.mode in RELIABLE and c.total() > c.limit]
        if over or sum(c.total() for c in self.incoming) + self.streams.total() > self.limit:
            raise Violation(f"more credit used than granted, channels {over}")

    def grant(self, asked):
        """Raises limits when half a window came back, or when the peer asked and anything did."""
        released = sum(c.released for c in self.incoming) + self.streams.released()
        if self._worth(self.limit, released + self.window, self.window, asked):
            self.limit = released + self.window
            self.frames.append(Frame("MAX_DATA", limit=self.limit))
        for c in self.incoming:
            if c.mode in RELIABLE and self._worth(c.limit, c.released + c.window, c.window, asked):
                c.limit = c.released + c.window
                self.frames.append(Frame("MAX_CHANNEL", channel=c.channel, limit=c.limit))
        self.streams.grant(self._worth, asked)

    @staticmethod
    def _worth(limit, possible, window, asked):
        return possible > limit and (asked or possible - limit >= window // 2)
