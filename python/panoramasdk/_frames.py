"""Frames in shared memory: rings, leases, and pictures that stay while somebody looks.

Owns the mappings and the leases of one connection. A slot of a ring is mapped privately when a
picture is first asked for. The array's base object is a :class:`Picture`; when the last array and
the last ``media`` of a frame are gone, its finalizer leaves a note, and the next call into the SDK
gives the lease back. No address range is used again while an array refers to it.

Never sends anything: it says what to release.
"""

import collections
import os
import threading
import weakref

from . import _memory
from ._errors import ConnectionLost


class Ring(object):
    """A decoder's memfd: ``slots`` pictures of ``height`` rows of ``width`` BGR pixels."""

    def __init__(self, fd, header):
        self._descriptor = _memory.Descriptor(fd)
        self.width, self.height = int(header["width"]), int(header["height"])
        self.slots, self.slot_bytes = int(header["slots"]), int(header["slot_bytes"])
        self._idle = {}
        if min(self.width, self.height, self.slots) < 1 or self.slot_bytes % _memory.PAGE:
            raise ConnectionLost("a ring's shape makes no sense")
        if self.width * self.height * 3 > self.slot_bytes:
            raise ConnectionLost("a ring's slots are smaller than its pictures")
        if os.fstat(fd).st_size < self.slots * self.slot_bytes or not _memory.cannot_shrink(fd):
            raise ConnectionLost("a ring's memory is too small or not sealed")

    def take(self, slot):
        """A mapping of ``slot`` that nothing refers to."""
        mapping = self._idle.pop(slot, None)
        if mapping is None:
            mapping = _memory.Mapping(
                self._descriptor.fd, slot * self.slot_bytes, self.slot_bytes, private=True
            )
        return mapping

    def put_back(self, slot, mapping):
        """Takes a mapping whose last array is gone."""
        mapping.forget_changes()
        self._idle.setdefault(slot, mapping)


class Lease(object):
    """A slot granted by the agent, or the private copy that it has become."""

    def __init__(self, number, port, stream, ring, slot):
        self.number, self.port, self.stream = number, port, stream
        self.ring, self.slot = ring, slot
        self.mapping = None
        self.private = False
        self.pictures = 0
        self.picture = None  # a weak reference to the newest


class Picture(object):
    """Keeps a lease alive; the base object of its arrays."""

    def __init__(self, frames, lease):
        self._frames = frames
        self._lease = lease
        self._drop = frames.dropped.append
        lease.pictures += 1
        lease.picture = weakref.ref(self)

    def __del__(self):
        # Runs at any moment, in any thread, inside any lock: leaves a note, nothing more.
        self._drop(self._lease)

    def array(self):
        """The pixels: a new array, always on the same memory."""
        import numpy

        ring = self._lease.ring
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": (ring.height, ring.width, 3),
            "data": (self._frames.mapped(self._lease).address, False),
        }
        return numpy.asarray(self)

    def lease(self):
        """The number under which the agent knows these pixels; ``None`` once they are private."""
        return None if self._lease.private else self._lease.number

    def belongs_to(self, frames):
        """Whether it was granted on the connection of ``frames``."""
        return self._frames is frames

    def changed(self):
        """Whether the application has written into the pixels."""
        mapping = self._lease.mapping
        return mapping is not None and mapping.has_private_pages()


class Frames(object):
    """All rings and leases of one connection."""

    def __init__(self, hold, hold_bytes):
        self.dropped = collections.deque()  # leases, one entry per picture that is gone
        self._hold = max(1, hold)
        self._hold_bytes = hold_bytes
        self._lock = threading.Lock()
        self._rings = {}
        self._leases = collections.OrderedDict()  # (port, number) -> Lease, oldest first
        self._private = set()
        self._unused = []  # leases without pictures that wait for their port's get() to end

    def add_ring(self, header, fd):
        """A ring event."""
        ring = Ring(fd, header)
        with self._lock:
            self._rings[header["ring"]] = ring

    def end_ring(self, header):
        """A ring_end event. The memory goes with the last frame of it."""
        with self._lock:
            self._rings.pop(header.get("ring"), None)

    def picture(self, port, frame):
        """The picture of a frame that the agent has granted."""
        with self._lock:
            key = (port, frame["lease"])
            lease = self._leases.get(key)
            if lease is None:
                ring = self._rings.get(frame["ring"])
                slot = frame["slot"]
                if ring is None or not 0 <= slot < ring.slots:
                    raise ConnectionLost("a frame is in no ring")
                lease = Lease(frame["lease"], port, frame["stream"], ring, slot)
                self._leases[key] = lease
            picture = lease.picture() if lease.picture is not None else None
            return picture if picture is not None else Picture(self, lease)

    def mapped(self, lease):
        """The mapping of a lease, made when first asked for."""
        with self._lock:
            return self._mapped(lease)

    def released(self, port_is_busy):
        """Numbers of leases to give back, of ports whose ``get()`` is not under way.

        An answer on its way may grant a lease again that the SDK still held when it was sent, so
        none of that port's may be given back before it is here.
        """
        with self._lock:
            return self._released(port_is_busy)

    def fits(self, port_is_busy):
        """Whether :meth:`make_room` would stay within the memory allowed."""
        with self._lock:
            return self._bytes_after(self._surplus(port_is_busy)) <= self._hold_bytes

    def make_room(self, port_is_busy):
        """Makes the oldest held frames private, so that one more of every camera fits.

        Returns the numbers of the leases that are not needed any more.
        """
        with self._lock:
            surplus = self._surplus(port_is_busy)
            total = self._bytes_after(surplus)
            if surplus and total > self._hold_bytes:
                raise MemoryError(
                    "the application holds {} older frames, {} MB in all, {} MB are allowed: let "
                    "go of media.image arrays, or copy what you need of them".format(
                        len(self._private) + len(surplus), total >> 20, self._hold_bytes >> 20
                    )
                )
            return [self._make_private(lease) for lease in surplus]

    def abandon(self):
        """The agent is gone and its leases with it: keeps what is held, as private copies."""
        with self._lock:
            for lease in list(self._leases.values()):
                if lease.picture() is not None:
                    try:
                        self._make_private(lease)
                    except OSError:
                        continue  # no memory for a copy: the picture stays as long as it may
            self._leases.clear()
            self._rings.clear()

    def after_fork(self):
        """In a child: its parent goes on to release the frames that both hold."""
        self._lock = threading.Lock()  # another thread of the parent may have held the old one
        self.abandon()

    def has_waiting(self):
        """Whether leases wait for their port's ``get()`` to end."""
        return bool(self._unused)

    def _surplus(self, port_is_busy):
        held = collections.OrderedDict()
        for lease in self._leases.values():
            held.setdefault(lease.stream, []).append(lease)
        surplus = []
        for leases in held.values():
            # Those of a port that is asked right now must stay (see released); when it was asked,
            # it made room as well.
            free = [lease for lease in leases if not port_is_busy(lease.port)]
            surplus.extend(free[: max(0, len(leases) - self._hold + 1)])
        return surplus

    def _bytes_after(self, surplus):
        leases = list(self._private) + surplus
        return sum(lease.ring.slot_bytes for lease in leases)

    def _mapped(self, lease):
        if lease.mapping is None:
            lease.mapping = lease.ring.take(lease.slot)
        return lease.mapping

    def _is_held(self, lease):
        return self._leases.get((lease.port, lease.number)) is lease

    def _make_private(self, lease):
        self._mapped(lease).make_private()
        lease.private = True
        self._private.add(lease)
        self._leases.pop((lease.port, lease.number), None)
        return lease.number

    def _released(self, port_is_busy):
        while self.dropped:
            lease = self.dropped.popleft()
            lease.pictures -= 1
            if lease.pictures == 0:
                self._unused.append(lease)
        numbers, waiting = [], []
        for lease in self._unused:
            if lease.pictures:
                continue  # granted again in the meantime
            if not lease.private and port_is_busy(lease.port):
                waiting.append(lease)
                continue
            if lease.private:
                self._private.discard(lease)
            elif self._is_held(lease):
                del self._leases[(lease.port, lease.number)]
                numbers.append(lease.number)
            if lease.mapping is not None:
                lease.ring.put_back(lease.slot, lease.mapping)
                lease.mapping = None
        self._unused = waiting
        return numbers
