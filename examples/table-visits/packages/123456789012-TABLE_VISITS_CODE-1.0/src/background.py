"""What of a picture is not background, for a camera that does not move.

Works on small pictures (about 192 columns) and knows only their pixels and times. No picture is
assumed to be empty, not even the first: whatever stands in it is taken for background at first,
and told apart when it leaves. What is then uncovered is a *ghost*: still, and with the outline in
the remembered picture, not in the present one.
"""

import numpy

COLUMNS = 192
# Grey levels by which a pixel must differ; raised where the camera's noise is strong.
DIFFERENCE = 25.0
ADAPT_S = 8.0  # the background follows slow changes of light with this time constant
GHOST_S = 0.5  # how long a ghost must look like one
ABSORB_STILL_S = 75.0  # a thing with nothing moving around it becomes background after this
ABSORB_S = 240.0  # and in a busy place after this
SCENE = 0.75  # of the picture different: light switched, camera turned
SCENE_S = 2.0
CELL = 4


def shrink(image):
    """A picture of about 192 columns as float32, height x width x 3."""
    step = max(1, image.shape[1] // (2 * COLUMNS))
    small = image[::step, ::step].astype(numpy.float32)
    height, width = small.shape[0] // 2 * 2, small.shape[1] // 2 * 2
    small = small[:height, :width]
    return (small[::2, ::2] + small[1::2, ::2] + small[::2, 1::2] + small[1::2, 1::2]) / 4


class Background(object):
    """Remembers the place without what comes and goes."""

    def __init__(self):
        self.began = None  # time of the first picture
        self._time = None
        self._past = []  # (time, picture) of the last moments
        self.memory = None

    def update(self, picture, time):
        """Takes the next picture; returns the mask of what is in front of the background."""
        if self.memory is None or self.memory.shape != picture.shape:
            self._begin(picture, time)
        passed = min(max(time - self._time, 0.0), 1.0)
        self._time = time
        light = self._light(picture)
        difference = numpy.abs(picture - self.memory - light).max(axis=2)
        front = _without_specks(difference > numpy.maximum(DIFFERENCE, 4 * self._noise))
        moving = self._moving(picture, time)
        self._last_moved[_around(moving)] = time
        self._since = numpy.where(front, self._since, time)
        if self._scene_changed(front, time):
            self._begin(picture, time, again=True)
            return numpy.zeros_like(front)
        self._ghosts(picture, front, moving, passed, time)
        front &= ~self._absorb(picture, front, time)
        self._follow(picture, front, difference, light, passed)
        return front

    def _begin(self, picture, time, again=False):
        shape = picture.shape[:2]
        if not again:
            self.began = time
        self.memory = picture.copy()
        self._noise = numpy.full(shape, 3.0, numpy.float32)
        self._since = numpy.full(shape, time)  # in front since
        self._last_moved = numpy.full(shape, time)
        self.ghosts = numpy.zeros(shape, bool)  # found in this picture
        self._ghostly = numpy.zeros(shape, numpy.float32)  # seconds of looking like a ghost
        self._changed_since = None
        self._past = []
        # Never seen without what may have stood there from the beginning.
        self._unproven = numpy.full(shape, not again)
        # Where something stood from the beginning and has left, and when it last did.
        self.left = numpy.zeros(shape, bool)
        self.left_at = None
        self._light_before = numpy.zeros(3, numpy.float32)
        self._time = time

    def _light(self, picture):
        """By how much the whole picture is brighter than its memory, for each colour."""
        difference = (picture - self.memory)[::2, ::2].reshape(-1, 3)
        return numpy.median(difference, axis=0)

    def _moving(self, picture, time):
        """Where the picture differs from the one about 0.4 s ago."""
        self._past.append((time, picture))
        while len(self._past) > 2 and self._past[1][0] <= time - 0.4:
            self._past.pop(0)
        return _without_specks(numpy.abs(picture - self._past[0][1]).max(axis=2) > DIFFERENCE / 2)

    def _scene_changed(self, front, time):
        if front.mean() < SCENE:
            self._changed_since = None
            return False
        if self._changed_since is None:
            self._changed_since = time
        return time - self._changed_since > SCENE_S

    def _ghosts(self, picture, front, moving, passed, time):
        looks = numpy.zeros_like(front)
        if front.any():
            now, then = _edges(picture), _edges(self.memory)
            for part in _parts(front):
                still = (moving & part).sum() <= 0.03 * part.sum()
                if still and _along(part, then) > 1.2 * _along(part, now):
                    looks |= part
        self._ghostly = numpy.where(looks, self._ghostly + passed, 0.0).astype(numpy.float32)
        self.ghosts = ghosts = self._ghostly >= GHOST_S
        if not ghosts.any():
            return
        uncovered = ghosts & self._unproven
        if uncovered.any():
            self.left |= uncovered
            self.left_at = float(numpy.median(self._since[uncovered]))
        self.memory[ghosts] = picture[ghosts]
        self._unproven[ghosts] = False
        self._since[ghosts] = time
        self._ghostly[ghosts] = 0.0
        front &= ~ghosts

    def _absorb(self, picture, front, time):
        there, still = time - self._since, time - self._last_moved
        parked = front & (
            (there > ABSORB_S) | ((there > ABSORB_STILL_S) & (still > ABSORB_STILL_S))
        )
        if parked.any():
            self.memory[parked] = picture[parked]
            self._unproven[parked] = False
        return parked

    def _follow(self, picture, front, difference, light, passed):
        rate = 1 - numpy.exp(-passed / ADAPT_S)
        # Behind something, only the light of the whole picture is known.
        step = numpy.where(front[..., None], light, picture - self.memory)
        self.memory += (rate * step).astype(numpy.float32)
        calm = numpy.where(front, self._noise, difference)
        self._noise += (rate * (calm - self._noise)).astype(numpy.float32)


def _edges(picture):
    """Contrast between pixels three apart, across columns and across rows."""
    return (
        numpy.abs(picture[:, 3:] - picture[:, :-3]).max(axis=2),
        numpy.abs(picture[3:] - picture[:-3]).max(axis=2),
    )


def _along(part, edges):
    """The contrast across the outline of a part: texture inside of it does not count."""
    across, down = edges
    sides, ends = part[:, 3:] != part[:, :-3], part[3:] != part[:-3]
    return across[sides].sum() + down[ends].sum()


def _sum3(mask):
    padded = numpy.pad(mask.astype(numpy.uint8), 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]


def _without_specks(mask):
    return _sum3(mask) >= 5


def _cells(mask, least):
    """Cells of 4 x 4 pixels with at least so many of the mask."""
    height, width = mask.shape
    rows, columns = -(-height // CELL), -(-width // CELL)
    padded = numpy.zeros((rows * CELL, columns * CELL), numpy.uint8)
    padded[:height, :width] = mask
    return padded.reshape(rows, CELL, columns, CELL).sum(axis=(1, 3)) >= least


def _pixels(cells, shape):
    return cells.repeat(CELL, axis=0).repeat(CELL, axis=1)[: shape[0], : shape[1]]


def _around(mask):
    """The mask and what is within some eight pixels of it."""
    return _pixels(_sum3(_sum3(_cells(mask, 1)) > 0) > 0, mask.shape)


def _parts(mask):
    """The connected parts of a mask, joined over gaps of a few pixels."""
    cells = _cells(mask, 3)
    left = set(zip(*(axis.tolist() for axis in numpy.nonzero(cells))))
    while left:
        found = [left.pop()]
        for row, column in found:
            for near in (
                (row + 1, column),
                (row - 1, column),
                (row, column + 1),
                (row, column - 1),
            ):
                if near in left:
                    left.remove(near)
                    found.append(near)
        part = numpy.zeros_like(cells)
        part[tuple(zip(*found))] = True
        part = _pixels(part, mask.shape) & mask
        if part.sum() >= 8:
            yield part
