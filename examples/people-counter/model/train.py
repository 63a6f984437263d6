#!/usr/bin/env python3
"""Trains the detector on pictures of virtual cameras and writes detector.onnx.

    train.py --camera target/debug/parapet-virtual-camera [--work DIR] [--minutes 15]

Scenes of the seeds 1000 and up are drawn, encoded and decoded; the demo's cameras (7 and 11) and
the held-out scenes of evaluate.py have other seeds. Needs requirements.txt and ffmpeg.
"""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import network
import numpy as np
from frames import as_array, decode, render, small

HERE = Path(__file__).resolve().parent
# Seeds, size, pictures a second: few pictures of many scenes, as scenes differ in looks.
LESSONS = (
    (range(1000, 1050), (1280, 720), 5),
    (range(2000, 2050, 2), (1920, 1080), 4),
)
BATCH = 8
LEARNING_RATE = 2e-3
# Objects of fewer pixels on either side are neither asked for nor held against the detector.
SMALLEST_SIDE = 16
SEED = 1


def load(camera, work):
    """Decodes all lessons once: pictures (n, 3, 192, 320) as bytes, and boxes."""
    kept = work / "lessons.npz"
    if kept.is_file():
        data = np.load(kept, allow_pickle=False)
        boxes = np.split(data["boxes"], np.cumsum(data["counts"])[:-1])
        return data["images"], boxes
    images, boxes = [], []
    for seeds, size, fps in LESSONS:
        for seed in seeds:
            clip, truth = render(camera, work / "train", seed, size, fps)
            for image, objects in decode(clip, truth):
                rows = as_array(objects)
                sides = (rows[:, 3:5] - rows[:, 1:3]) * (size[0], size[1])
                # A class below zero marks what is to be ignored.
                rows[(sides < SMALLEST_SIDE).any(axis=1), 0] -= 10
                images.append(small(image))
                boxes.append(rows)
    images = np.stack(images)
    np.savez(kept, images=images, boxes=np.concatenate(boxes), counts=[len(b) for b in boxes])
    return images, boxes


def targets(boxes):
    """Heat (24, 40, 3), box (24, 40, 4) and weights of the places, for one picture."""
    rows, columns = network.GRID
    heat = np.zeros((rows, columns, network.CLASSES), np.float32)
    judged = np.ones((rows, columns, network.CLASSES), np.float32)
    edges = np.zeros((rows, columns, 4), np.float32)
    weight = np.zeros((rows, columns), np.float32)
    x = ((np.arange(columns) + 0.5) / columns)[None, :]
    y = ((np.arange(rows) + 0.5) / rows)[:, None]
    for kind, left, top, right, bottom in boxes:
        if kind < 0:
            inside = (
                (x >= left - 0.02) & (x <= right + 0.02) & (y >= top - 0.02) & (y <= bottom + 0.02)
            )
            judged[inside, int(kind) + 10] = 0.0
            continue
        # The middle of a cell, so that each object has exactly one place of heat 1.
        middle_x = (min(int((left + right) / 2 * columns), columns - 1) + 0.5) / columns
        middle_y = (min(int((top + bottom) / 2 * rows), rows - 1) + 0.5) / rows
        spread_x = max((right - left) / 7, 0.4 / columns)
        spread_y = max((bottom - top) / 7, 0.4 / rows)
        near = np.exp(-(((x - middle_x) / spread_x) ** 2 + ((y - middle_y) / spread_y) ** 2) / 2)
        heat[..., int(kind)] = np.maximum(heat[..., int(kind)], near)
        mine = (near > weight) & (near > 0.3)
        edges[mine] = (left, top, right, bottom)
        weight[mine] = near[mine]
    return heat, judged, edges, weight


def vary(image, boxes, random):
    """The picture as another camera might see it: mirrored, lighter, tinted, noisier."""
    image = image.astype(np.float32) / 255
    boxes = boxes.copy()
    if random.random() < 0.5:
        image = image[:, :, ::-1]
        boxes[:, [1, 3]] = 1 - boxes[:, [3, 1]]
    gain = random.uniform(0.8, 1.2) * random.uniform(0.92, 1.08, (3, 1, 1))
    image = image * gain + random.uniform(-0.06, 0.06)
    image = image + random.standard_normal(image.shape, np.float32) * random.uniform(0, 0.02)
    return np.clip(image, 0, 1).transpose(1, 2, 0).astype(np.float32), boxes


def batch(images, boxes, random):
    """A batch of lessons with its targets."""
    chosen = random.integers(0, len(images), BATCH)
    varied = [vary(images[at], boxes[at], random) for at in chosen]
    aims = [targets(rows) for _, rows in varied]
    return (np.stack([image for image, _ in varied]), *[np.stack(part) for part in zip(*aims)])


def loss(weights, images, heat, judged, edges, weight):
    """Focal loss of the heat (Zhou et al.), and minus the logarithm of the boxes' overlap."""
    logits, distances = network.run(weights, images)
    sure = jnp.clip(jax.nn.sigmoid(logits), 1e-4, 1 - 1e-4)
    hit = heat > 0.999
    pull = jnp.where(hit, -jnp.log(sure) * (1 - sure) ** 2, 0.0)
    push = jnp.where(hit, 0.0, -jnp.log(1 - sure) * sure**2 * (1 - heat) ** 4)
    objects = jnp.maximum(hit.sum(), 1)
    rows, columns = network.GRID
    x = ((jnp.arange(columns) + 0.5) / columns)[None, None, :]
    y = ((jnp.arange(rows) + 0.5) / rows)[None, :, None]
    real = jnp.stack(
        [x - edges[..., 0], y - edges[..., 1], edges[..., 2] - x, edges[..., 3] - y], -1
    )
    real = jnp.maximum(real, 1e-4)
    width = jnp.minimum(real[..., 0], distances[..., 0]) + jnp.minimum(
        real[..., 2], distances[..., 2]
    )
    height = jnp.minimum(real[..., 1], distances[..., 1]) + jnp.minimum(
        real[..., 3], distances[..., 3]
    )
    shared = width * height

    def area(d):
        return (d[..., 0] + d[..., 2]) * (d[..., 1] + d[..., 3])

    overlap = shared / (area(real) + area(distances) - shared)
    boxes = (-jnp.log(jnp.maximum(overlap, 1e-4)) * weight).sum() / jnp.maximum(weight.sum(), 1)
    return ((pull + push) * judged).sum() / objects + boxes


@jax.jit
def step(weights, moments, count, rate, *lesson):
    """One step of Adam."""
    value, gradient = jax.value_and_grad(loss)(weights, *lesson)
    size = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradient)))
    gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, 5.0 / (size + 1e-6)), gradient)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
    second = jax.tree.map(lambda m, g: 0.99 * m + 0.01 * g**2, moments[1], gradient)
    fix = (1 - 0.9**count, 1 - 0.99**count)
    weights = jax.tree.map(
        lambda w, m, v: w - rate * (m / fix[0]) / (jnp.sqrt(v / fix[1]) + 1e-7),
        weights,
        first,
        second,
    )
    return weights, (first, second), value


def train(images, boxes, minutes, out):
    """Trains for so many minutes; the rate rises at first and falls to nothing at the end."""
    random = np.random.default_rng(SEED)
    weights = network.initial(SEED)
    moments = (jax.tree.map(np.zeros_like, weights), jax.tree.map(np.zeros_like, weights))
    begin, smooth, count, told = time.monotonic(), None, 0, 0.0
    ahead = ThreadPoolExecutor(1)
    following = ahead.submit(batch, images, boxes, random)
    while True:
        spent = (time.monotonic() - begin) / 60 / minutes
        if spent >= 1:
            break
        count += 1
        rate = LEARNING_RATE * min(1.0, count / 50) * 0.5 * (1 + np.cos(np.pi * spent))
        lesson, following = following.result(), ahead.submit(batch, images, boxes, random)
        weights, moments, value = step(weights, moments, float(count), rate, *lesson)
        smooth = float(value) if smooth is None else 0.98 * smooth + 0.02 * float(value)
        if time.monotonic() - told > 15:
            told = time.monotonic()
            print("{:5.1f} % step {:5d} loss {:.3f}".format(100 * spent, count, smooth), flush=True)
            network.to_onnx(jax.tree.map(np.asarray, weights), out)
    network.to_onnx(jax.tree.map(np.asarray, weights), out)


def main():
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--camera", required=True, help="the program parapet-virtual-camera")
    parser.add_argument(
        "--work", type=Path, default=Path("target/model"), help="where pictures are kept"
    )
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--out", type=Path, default=HERE / "detector.onnx")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    images, boxes = load(arguments.camera, arguments.work)
    print("{} pictures, {} objects".format(len(images), sum(map(len, boxes))), flush=True)
    train(images, boxes, arguments.minutes, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
