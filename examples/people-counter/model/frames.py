"""Pictures and truth of virtual cameras, decoded as an appliance would see them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "examples/people-counter/packages/123456789012-PEOPLE_COUNTER_CODE-1.0/src"
sys.path.insert(0, str(SOURCE))

from vision import LABELS, prepare  # noqa: E402  (the application's own code)


def render(camera, directory, seed, size, fps, seconds=12):
    """Draws and encodes a scene unless that was done before; gives the clip and its truth."""
    command = [camera, "render", "--seed", str(seed), "--size", "{}x{}".format(*size)]
    command += ["--fps", str(fps), "--seconds", str(seconds), "--out", str(directory)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    files = json.loads(output.stdout)
    return Path(files["clip"]), json.loads(Path(files["truth"]).read_text())


def decode(clip, truth, step=1):
    """Every step-th picture of a clip with its truth: (BGR array, boxes)."""
    shape = (truth["height"], truth["width"], 3)
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(clip)]
    command += ["-f", "rawvideo", "-pix_fmt", "bgr24", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for index, boxes in enumerate(truth["frames"]):
            raw = process.stdout.read(shape[0] * shape[1] * 3)
            if len(raw) != shape[0] * shape[1] * 3:
                raise RuntimeError("{} ends at picture {}".format(clip, index))
            if index % step == 0:
                yield np.frombuffer(raw, np.uint8).reshape(shape), boxes


def as_array(boxes):
    """Boxes as rows of class, left, top, right, bottom."""
    rows = [
        [LABELS.index(box["label"])] + [box[side] for side in ("left", "top", "right", "bottom")]
        for box in boxes
    ]
    return np.array(rows, np.float32).reshape(-1, 5)


def small(image):
    """What the detector is given, as bytes (3, 192, 320)."""
    return np.round(prepare(image)[0] * 255).astype(np.uint8)
