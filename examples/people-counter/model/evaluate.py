#!/usr/bin/env python3
"""Judges detector.onnx on scenes it was not trained on.

    evaluate.py --camera target/debug/parapet-virtual-camera [--work DIR]

Prints precision and recall at an overlap of one half and equal class, for each held-out scene and
in all, as the demo counts them. Needs onnxruntime, numpy and ffmpeg.
"""

import argparse
import sys
import time
from pathlib import Path

import onnxruntime
from frames import as_array, decode, prepare, render
from vision import LABELS, detections, overlap

HERE = Path(__file__).resolve().parent
# The demo's two cameras, then scenes of other looks; training has none of these seeds.
HELD_OUT = (
    (7, (1280, 720), 25),
    (11, (1920, 1080), 15),
    (5001, (1280, 720), 25),
    (5002, (1280, 720), 25),
    (5003, (1920, 1080), 15),
)
THRESHOLD = 0.4
SAME_OBJECT = 0.5
SMALLEST_SIDE = 16


def count(truth, found, size):
    """Matched, missed and false, of one picture: the surest report first, each object once."""
    asked = [
        (row[3] - row[1]) * size[0] >= SMALLEST_SIDE
        and (row[4] - row[2]) * size[1] >= SMALLEST_SIDE
        for row in truth
    ]
    free, matched, false = set(range(len(truth))), 0, 0
    for label, _, *box in sorted(found, key=lambda seen: -seen[1]):
        rivals = [
            (overlap(truth[k][1:], box), k) for k in free if LABELS[int(truth[k][0])] == label
        ]
        best = max(rivals, default=(0.0, None))
        if best[0] >= SAME_OBJECT:
            free.discard(best[1])
            matched += asked[best[1]]
        else:
            false += 1
    return matched, sum(asked[k] for k in free), false


def session(model=HERE / "detector.onnx"):
    """The model on one processor core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def judge(detector, camera, work, scene, step):
    """Counts of one scene, and seconds of the model's work a picture."""
    seed, size, fps = scene
    clip, truth = render(camera, work, seed, size, fps)
    totals, pictures, spent = [0, 0, 0], 0, 0.0
    for image, boxes in decode(clip, truth, step):
        tensor = prepare(image)
        begin = time.process_time()
        heat, edges = detector.run(None, {"data": tensor})
        spent += time.process_time() - begin
        found = detections(heat, edges, THRESHOLD)
        totals = [a + b for a, b in zip(totals, count(as_array(boxes), found, size))]
        pictures += 1
    return totals, spent / pictures


def ratios(totals):
    """Precision and recall of matched, missed, false."""
    matched, missed, false = totals
    return matched / max(matched + false, 1), matched / max(matched + missed, 1)


def main():
    """Reads the arguments and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--camera", required=True, help="the program parapet-virtual-camera")
    parser.add_argument("--work", type=Path, default=Path("target/model/held-out"))
    parser.add_argument("--step", type=int, default=3, help="judge every so many pictures")
    parser.add_argument("--model", type=Path, default=HERE / "detector.onnx")
    arguments = parser.parse_args()
    detector, everything = session(arguments.model), [0, 0, 0]
    for scene in HELD_OUT:
        totals, seconds = judge(detector, arguments.camera, arguments.work, scene, arguments.step)
        everything = [a + b for a, b in zip(everything, totals)]
        line = "seed {:5d} {}x{}: precision {:.3f} recall {:.3f} ({} objects), {:.1f} ms"
        objects = totals[0] + totals[1]
        print(
            line.format(scene[0], *scene[1], *ratios(totals), objects, 1000 * seconds), flush=True
        )
    print("all: precision {:.3f} recall {:.3f}".format(*ratios(everything)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
