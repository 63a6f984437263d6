"""Reports visits to a zone in front of fixed cameras, without a model.

One line in events.jsonl a visit, when it is over. The algorithm is in ``background`` and
``visits``; this file is what the SDK, the log and the display need.
"""

import json
import logging
import logging.handlers
import os
import time

import panoramasdk
from visits import Watch

LOGS = os.environ.get("TABLE_VISITS_LOGS", "/opt/aws/panorama/logs")
IDLE_S = 3.0  # without a picture for so long, a visit is over

log = logging.getLogger("table-visits")


class Application(panoramasdk.node):
    """The code node."""

    def __init__(self):
        self.zone = (
            self.inputs.left.get(),
            self.inputs.top.get(),
            self.inputs.right.get(),
            self.inputs.bottom.get(),
        )
        left, top, right, bottom = self.zone
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(
                "zone {}: left < right and top < bottom are needed, between 0 and 1".format(
                    [round(value, 3) for value in self.zone]
                )
            )
        self.watches = {}  # stream -> Watch
        self.seen = {}  # stream -> when its last picture came
        self.report({"type": "ready"})
        log.info("watching the zone %s", [round(value, 3) for value in self.zone])

    def run(self):
        """For ever."""
        while True:
            self.step()

    def step(self):
        """One round: the next pictures, or the end of those that have stopped."""
        try:
            streams = self.inputs.video_in.get(timeout=1)
        except TimeoutError:
            streams = []
        now = time.monotonic()
        for stream in streams:
            if not stream.is_cached:
                self.seen[stream.stream_id] = now
                self.look(stream)
            self.annotate(stream)
        if streams:
            self.outputs.video_out.put(streams)
        for name, last in list(self.seen.items()):
            if now - last > IDLE_S:
                del self.seen[name]
                self.over(name, self.watches[name].finish())

    def look(self, stream):
        """Takes a new picture."""
        seconds, microseconds = stream.time_stamp
        watch = self.watches.setdefault(stream.stream_id, Watch(self.zone))
        visits = watch.look(stream.image, seconds + microseconds / 1e6)
        self.over(stream.stream_id, visits)

    def annotate(self, stream):
        """Zone, what is in it, and for how long."""
        watch = self.watches.get(stream.stream_id)
        if watch is None:
            return
        left, top, right, bottom = self.zone
        stream.add_rect(left, top, right, bottom)
        if watch.occupied:
            stream.add_label("visit, {:.0f} s".format(watch.dwell), left, top)
            if watch.box is not None:
                stream.add_rect(*watch.box)
        else:
            stream.add_label("free", left, top)

    def over(self, name, visits):
        """Reports visits that have ended."""
        for visit in visits:
            self.report(
                {
                    "type": "visit",
                    "stream_id": name,
                    "begin": time_stamp(visit.begin),
                    "end": time_stamp(visit.end),
                }
            )
            log.info("%s: a visit of %.1f s", name, visit.end - visit.begin)

    def report(self, event):
        """One line for whoever reads events."""
        with open(os.path.join(LOGS, "events.jsonl"), "a") as events:
            events.write(json.dumps(event) + "\n")


def time_stamp(seconds):
    """Seconds since the epoch as [seconds, microseconds]."""
    return list(divmod(int(round(seconds * 1e6)), 1000000))


def main():
    """Writes the log and runs the node."""
    handler = logging.handlers.RotatingFileHandler(
        os.path.join(LOGS, "app.log"), maxBytes=10000000, backupCount=2
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        Application().run()
    except Exception:
        log.exception("the application ends")
        raise


if __name__ == "__main__":
    main()
