"""Calls of model nodes: tensors in and out of shared memory.

Owns one socket and one input memfd per model and process. One call at a time per model; calls of
other models and ``get()`` go on meanwhile. A worker that died is asked for again and the call
repeated.
"""

import os
import socket
import threading

from . import _memory, _packet, _process
from ._errors import ConnectionLost, TimeoutException
from ._media import media

# A call that kills its worker again and again is the call's fault.
_TRIES = 3
_ALIGN = 64
_MAX_OUTPUT = 1 << 31

_models = {}


def arguments(*args, **kwargs):
    """Name, input and time-out from both orders in circulation, positions and keywords."""
    given = dict(kwargs)
    unknown = sorted(set(given) - {"name", "input", "time_out"})
    if unknown:
        raise TypeError("call() takes name, input and time_out, not '{}'".format(unknown[0]))
    if len(args) > 3:
        raise TypeError("call() takes name, input and time_out: {} are given".format(len(args)))
    values = list(args)
    if len(values) == 3 or (len(values) == 2 and len({"name", "input"} & set(given)) == 1):
        if "time_out" in given:
            raise TypeError("call() got time_out twice")
        given["time_out"] = values.pop()
    for value in values:
        key = "name" if isinstance(value, str) else "input"
        if key in given:
            raise TypeError("call() got {} twice: one name and one input are needed".format(key))
        given[key] = value
    for key in ("name", "input"):
        if key not in given:
            raise TypeError("call() needs {}".format(key))
    if not isinstance(given["name"], str):
        raise TypeError("call() needs the name of a model node, not {!r}".format(given["name"]))
    return given["name"], given["input"], given.get("time_out")


def call(name, tensors, time_out):
    """Runs the model ``name``."""
    session = _process.current()
    if name not in session.models:
        raise KeyError(
            "no model node '{}' in the graph: it has {}".format(
                name, ", ".join(session.models) or "none"
            )
        )
    model = _models.setdefault((os.getpid(), name), Model(name))
    return model.call(tensors, time_out)


class Model(object):
    """One model node, seen from this process."""

    def __init__(self, name):
        self._name = name
        self._lock = threading.Lock()
        self._line = None

    def call(self, tensors, time_out):
        """Runs the model once."""
        deadline = _packet.until(time_out)
        rest = _packet.left(deadline)
        if not self._lock.acquire(True, -1 if rest is None else min(rest, threading.TIMEOUT_MAX)):
            raise self._late(time_out)
        try:
            return self._call(tensors, time_out, deadline)
        finally:
            self._lock.release()

    def _call(self, tensors, time_out, deadline):
        deaths, back_off = 0, _process.BackOff()
        while True:
            if self._line is None:
                self._line = self._connect(deadline, back_off)
                if self._line is None:
                    raise self._late(time_out)
            try:
                outputs = self._line.run(tensors, deadline)
            except ConnectionLost:
                self._line = None
                deaths += 1
                if deaths == _TRIES:
                    raise RuntimeError(
                        "model '{}' ended {} times during this call: see its log".format(
                            self._name, deaths
                        )
                    )
                continue
            if outputs is None:
                raise self._late(time_out)
            return outputs

    def _connect(self, deadline, back_off):
        session = _process.current()
        while True:
            try:
                question = session.ask({"op": "model", "name": self._name})
                answered = False
                try:
                    answered = session.wait(question, deadline) or session.withdraw(question)
                finally:
                    if not answered:
                        session.discard(question)
                if not answered:
                    return None
                return Line(self._name, question.answer, question.result)
            except ConnectionLost as error:
                session.end(str(error))
            session = _process.after(session, deadline, back_off)
            if session is None:
                return None

    def _late(self, time_out):
        return TimeoutException(
            "model '{}' gave no result within {} s".format(self._name, time_out)
        )


class Line(object):
    """A socket to a model worker, and the memory that goes with it."""

    def __init__(self, model, header, fd):
        self._model = model
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd)
        self._inputs = header["inputs"]
        self._number = 0
        self._answered = 0
        self._memory = None  # (Descriptor, Mapping) of the inputs
        self._fresh = False
        self._output = None  # Mapping of the outputs

    def run(self, tensors, deadline):
        """The outputs, or ``None`` when ``deadline`` comes first."""
        pairs = self._named(tensors)
        # A call that ran out of time may still be reading the input memory.
        while self._answered < self._number:
            if self._answer(deadline) is None:
                return None
        described = self._store(pairs)
        number = self._number + 1
        header = {"op": "call", "seq": number, "buffer": self._fresh, "inputs": described}
        _packet.send(self._socket, header, [self._memory[0].fd] if self._fresh else [])
        self._number, self._fresh = number, False
        answer = self._answer(deadline)
        if answer is None:
            return None
        if answer.get("event") == "error":
            kind = ValueError if answer.get("code") == "input" else RuntimeError
            raise kind("model '{}': {}".format(self._model, answer.get("message")))
        return tuple(self._read(output) for output in answer["outputs"])

    def _named(self, tensors):
        """Pairs of declared tensor and array, in the model's order."""
        names = [tensor["name"] for tensor in self._inputs]
        if not isinstance(tensors, dict):
            if len(names) != 1:
                raise ValueError(
                    "model '{}' has the inputs {}: give a dict of name and array".format(
                        self._model, ", ".join(names)
                    )
                )
            tensors = {names[0]: tensors}
        for name in tensors:
            if name not in names:
                raise ValueError(
                    "model '{}' has no input '{}': it has {}".format(
                        self._model, name, ", ".join(names)
                    )
                )
        pairs = []
        for tensor in self._inputs:
            if tensor["name"] not in tensors:
                raise ValueError(
                    "model '{}' needs the input '{}'".format(self._model, tensor["name"])
                )
            pairs.append((tensor, self._fitting(tensor, tensors[tensor["name"]])))
        return pairs

    def _fitting(self, tensor, value):
        import numpy

        expected = tensor["shape"]
        if isinstance(value, media):
            image = value.image
            shapes = [image, image[None], image.transpose(2, 0, 1)[None]]
            value = next((s for s in shapes if _fits(s.shape, expected)), image)
        try:
            value = numpy.asarray(value)
        except ValueError as error:
            raise ValueError("input '{}': {}".format(tensor["name"], error))
        if value.dtype.kind not in "biuf":
            raise ValueError(
                "input '{}' of model '{}' holds {}, numbers are needed".format(
                    tensor["name"], self._model, value.dtype
                )
            )
        if not _fits(value.shape, expected):
            raise ValueError(
                "input '{}' of model '{}' has shape {}, the model needs {}".format(
                    tensor["name"], self._model, list(value.shape), list(expected)
                )
            )
        return value

    def _store(self, pairs):
        """Writes the arrays, converted, into the input memory; returns their descriptions."""
        import numpy

        described, end = [], 0
        for tensor, value in pairs:
            dtype = numpy.dtype(tensor["dtype"])
            size = dtype.itemsize * value.size
            described.append(
                {
                    "name": tensor["name"],
                    "dtype": dtype.name,
                    "shape": list(value.shape),
                    "offset": end,
                    "bytes": size,
                }
            )
            end += (size + _ALIGN - 1) // _ALIGN * _ALIGN
        if self._memory is None or self._memory[1].length < end:
            self._memory = _new_memory(end)
            self._fresh = True
        memory = self._memory[1].bytes()
        for part, (_, value) in zip(described, pairs):
            place = memory[part["offset"] : part["offset"] + part["bytes"]]
            place = place.view(part["dtype"]).reshape(value.shape)
            numpy.copyto(place, value, casting="unsafe")
        return described

    def _answer(self, deadline):
        packet = _packet.receive(self._socket, deadline)
        if packet is None:
            return None
        header, fds = packet
        try:
            self._answered = int(header["seq"])
            if header.get("buffer"):
                self._output = None
                fd = fds[0]
                size = os.fstat(fd).st_size
                if not _memory.cannot_shrink(fd) or not 0 < size <= _MAX_OUTPUT:
                    raise ConnectionLost("the model's output memory is not sealed")
                self._output = _memory.Mapping(fd, 0, size, writable=False)
        except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
            raise ConnectionLost("the model's message is wrong: {!r}".format(error))
        finally:
            _packet.close(fds)
        return header

    def _read(self, output):
        import numpy

        try:
            dtype, shape = numpy.dtype(output["dtype"]), tuple(output["shape"])
            offset, size = output["offset"], output["bytes"]
            if size == 0:
                return numpy.zeros(shape, dtype)
            if offset < 0 or size < 0 or offset + size > self._output.length:
                raise ValueError("an output outside of its memory")
            view = self._output.bytes(writable=False)[offset : offset + size]
            return view.view(dtype).reshape(shape).copy()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConnectionLost("the model's message is wrong: {!r}".format(error))


def _fits(shape, expected):
    # 0 stands for an extent that the model leaves open.
    return len(shape) == len(expected) and all(e in (0, s) for s, e in zip(shape, expected))


def _new_memory(size):
    size = max(1, (size + _memory.PAGE - 1) // _memory.PAGE) * _memory.PAGE
    descriptor = _memory.Descriptor(_memory.memfd("panoramasdk-tensors"))
    os.ftruncate(descriptor.fd, size)
    _memory.seal(descriptor.fd, _memory.SEAL_SHRINK | _memory.SEAL_GROW)
    return descriptor, _memory.Mapping(descriptor.fd, 0, size)
