"""The SDK against the real model worker, where both it and ONNX Runtime are built and installed."""

import glob
import os
import socket
import subprocess
import threading

import numpy
import pytest
from fake_agent import receive, send

import panoramasdk

MAIN = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR") or os.path.join(MAIN, "target")
WORKER = os.path.join(TARGET, "debug", "parapet-infer")
MODEL = os.path.join(MAIN, "crates", "parapet-infer", "tests", "data", "double.onnx")
LIBRARIES = "*/lib/python*/site-packages/onnxruntime/capi/libonnxruntime.so*"


class Worker(object):
    """Starts ``parapet-infer`` as the launcher does: its channel is descriptor 3."""

    def __init__(self, library):
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = dict(os.environ, ORT_DYLIB_PATH=library)
        command = 'exec "$0" 3<&0 </dev/null'
        self.process = subprocess.Popen(
            ["sh", "-c", command, WORKER], stdin=theirs.fileno(), env=environment
        )
        theirs.close()
        assert "version" in self.event()
        with open(MODEL, "rb") as model:
            shape = [{"name": "data", "dtype": "", "shape": [1, 1, 2, 3]}]
            load = {"op": "load", "inputs": shape, "threads": 1}
            send(self.channel, load, [model.fileno()])
        loaded = self.event()
        assert loaded["event"] == "loaded", loaded
        self.inputs, self.outputs = loaded["inputs"], loaded["outputs"]

    def event(self):
        self.channel.settimeout(60)
        header, _ = receive(self.channel)
        return header

    def serve(self, sock):
        """For the agent: hands the SDK's socket over."""
        send(self.channel, {"op": "attach"}, [sock.fileno()])
        sock.close()

    def end(self):
        self.channel.close()
        self.process.wait(30)


@pytest.fixture
def worker():
    libraries = sorted(glob.glob(os.path.join(TARGET, LIBRARIES)))
    for path in (WORKER, MODEL):
        if not os.path.exists(path):
            pytest.skip("SKIPPED: {} is not there".format(path))
    if not libraries:
        pytest.skip("SKIPPED: no libonnxruntime.so below {}".format(TARGET))
    worker = Worker(libraries[0])
    yield worker
    worker.end()


def test_the_real_worker_answers_what_the_sdk_asks(agents, worker):
    agent = agents(models=["m"])
    agent.add_model("m", worker)
    node = panoramasdk.node()
    data = numpy.arange(6, dtype=numpy.float64).reshape(1, 1, 2, 3)
    for offset in range(3):
        doubled, total = node.call({"data": data + offset}, "m", 60)
        assert doubled.dtype == numpy.float32
        assert (doubled == 2 * (data + offset)).all()
        assert total.tolist() == [[15 + 6 * offset]]
    with pytest.raises(ValueError, match="input 'data'"):
        node.call({"data": data[0]}, "m", 60)


def test_two_threads_share_the_real_worker(agents, worker):
    agent = agents(models=["m", "n"])
    agent.add_model("m", worker)
    agent.add_model("n", worker)
    node = panoramasdk.node()
    wrong = []

    def run(name, value):
        data = numpy.full((1, 1, 2, 3), value)
        for _ in range(30):
            if (node.call({"data": data}, name, 60)[0] != 2 * value).any():
                wrong.append(value)

    threads = [threading.Thread(target=run, args=pair) for pair in (("m", 1), ("n", 2), ("m", 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)
