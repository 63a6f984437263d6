"""The detector: a small CenterNet (objects as points, Zhou et al. 2019) in JAX, and as ONNX.

Input (n, 3, 192, 320): BGR, 0..1. Outputs on a grid of 24 x 40: how sure an object's middle is in a
place, by class, and the box around each place in shares of the picture. In the ONNX model places
that are not the surest of their neighbourhood are zero, so that the caller only compares.
"""

import jax
import jax.numpy as jnp
import numpy as np

GRID = (24, 40)
CLASSES = 3
# Half the side of a middling object, which distances start from.
MIDDLING = 0.05
# Name, inputs, outputs, kernel, stride.
LAYERS = (
    ("stem", 3, 16, 3, 2),
    ("down2", 16, 24, 3, 2),
    ("down3", 24, 64, 3, 2),
    ("mid1", 64, 64, 3, 1),
    ("mid2", 64, 64, 3, 1),
    ("down4", 64, 96, 3, 2),
    ("far1", 96, 96, 3, 1),
    ("far2", 96, 96, 3, 1),
    ("up3", 96, 64, 1, 1),
    ("join3", 64, 64, 3, 1),
    ("heat", 64, CLASSES, 1, 1),
    ("edges", 64, 4, 1, 1),
)


def initial(seed):
    """Weights to start from: {layer: (kernel HWIO, bias)}."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, inputs, outputs, kernel, _ in LAYERS:
        scale = np.sqrt(2.0 / (inputs * kernel * kernel))
        # Second layers of residual blocks start small: the block starts as the identity.
        scale *= 0.2 if name in ("mid2", "far2") else 1.0
        scale *= 0.1 if name in ("heat", "edges") else 1.0
        shape = (kernel, kernel, inputs, outputs)
        bias = np.full(outputs, -4.0 if name == "heat" else 0.0, np.float32)
        weights[name] = (random.normal(0, scale, shape).astype(np.float32), bias)
    return weights


def run(weights, images):
    """Logits of the heat (n, 24, 40, 3) and distances (n, 24, 40, 4) of images (n, 192, 320, 3)."""

    def conv(x, name):
        stride = next(layer[4] for layer in LAYERS if layer[0] == name)
        kernel, bias = weights[name]
        size, _, inputs, outputs = kernel.shape
        # As one product of matrices: on processors a convolution's gradients take far longer.
        pad = size // 2
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        rows, columns = x.shape[1] - 2 * pad, x.shape[2] - 2 * pad
        shifted = [
            x[:, down : down + rows : stride, along : along + columns : stride]
            for down in range(size)
            for along in range(size)
        ]
        x = jnp.concatenate(shifted, axis=-1)
        y = x.reshape(-1, size * size * inputs) @ kernel.reshape(-1, outputs)
        y = y.reshape(*x.shape[:3], outputs)
        return y + bias

    def act(x, name):
        return jax.nn.relu(conv(x, name))

    def block(x, first, second):
        return jax.nn.relu(x + conv(act(x, first), second))

    def twice(x):
        return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)

    near = act(act(images, "stem"), "down2")
    mid = block(act(near, "down3"), "mid1", "mid2")
    far = block(act(mid, "down4"), "far1", "far2")
    all_seen = act(mid + twice(conv(far, "up3")), "join3")
    distances = MIDDLING * jnp.exp(jnp.clip(conv(all_seen, "edges"), -6.0, 4.0))
    return conv(all_seen, "heat"), distances


def to_onnx(weights, path):
    """Writes the ONNX model."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(x, name):
        stride, size = next((layer[4], layer[3]) for layer in LAYERS if layer[0] == name)
        kernel, bias = weights[name]
        kernel = constant(name + "_kernel", np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        bias = constant(name + "_bias", bias)
        return node("Conv", [x, kernel, bias], name, strides=[stride] * 2, pads=[size // 2] * 4)

    def relu(x):
        return node("Relu", [x], x + "_relu")

    def act(x, name):
        return relu(conv(x, name))

    def block(x, first, second):
        return relu(node("Add", [x, conv(act(x, first), second)], second + "_sum"))

    def twice(x):
        # Nearest neighbours, which needs no region of interest.
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        return node("Resize", [x, "", "doubled"], x + "_up", nearest_mode="floor", **attributes)

    constant("doubled", np.array([1, 1, 2, 2], np.float32))
    near = act(act("data", "stem"), "down2")
    mid = block(act(near, "down3"), "mid1", "mid2")
    far = block(act(mid, "down4"), "far1", "far2")
    all_seen = act(node("Add", [mid, twice(conv(far, "up3"))], "all_seen"), "join3")
    sure = node("Sigmoid", [conv(all_seen, "heat")], "sure")
    surest = node("MaxPool", [sure], "surest", kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
    peak = node("Cast", [node("Equal", [sure, surest], "same")], "peak", to=TensorProto.FLOAT)
    node("Mul", [sure, peak], "heat_map")
    low, high = constant("low", np.float32(-6.0)), constant("high", np.float32(4.0))
    raw = node("Clip", [conv(all_seen, "edges"), low, high], "raw")
    distances = node(
        "Mul",
        [node("Exp", [raw], "grown"), constant("middling", np.float32(MIDDLING))],
        "distances",
    )
    rows, columns = GRID
    x = np.broadcast_to(((np.arange(columns) + 0.5) / columns)[None, :], GRID)
    y = np.broadcast_to(((np.arange(rows) + 0.5) / rows)[:, None], GRID)
    constant("places", np.stack([x, y, x, y])[None].astype(np.float32))
    constant("signs", np.array([-1, -1, 1, 1], np.float32).reshape(1, 4, 1, 1))
    node("Add", ["places", node("Mul", [distances, "signs"], "offsets")], "boxes")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "scene_detector",
        [info("data", TensorProto.FLOAT, [1, 3, 192, 320])],
        [
            info("heat_map", TensorProto.FLOAT, [1, CLASSES, *GRID]),
            info("boxes", TensorProto.FLOAT, [1, 4, *GRID]),
        ],
        constants,
    )
    # Version 8 of the file format and set 17 of the operators: ONNX Runtime 1.13 and later.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
