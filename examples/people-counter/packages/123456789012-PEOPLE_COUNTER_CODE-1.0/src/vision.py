"""Between pictures and the detector's tensors: NumPy only, no SDK, so that training uses it too."""

import numpy as np

# The detector's classes, in the order of its output channels.
LABELS = ("person", "car", "parcel")
# Rows and columns of the detector's input.
INPUT_SIZE = (192, 320)
# Of two boxes of one class that overlap more than this, the surer one stays.
SAME_OBJECT = 0.5
# More objects than a picture holds: bounds the time that a bad model can cost.
MOST_BOXES = 100


def prepare(image):
    """Turns a BGR picture (height, width, 3) of any size into the tensor (1, 3, 192, 320)."""
    height, width = image.shape[:2]
    rows = (np.arange(INPUT_SIZE[0]) * 2 + 1) * height // (2 * INPUT_SIZE[0])
    columns = (np.arange(INPUT_SIZE[1]) * 2 + 1) * width // (2 * INPUT_SIZE[1])
    small = image[rows[:, None], columns]
    return np.ascontiguousarray(small.transpose(2, 0, 1)[None], dtype=np.float32) / 255.0


def detections(heat, edges, threshold):
    """Boxes in the detector's outputs: a list of (label, score, left, top, right, bottom), 0..1.

    `heat` (1, classes, rows, columns) is above zero only where an object's middle is, `edges`
    (1, 4, rows, columns) holds the box around each place.
    """
    heat, edges = heat[0], edges[0]
    kinds, rows, columns = np.nonzero(heat >= threshold)
    scores = heat[kinds, rows, columns]
    order = np.argsort(-scores)[:MOST_BOXES]
    kinds, scores = kinds[order], scores[order]
    boxes = np.clip(edges[:, rows[order], columns[order]].T, 0.0, 1.0)
    kept = []
    for at in range(len(order)):
        if any(kinds[at] == kinds[k] and overlap(boxes[at], boxes[k]) > SAME_OBJECT for k in kept):
            continue
        kept.append(at)
    return [(LABELS[kinds[k]], float(scores[k])) + tuple(float(v) for v in boxes[k]) for k in kept]


def overlap(a, b):
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
