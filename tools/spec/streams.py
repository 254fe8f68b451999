"""Byte streams (SPEC section 7.8)."""

from codec import Frame
from recovery import Violation

FIRST_STREAM, STEP = 256, 4
PIECE = 1100
STREAM_CONTROL = ("RESET_STREAM", "STOP_SENDING", "MAX_STREAMS")


def about_stream(frame):
    """Whether a frame belongs here: MAX_CHANNEL and CHANNEL_BLOCKED do by their number."""
    return frame.name.startswith("STREAM") or frame.name in STREAM_CONTROL or getattr(frame, "channel", 0) >= FIRST_STREAM


class Stream:
    """Both halves of a byte stream."""

    def __init__(self, number, send_limit, limit):
        self.number = number
        # The sending half.
        self.waiting = bytearray()
        self.sent = 0
        self.finish_due = self.finished = False
        self.reset_sent = False
        self.send_limit = send_limit
        self.blocked_at = None
        self.stop_code = None
        # The receiving half.
        self.data = bytearray()
        self.early = {}
        self.highest = 0
        self.final = None
        self.reset_code = None
        self.limit = self.window = limit
        self.consumed = 0

    def take(self, offset, data, fin):
        end = offset + len(data)
        if self.final is not None and (end > self.final or fin and end != self.final) or fin and end < self.highest:
            raise Violation(f"lengths of stream {self.number} contradict each other")
        self.highest = max(self.highest, end)
        if fin:
            self.final = end
        if self.reset_code is not None:
            return
        self.early[offset] = max(self.early.get(offset, b""), data, key=len)
        for start in sorted(self.early):
            if start > len(self.data):
                break
            self.data += self.early.pop(start)[len(self.data) - start :]

    def take_reset(self, code, size):
        if self.final not in (None, size) or size < self.highest:
            raise Violation(f"RESET_STREAM of stream {self.number} with another length")
        if self.whole():
            return  # FIN and all bytes had come: it has ended in good order
        self.highest = self.final = size
        self.reset_code = code
        self.consumed = size

    def whole(self):
        return len(self.data) == self.final


class Streams:
    """The streams of a connection, all opened by this client; messages has the credit that they share."""

    def __init__(self, messages, own, peer):
        self.messages = messages
        self.by_number = {}
        self.allowed = peer.get("initial_max_streams", 0)
        self.send_limit = peer.get("initial_max_channel", 0)
        self.limit = own.get("initial_max_channel", 0)
        self.withhold = False

    # Sending

    def open(self):
        if len(self.by_number) >= self.allowed:
            raise ValueError("the server allows no more streams")
        number = FIRST_STREAM + STEP * len(self.by_number)
        self.by_number[number] = Stream(number, self.send_limit, self.limit)
        return self.by_number[number]

    def write(self, stream, data, finish=False):
        stream.waiting += data
        stream.finish_due = finish
        self.begin()

    def reset(self, stream, code):
        stream.waiting.clear()
        stream.finish_due, stream.reset_sent = False, True
        self.messages.frames.append(Frame("RESET_STREAM", stream=stream.number, error=code, size=stream.sent))

    def stop(self, stream, code):
        self.messages.frames.append(Frame("STOP_SENDING", stream=stream.number, error=code))

    def begin(self):
        """Sends what credit allows. Bytes cost themselves, and the end of a stream nothing."""
        for stream in self.by_number.values():
            while stream.waiting or stream.finish_due:
                room = min(stream.send_limit - stream.sent, self.messages.credit(), PIECE)
                if stream.waiting and room <= 0:
                    self._blocked(stream)
                    break
                data = bytes(stream.waiting[:room])
                del stream.waiting[: len(data)]
                fin = stream.finish_due and not stream.waiting
                name = "STREAM" + "_OFF" * (stream.sent > 0) + "_LEN" + "_FIN" * fin
                self.messages.frames.append(Frame(name, stream=stream.number, offset=stream.sent, data=data))
                stream.sent += len(data)
                if fin:
                    stream.finish_due, stream.finished = False, True

    def _blocked(self, stream):
        if stream.sent == stream.send_limit and stream.blocked_at != stream.sent:
            stream.blocked_at = stream.sent
            self.messages.frames.append(Frame("CHANNEL_BLOCKED", channel=stream.number, limit=stream.sent))
        elif stream.sent < stream.send_limit:
            self.messages.say_blocked()

    def reserved(self):
        return sum(stream.sent for stream in self.by_number.values())

    def wanted(self, frame):
        """Whether a frame that was lost is to be repeated."""
        if frame.name.startswith("STREAM"):
            return not self.by_number[frame.stream].reset_sent
        if frame.name == "MAX_CHANNEL":
            return frame.limit == self.by_number[frame.channel].limit
        if frame.name == "CHANNEL_BLOCKED":
            return frame.limit == self.by_number[frame.channel].send_limit
        return True

    # Receiving

    def receive(self, frame):
        if frame.name == "MAX_STREAMS":
            self.allowed = max(self.allowed, frame.limit)
            return
        stream = self.by_number.get(getattr(frame, "stream", None) or getattr(frame, "channel", None))
        if stream is None:
            raise Violation(f"{frame} about a stream that nobody has opened")
        if frame.name == "MAX_CHANNEL":
            stream.send_limit = max(stream.send_limit, frame.limit)
            self.messages.begin()
        elif frame.name == "RESET_STREAM":
            stream.take_reset(frame.error, frame.size)
        elif frame.name == "STOP_SENDING":
            if stream.stop_code is None and not stream.reset_sent:
                stream.stop_code = frame.error
                self.reset(stream, frame.error)
        elif frame.name.startswith("STREAM"):
            stream.take(getattr(frame, "offset", 0), frame.data, frame.name.endswith("_FIN"))
        if stream.highest > stream.limit:
            raise Violation(f"stream {stream.number} uses more credit than granted")
        if not self.withhold:
            stream.consumed = max(stream.consumed, len(stream.data))

    def total(self):
        return sum(stream.highest for stream in self.by_number.values())

    def released(self):
        return sum(stream.consumed for stream in self.by_number.values())

    def release(self):
        """The application takes what was withheld."""
        self.withhold = False
        for stream in self.by_number.values():
            stream.consumed = max(stream.consumed, len(stream.data))
        self.messages.grant(asked=True)

    def grant(self, worth, asked):
        """Raises limits; worth decides whether that is worth a frame."""
        for stream in self.by_number.values():
            if stream.final is None and worth(stream.limit, stream.consumed + stream.window, stream.window, asked):
                stream.limit = stream.consumed + stream.window
                self.messages.frames.append(Frame("MAX_CHANNEL", channel=stream.number, limit=stream.limit))
