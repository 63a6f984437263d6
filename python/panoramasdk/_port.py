"""Ports: where frames and parameters come in, and pictures go out."""

import ctypes
import threading

from . import _packet, _process
from ._errors import ConnectionLost, TimeoutException
from ._media import media
from ._output import send_pictures


class port(object):  # noqa: N801 - the name is the original's
    """A port of this node, found as ``node.inputs.NAME`` or ``node.outputs.NAME``."""

    def __init__(self, name, direction):
        self._name = name
        self._direction = direction
        self._locks = _process.Locks()

    def get(self, timeout=None):
        """A parameter's value, or the list of frames of a media port.

        Of a media port it waits until at least one camera has a new frame, and raises
        ``TimeoutException`` (a ``TimeoutError``) after ``timeout`` seconds. A lost camera never
        raises.
        """
        if self._direction != "input":
            raise ValueError("port '{}' is an output: it has put(), not get()".format(self._name))
        description = _process.current().inputs[self._name]
        if description["type"] != "media":
            return literal(description)
        deadline = _packet.until(timeout)
        lock = self._locks.mine()
        rest = _packet.left(deadline)
        if not lock.acquire(True, -1 if rest is None else min(rest, threading.TIMEOUT_MAX)):
            raise self._late(timeout)
        try:
            frames = self._frames(deadline)
        finally:
            lock.release()
        if frames is None:
            raise self._late(timeout)
        return frames

    def put(self, data):
        """Shows these frames, tiled, in place of the ones before."""
        if self._direction != "output":
            raise ValueError("port '{}' is an input: it has get(), not put()".format(self._name))
        frames = [data] if isinstance(data, media) else list(data)
        if not frames:
            raise ValueError("put() needs at least one media, the list is empty")
        for frame in frames:
            if not isinstance(frame, media):
                raise TypeError("put() takes media objects, not {}".format(type(frame).__name__))
        session = _process.current()
        try:
            send_pictures(session, self._name, frames)
            session.release()
        except ConnectionLost as error:
            # Nobody watches while the agent is away. The next get() finds it again.
            session.end(str(error))

    def __repr__(self):
        return "<panoramasdk.port {}>".format(self._name)

    def _frames(self, deadline):
        session = _process.current()
        back_off = _process.BackOff()
        while True:
            try:
                return self._ask(session, deadline)
            except ConnectionLost as error:
                session.end(str(error))
            session = _process.after(session, deadline, back_off)
            if session is None:
                return None

    def _ask(self, session, deadline):
        if not session.port_is_busy(self._name):
            session.make_room()
        question = session.ask({"op": "get", "port": self._name})
        if not session.wait(question, deadline) and not session.withdraw(question):
            return None
        if question.answer["event"] == "cancelled":
            # A get() that was interrupted before had withdrawn the question taken over here.
            return self._ask(session, deadline)
        session.send({"op": "got", "seq": question.header["seq"]})
        return [media(picture, frame) for picture, frame in question.result]

    def _late(self, timeout):
        return TimeoutException("no new frame at port '{}' within {} s".format(self._name, timeout))


def literal(description):
    """A parameter's value in the type that the original gives."""
    kind, value = description["type"], description.get("value")
    if kind == "float32":
        # The original hands out single precision: 0.8 is 0.800000011920929.
        return ctypes.c_float(float(value)).value
    if kind == "int32":
        return int(value)
    if kind == "boolean":
        return bool(value)
    return "" if value is None else str(value)
