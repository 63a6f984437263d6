"""The session of this process: made once, made again when the agent was gone, never inherited.

Owns the only state that modules share, keyed by process ID, because a child after ``fork`` finds
its parent's locks as they happened to be held.
"""

import os
import threading
import time

from . import _packet
from ._errors import ConnectionLost, NodeError
from ._session import Session

# An appliance that restarts its agent restarts the applications too: the first connection is
# only early by moments, if at all.
FIRST_CONNECTION_S = 10.0
_ANSWER_S = 10.0

_sessions = {}


def current():
    """The session of this process, lost or not; made when there is none."""
    session = _sessions.get(os.getpid())
    if session is not None:
        return session
    with _lock.mine():
        session = _sessions.get(os.getpid())
        if session is None:
            session = _connect(_packet.until(FIRST_CONNECTION_S))
            _forget_parents()
            _sessions[os.getpid()] = session
        return session


def after(lost, deadline, back_off):
    """The session that follows one that is lost, or ``None`` when ``deadline`` comes first."""
    back_off.wait(deadline)
    lock = _lock.mine()
    rest = _packet.left(deadline)
    if not lock.acquire(True, -1 if rest is None else rest):
        return None
    try:
        session = _sessions.get(os.getpid())
        if session is not None and session is not lost:
            return session
        lost.frames.abandon()
        try:
            session = _connect(deadline)
        except NodeError:
            if deadline is not None and _packet.left(deadline) == 0.0:
                return None
            raise
        _sessions[os.getpid()] = session
        return session
    finally:
        lock.release()


class BackOff(object):
    """Pauses between tries: short ones first, at most five seconds."""

    def __init__(self):
        self._pause = 0.02

    def wait(self, deadline):
        """One pause, not beyond ``deadline``."""
        rest = _packet.left(deadline)
        time.sleep(self._pause if rest is None else min(self._pause, rest))
        self._pause = min(2 * self._pause, 5.0)


class Locks(object):
    """A lock for each process: a child must not inherit one that a parent's thread holds."""

    def __init__(self):
        self._locks = {}

    def mine(self):
        """The lock of this process."""
        return self._locks.setdefault(os.getpid(), threading.Lock())


def _connect(deadline):
    path = os.environ.get("PARAPET_SOCKET")
    if not path:
        raise NodeError(
            "no Parapet appliance here: the variable PARAPET_SOCKET is not set. Deploy the "
            "application, or run it with `parapet dev run`"
        )
    back_off = BackOff()
    while True:
        try:
            rest = _packet.left(deadline)
            return Session(path, _packet.until(_ANSWER_S if rest is None else min(rest, _ANSWER_S)))
        except ConnectionLost as error:
            rest = _packet.left(deadline)
            if rest == 0.0:
                raise NodeError(
                    "the appliance's agent at {} cannot be reached: {}".format(path, error)
                )
        back_off.wait(deadline)


def _forget_parents():
    for pid in [pid for pid in _sessions if pid != os.getpid()]:
        _sessions.pop(pid).forget()


_lock = Locks()


def _after_fork():
    # What the child inherited is its parent's to release: from here on the child keeps copies.
    for session in list(_sessions.values()):
        if session.pid != os.getpid():
            session.frames.after_fork()


if hasattr(os, "register_at_fork"):  # since Python 3.7
    os.register_at_fork(after_in_child=_after_fork)
