"""A frame as the application sees it."""

MAX_OVERLAYS = 64
MAX_LABEL = 256


class media(object):  # noqa: N801 - the name is the original's
    """One frame of one camera, as ``port.get()`` returns it.

    Overlays belong to this object and are drawn at the display only; they do not change ``image``.
    """

    def __init__(self, picture, frame):
        self._picture = picture
        self._image = None
        self._given = False
        self._rects = []
        self._labels = []
        self._stream = str(frame["stream"])
        self._uri = str(frame["uri"])
        self._cached = bool(frame["cached"])
        seconds, microseconds = frame["time"]
        self._time = (int(seconds), int(microseconds))

    @property
    def image(self):
        """Pixels as ``uint8`` of shape (height, width, 3), blue first, writable.

        What is drawn into it is seen by nobody else until ``put``. It stays as it is for as long
        as anything refers to it.
        """
        if self._image is None:
            self._image = self._picture.array()
        return self._image

    @image.setter
    def image(self, pixels):
        self._image = pixels
        self._given = True

    @property
    def is_cached(self):
        """Whether an earlier ``get()`` has returned this frame already."""
        return self._cached

    @property
    def stream_id(self):
        """Name of the camera."""
        return self._stream

    @property
    def stream_uri(self):
        """URL of the camera, without credentials."""
        return self._uri

    @property
    def time_stamp(self):
        """When the picture was taken: seconds and microseconds since the epoch."""
        return self._time

    def add_label(self, text, x, y):
        """Writes ``text`` over the display at (x, y), relative to width and height."""
        place = _inside((x, y))
        if place is not None and len(self._labels) < MAX_OVERLAYS:
            self._labels.append([str(text)[:MAX_LABEL]] + place)

    def add_rect(self, left, top, right, bottom):
        """Draws a box over the display; coordinates relative to width and height, clipped."""
        box = _inside((left, top, right, bottom))
        if box is not None and len(self._rects) < MAX_OVERLAYS:
            self._rects.append(box)

    def __repr__(self):
        return "<panoramasdk.media {} {}.{:06d}{}>".format(
            self._stream, self._time[0], self._time[1], " cached" if self._cached else ""
        )


def _inside(coordinates):
    """Coordinates clipped to the picture; ``None`` for what is no number.

    Applications pass values beyond the border and NumPy scalars; a mistake in an overlay must not
    end a program that watches a camera.
    """
    clipped = []
    for value in coordinates:
        try:
            value = float(value)
        except (TypeError, ValueError):
            return None
        if value != value:
            return None
        clipped.append(round(min(1.0, max(0.0, value)), 5))
    return clipped
