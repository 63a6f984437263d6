"""Makes double.onnx: `doubled` is twice `data`, `sum` its sum over rows and columns.

Run with the interpreter of the build's virtual environment; the result is committed.
"""

import pathlib

import onnx
from onnx import TensorProto, helper, numpy_helper
import numpy

two = numpy_helper.from_array(numpy.array(2.0, dtype=numpy.float32), "two")
axes = numpy_helper.from_array(numpy.array([2, 3], dtype=numpy.int64), "axes")
graph = helper.make_graph(
    [
        helper.make_node("Mul", ["data", "two"], ["doubled"]),
        helper.make_node("ReduceSum", ["data", "axes"], ["sum"], keepdims=0),
    ],
    "double",
    [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["batch", 1, 2, 3])],
    [
        helper.make_tensor_value_info("doubled", TensorProto.FLOAT, ["batch", 1, 2, 3]),
        helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 1]),
    ],
    [two, axes],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
model.ir_version = 8
onnx.checker.check_model(model)
pathlib.Path(__file__).with_name("double.onnx").write_bytes(model.SerializeToString())
