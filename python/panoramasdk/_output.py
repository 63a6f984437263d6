"""Pictures on their way to the display.

A picture that nobody drew into travels as its lease's number. A changed one is copied into a memfd
that is sealed and sent along. Nothing is copied while nobody watches.
"""

import os

from . import _memory, _packet

# Leaves room in a header for what frames bring along, and keeps one frame's share bounded.
_HEADER_BYTES = _packet.MAX_HEADER - 1024
_LABEL_BYTES = 16 * 1024


def send_pictures(session, port, frames):
    """Sends one ``put``, in as many packets as headers and descriptors need."""
    packet, fds, size = [], [], 0
    try:
        for frame in frames:
            entry, fd = _entry(session, frame)
            cost = len(_packet.encode(entry)) + 32
            if packet and (size + cost > _HEADER_BYTES or len(fds) == _packet.MAX_FDS):
                _send(session, port, packet, fds, more=True)
                packet, fds, size = [], [], 0
            if fd is not None:
                entry["pixels"]["fd"] = len(fds)
                fds.append(fd)
            packet.append(entry)
            size += cost
        _send(session, port, packet, fds, more=False)
    finally:
        _packet.close(fds)


def _send(session, port, packet, fds, more):
    header = {"op": "put", "port": port, "frames": packet}
    if more:
        header["more"] = True
    try:
        session.send(header, fds)
    finally:
        _packet.close(fds)
        del fds[:]


def _entry(session, frame):
    picture = frame._picture
    lease = picture.lease() if picture.belongs_to(session.frames) else None
    pixels, fd = None, None
    if session.watched and (lease is None or frame._given or picture.changed()):
        image = _checked(frame.image)
        height, width = image.shape[:2]
        fd = _copy(image)
        pixels = {"fd": 0, "offset": 0, "width": width, "height": height}
    entry = {
        "stream": frame.stream_id,
        "time": list(frame.time_stamp),
        "lease": lease,
        "pixels": pixels,
        "rects": frame._rects,
        "labels": _bounded(frame._labels),
    }
    return entry, fd


def _checked(image):
    import numpy

    image = numpy.asarray(image)
    if image.dtype != numpy.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            "media.image must be uint8 of shape (height, width, 3), it is {} of shape {}".format(
                image.dtype, image.shape
            )
        )
    return numpy.ascontiguousarray(image)


def _copy(image):
    fd = _memory.memfd("panoramasdk-picture")
    try:
        _memory.write_all(fd, image)
        _memory.seal(fd, _memory.SEAL_SHRINK | _memory.SEAL_GROW | _memory.SEAL_WRITE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _bounded(labels):
    kept, size = [], 0
    for label in labels:
        size += len(_packet.encode(label))
        if size > _LABEL_BYTES:
            break
        kept.append(label)
    return kept
