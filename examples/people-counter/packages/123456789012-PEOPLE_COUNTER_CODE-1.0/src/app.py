"""Counts people, cars and parcels in front of any number of cameras.

Every picture goes through the model node; boxes are drawn for the display, and a line for each
picture goes to events.jsonl.
"""

import json
import logging
import sys
from logging.handlers import RotatingFileHandler

import numpy as np
import panoramasdk
from vision import detections, prepare

LOGS = "/opt/aws/panorama/logs"
MODEL_NODE = "model_node"
EVENTS_BYTES = 10 * 1024 * 1024


class Application(panoramasdk.node):
    """The application: one instance a process."""

    def __init__(self, events):
        super().__init__()
        self.events = events
        self.threshold = self.inputs.threshold.get()
        self.frames = 0
        self.last_found = {}
        log.info("threshold %.2f", self.threshold)

    def process_streams(self):
        """Processes one round: the newest picture of every camera."""
        streams = self.inputs.video_in.get()
        for stream in streams:
            if not stream.is_cached:
                self.process_media(stream)
            # A cached picture is shown again, and would be shown without its boxes.
            if stream.stream_id in self.last_found:
                draw(stream, self.last_found[stream.stream_id])
        self.outputs.video_out.put(streams)

    def process_media(self, stream):
        """Finds and reports what one new picture shows."""
        # Should the model fail, the boxes of an older picture are not this one's.
        self.last_found.pop(stream.stream_id, None)
        result = self.call({"data": prepare(stream.image)}, MODEL_NODE)
        found = [] if result is None else detections(result[0], result[1], self.threshold)
        self.last_found[stream.stream_id] = found
        self.report(stream, found)
        self.frames += 1
        if self.frames % 500 == 0:
            people = people_in(found)
            log.info("%d pictures, %d people on %s", self.frames, people, stream.stream_id)

    def report(self, stream, found):
        """Writes the line of a picture, also when it shows nothing."""
        names = ("label", "score", "left", "top", "right", "bottom")
        boxes = [
            dict(zip(names, (box[0],) + tuple(round(value, 5) for value in box[1:])))
            for box in found
        ]
        event = {
            "type": "detections",
            "stream_id": stream.stream_id,
            "time_stamp": [int(part) for part in stream.time_stamp],
            "boxes": boxes,
        }
        self.events.info(json.dumps(event, separators=(",", ":")))


def draw(stream, found):
    """Boxes and the number of people, over the picture."""
    for label, score, left, top, right, bottom in found:
        stream.add_rect(left, top, right, bottom)
        stream.add_label("{} {:.0f}%".format(label, 100 * score), left, max(top - 0.01, 0.02))
    stream.add_label("people: {}".format(people_in(found)), 0.02, 0.06)


def people_in(found):
    """How many of the boxes are people."""
    return sum(1 for box in found if box[0] == "person")


def get_logger(name, file, layout, level=logging.INFO):
    """A logger into a file below LOGS that rotates."""
    logger = logging.getLogger(name)
    handler = RotatingFileHandler("{}/{}".format(LOGS, file), maxBytes=EVENTS_BYTES, backupCount=2)
    handler.setFormatter(logging.Formatter(layout))
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    return logger


def main():
    """Runs until it is stopped; a broken picture costs that picture only."""
    log.info("python %s, numpy %s", sys.version.split()[0], np.__version__)
    app = Application(get_logger("events", "events.jsonl", "%(message)s"))
    while True:
        try:
            app.process_streams()
        except Exception:
            log.exception("a round failed")


log = get_logger("app", "app.log", "%(asctime)s %(levelname)s %(message)s")
main()
