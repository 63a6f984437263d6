"""Packets of a ``SOCK_SEQPACKET`` socket: four bytes of header length, JSON, descriptors.

Owns nothing: sockets and descriptors belong to the caller. The twin of
``parapet-sandbox::channel``.
"""

import array
import json
import os
import select
import socket
import struct
import time

from ._errors import ConnectionLost

MAX_HEADER = 32 * 1024
MAX_PAYLOAD = 64 * 1024
MAX_FDS = 4

_SPACE = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)
# Not in every socket module that Python 3.6 was built with.
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0x40000000)


def encode(header):
    """The header's JSON as it is sent."""
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace")


def send(sock, header, fds=()):
    """Sends one packet; ``fds`` stay with the caller."""
    text = encode(header)
    if len(text) > MAX_HEADER or len(fds) > MAX_FDS:
        raise ValueError(
            "packet of {} bytes and {} descriptors: at most {} and {} fit".format(
                len(text), len(fds), MAX_HEADER, MAX_FDS
            )
        )
    rights = []
    if fds:
        rights.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds)))
    try:
        sock.sendmsg([struct.pack("<I", len(text)), text], rights, socket.MSG_NOSIGNAL)
    except OSError as error:
        raise ConnectionLost(str(error))


def receive(sock, deadline):
    """One packet as ``(header, fds)``, or ``None`` when ``deadline`` has passed first."""
    if not _readable(sock, deadline):
        return None
    try:
        data, rights, flags, _ = sock.recvmsg(4 + MAX_HEADER + MAX_PAYLOAD, _SPACE, _CLOEXEC)
    except OSError as error:
        raise ConnectionLost(str(error))
    fds = _descriptors(rights)
    try:
        if not data:
            raise ConnectionLost("the peer has closed the connection")
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(data) < 4:
            raise ConnectionLost("a packet is cut off")
        length = struct.unpack_from("<I", data)[0]
        if length > len(data) - 4:
            raise ConnectionLost("a packet is shorter than it claims")
        header = json.loads(data[4 : 4 + length].decode("utf-8"))
        if not isinstance(header, dict):
            raise ConnectionLost("a packet's header is no JSON object")
    except (ConnectionLost, ValueError) as error:
        close(fds)
        raise ConnectionLost(str(error))
    return header, fds


def close(fds):
    """Closes descriptors that nobody took."""
    for fd in fds:
        os.close(fd)


def until(seconds):
    """The deadline ``seconds`` from now; ``None`` is never."""
    return None if seconds is None else time.monotonic() + float(seconds)


def left(deadline):
    """Seconds until ``deadline``, not below 0; ``None`` is for ever."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _readable(sock, deadline):
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    while True:
        rest = left(deadline)
        # Rounded up, so that the last millisecond is not spent in a busy loop. A long wait is cut
        # because poll() takes a C int.
        wait = None if rest is None else min(int(rest * 1000) + 1, 3600000)
        if poll.poll(wait):
            return True
        if deadline is not None and left(deadline) == 0.0:
            return False


def _descriptors(rights):
    fds = array.array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)
