"""From pictures to visits: how much of a zone is taken, and from when to when."""

import collections

import numpy
from background import Background, shrink

ENTER = 0.08  # of the zone taken: somebody is there
LEAVE = 0.05  # of the zone taken: nobody is there any more
MIN_VISIT_S = 1.0
MAX_GAP_S = 1.5  # a shorter absence is none
REMEMBER_S = 15.0  # masks that a ghost, once known, is taken out of
EVERY_S = 0.09  # pictures that follow faster are passed over


class Visit(object):
    """Somebody was in the zone from ``begin`` to ``end``, in seconds."""

    def __init__(self, begin, end):
        self.begin, self.end = begin, end


class Watch(object):
    """Finds the visits to one zone (left, top, right, bottom in 0..1) of one camera."""

    def __init__(self, zone):
        self._zone = zone
        self._background = Background()
        self._time = None
        self._open = None  # the visit under way
        self._masks = collections.deque()  # (time, what was in front in the zone), oldest first
        self._closed = False  # whether a visit has ended before
        self.taken = 0.0
        self.box = None  # around what is in the zone, in 0..1 of the picture

    @property
    def occupied(self):
        """Whether a visit is under way."""
        return self._open is not None and self._open.end - self._open.begin >= MIN_VISIT_S

    @property
    def dwell(self):
        """Seconds that the visit under way has lasted."""
        return self._open.end - self._open.begin if self._open is not None else 0.0

    def look(self, image, time):
        """Takes the next picture; returns the visits that are over."""
        if self._time is not None and time < self._time + EVERY_S:
            return []
        self._time = time
        front = self._background.update(shrink(image), time)
        inside = self._inside(front.shape)
        zone = front[inside]
        self.taken = float(zone.mean()) if zone.size else 0.0
        self.box = _box(zone, inside, front.shape)
        self._without(self._background.ghosts[inside])
        self._masks.append((time, zone))
        while self._masks[0][0] < time - REMEMBER_S:
            self._masks.popleft()
        return self._from_the_beginning(inside) + self._step(time)

    def finish(self):
        """No more pictures come: the visit under way ends with the last one."""
        visit, self._open = self._open, None
        if visit is None or visit.end - visit.begin < MIN_VISIT_S:
            return []
        self._closed = True
        return [visit]

    def _inside(self, shape):
        height, width = shape
        left, top, right, bottom = self._zone
        return (
            slice(int(round(top * height)), max(int(round(bottom * height)), 1)),
            slice(int(round(left * width)), max(int(round(right * width)), 1)),
        )

    def _step(self, time):
        if self._open is None:
            if self.taken >= ENTER:
                self._open = Visit(time, time)
            return []
        if self.taken >= LEAVE:
            self._open.end = time
            return []
        if time - self._open.end < MAX_GAP_S:
            return []
        return self.finish()

    def _without(self, ghosts):
        """What turned out to be a ghost was nobody: the visit ended when the real one had left."""
        if self._open is None or not ghosts.any():
            return
        end = self._open.begin
        for number, (time, mask) in enumerate(self._masks):
            mask = mask & ~ghosts
            self._masks[number] = (time, mask)
            if mask.mean() >= LEAVE:
                end = time
        if self._masks and self._masks[0][0] <= self._open.end:
            self._open.end = max(end, min(self._masks[0][0], self._open.end))

    def _from_the_beginning(self, inside):
        """Who stood there in the first picture is known to have done so once they leave."""
        background = self._background
        if background.left_at is None or self._closed:
            return []
        if background.left[inside].mean() < ENTER:
            return []
        left_at, background.left_at = background.left_at, None
        if self._open is not None:
            self._open.begin = background.began
            return []
        self._closed = True
        if left_at - background.began < MIN_VISIT_S:
            return []
        return [Visit(background.began, left_at)]


def _box(zone, inside, shape):
    rows, columns = numpy.nonzero(zone)
    if rows.size < 4:
        return None
    top, left = inside[0].start, inside[1].start
    height, width = shape
    return (
        (left + int(columns.min())) / width,
        (top + int(rows.min())) / height,
        (left + int(columns.max()) + 1) / width,
        (top + int(rows.max()) + 1) / height,
    )
