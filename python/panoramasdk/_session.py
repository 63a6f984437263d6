"""The connection of this process with the agent: questions, answers, and who reads them.

Owns the socket. There is no thread of its own: whoever waits for an answer reads the socket, one
at a time, and hands the others theirs. A question that was abandoned, because an exception ended
the wait, stays open, and the next one who would ask the same takes it over.

Never retries by itself: :mod:`panoramasdk._process` makes a new session when this one is lost.
"""

import gc
import itertools
import os
import platform
import socket
import threading

from . import _packet
from ._errors import ConnectionLost, NodeError
from ._frames import Frames

PROTOCOL = 1
SDK = "0.1.0"
_CANCEL_S = 2.0


class Question(object):
    """Something asked of the agent."""

    def __init__(self, header):
        self.header = header
        self.answer = None  # header of the answer
        self.result = None  # what became of it: pictures, or a descriptor
        self.cancelled = False
        self.unwanted = False


class Session(object):
    """One connection, made for the process that opens it."""

    def __init__(self, path, deadline):
        self.pid = os.getpid()
        self.lost = None
        self.watched = False
        self._numbers = itertools.count(1)
        self._sending = threading.Lock()
        # Releases and questions are decided and sent as one step: a release must not follow a
        # question whose answer grants the same lease again.
        self._order = threading.Lock()
        self._told = False
        self._changed = threading.Condition(threading.Lock())
        self._reading = False
        self._questions = {}
        self._ports = {}  # port -> its question under way
        self.frames = Frames(1, 0)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.connect(path)
            self._open(deadline)
        except OSError as error:
            self._socket.close()
            raise ConnectionLost(str(error))
        except BaseException:
            self._socket.close()
            raise

    def _open(self, deadline):
        self.send(
            {
                "op": "hello",
                "version": PROTOCOL,
                "sdk": SDK,
                "python": platform.python_version(),
            }
        )
        packet = _packet.receive(self._socket, deadline)
        if packet is None:
            raise ConnectionLost("the agent does not answer")
        welcome, fds = packet
        _packet.close(fds)
        if welcome.get("event") != "welcome" or welcome.get("version") != PROTOCOL:
            raise NodeError(
                "the appliance refuses this panoramasdk (protocol {}): {}".format(
                    PROTOCOL, welcome.get("message", "it speaks another version")
                )
            )
        self.inputs = {port["name"]: port for port in welcome.get("inputs", ())}
        self.outputs = {port["name"]: port for port in welcome.get("outputs", ())}
        self.models = tuple(welcome.get("models", ()))
        self.frames = Frames(int(welcome.get("hold", 4)), int(welcome.get("hold_bytes", 1 << 30)))

    def send(self, header, fds=()):
        """Sends a packet; whole or not at all."""
        with self._sending:
            if self.lost is not None:
                raise ConnectionLost(self.lost)
            _packet.send(self._socket, header, fds)

    def log(self, level, message):
        """Tells the operator. Never fails: the operator learns of a lost connection anyway."""
        try:
            self.send({"op": "log", "level": level, "message": message[:1000]})
        except ConnectionLost:
            pass

    def ask(self, header):
        """Sends a question, or takes over the one of the same port that is still open."""
        port = header.get("port")
        with self._order:
            if port in self._ports:
                return self._ports[port]
            question = Question(dict(header, seq=next(self._numbers)))
            self._questions[question.header["seq"]] = question
            if port is not None:
                self._ports[port] = question
            self.send(question.header)
            return question

    def wait(self, question, deadline):
        """Whether the answer has come by ``deadline``. Raises when the connection is lost."""
        with self._changed:
            while question.answer is None:
                if self.lost is not None:
                    raise ConnectionLost(self.lost)
                rest = _packet.left(deadline)
                if rest == 0.0 and self._reading:
                    return False
                if self._reading:
                    self._changed.wait(rest)
                elif not self._read(deadline):
                    return question.answer is not None
            self._close_question(question)
            return True

    def withdraw(self, question):
        """Cancels, and waits for the answer to that: whether a real answer was on its way.

        An agent too busy to answer keeps the question open: the next one to ask takes it over.
        """
        if not question.cancelled:
            question.cancelled = True
            self.send({"op": "cancel", "seq": question.header["seq"]})
        if not self.wait(question, _packet.until(_CANCEL_S)):
            return False
        return question.answer["event"] != "cancelled"

    def discard(self, question):
        """Nobody will wait for this answer: its descriptor is closed when it comes."""
        with self._changed:
            question.unwanted = True
            if question.result is not None:
                os.close(question.result)
                question.result = None

    def port_is_busy(self, port):
        """Whether a ``get()`` of that port is under way."""
        return port in self._ports

    def release(self):
        """Gives back what nobody looks at any more."""
        with self._order:
            if self.frames.dropped or self.frames.has_waiting():
                self._send_released(self.frames.released(self.port_is_busy))

    def make_room(self):
        """Sees to it that the next frames find a lease free for every camera."""
        self.release()
        if not self.frames.fits(self.port_is_busy):
            gc.collect()  # frames in reference cycles are gone, but nobody has noticed yet
            self.release()
        with self._order:
            numbers = self.frames.make_room(self.port_is_busy)
            self._send_released(numbers)
        if numbers and not self._told:
            self._told = True
            self.log("warning", "the application holds older frames: they are copied")

    def _send_released(self, numbers):
        for start in range(0, len(numbers), 500):
            self.send({"op": "release", "leases": numbers[start : start + 500]})

    def end(self, reason):
        """The connection is of no more use; everybody who waits is told."""
        with self._changed:
            self._end(reason)

    def forget(self):
        """In a child after fork: closes the child's copy of the parent's socket."""
        self._socket.close()

    def _end(self, reason):
        if self.lost is None:
            self.lost = reason
            # Not closed: another thread may be about to send, and must not meet a foreign
            # descriptor of the same number.
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self._changed.notify_all()

    def _close_question(self, question):
        # Under the lock of answers, not that of order: busy for too long does no harm.
        self._questions.pop(question.header["seq"], None)
        port = question.header.get("port")
        if self._ports.get(port) is question:
            del self._ports[port]

    def _read(self, deadline):
        """Reads one packet without holding the lock; whether there was one in time."""
        self._reading = True
        self._changed.release()
        packet, reason = None, None
        try:
            packet = _packet.receive(self._socket, deadline)
        except ConnectionLost as error:
            reason = str(error)
        finally:
            self._changed.acquire()
            self._reading = False
            self._changed.notify_all()
        if reason is None and packet is not None:
            try:
                self._dispatch(*packet)
            except (ConnectionLost, KeyError, TypeError, ValueError, OSError) as error:
                reason = "the agent's message is wrong: {!r}".format(error)
        if reason is not None:
            self._end(reason)
            raise ConnectionLost(reason)
        return packet is not None

    def _dispatch(self, header, fds):
        fds = list(fds)
        try:
            event = header.get("event")
            if event == "ring":
                self.frames.add_ring(header, fds.pop(0))
            elif event == "ring_end":
                self.frames.end_ring(header)
            elif event == "error":
                raise ConnectionLost(str(header.get("message", header.get("code"))))
            elif event in ("frames", "model", "cancelled"):
                question = self._questions.get(header["seq"])
                if question is None:
                    raise ConnectionLost("an answer to no question")
                if event == "frames":
                    self.watched = bool(header.get("watched"))
                    port = question.header["port"]
                    question.result = [
                        (self.frames.picture(port, frame), frame) for frame in header["frames"]
                    ]
                elif event == "model":
                    if question.unwanted:
                        self._close_question(question)
                    else:
                        question.result = fds.pop(0)
                question.answer = header
        finally:
            _packet.close(fds)
