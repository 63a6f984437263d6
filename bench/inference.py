"""A model call through the SDK and `parapet-infer` against ONNX Runtime in the same process.

The people counter's detector, one thread on each side, the same library file, the same input, in
turns. The outputs must be equal before anything is timed. The SDK is the real one and so is the
worker; only the agent that introduces them is the stand-in of the SDK's tests, and it has nothing
to do once they know each other. The worker runs without its sandbox.

Run by the Python of `bench/requirements.txt`.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy
import onnxruntime

import processes
import report

sys.path[:0] = [str(report.ROOT / "python"), str(report.ROOT / "python" / "tests")]

import fake_agent  # noqa: E402
import panoramasdk  # noqa: E402

MODEL = report.ROOT / "examples" / "people-counter" / "model" / "detector.onnx"
NODE = "detector"
INPUT = ("data", (1, 3, 192, 320))
WARM_CALLS = 20
# Long enough for caches to settle, short enough that both sides see the same machine.
CALLS_A_TURN = 25
SECONDS = 12.0
LOAD_LIMIT_S = 30.0
AIM = 1.03


class Side:
    """One way to run the model, with what it has cost so far."""

    def __init__(self, name, run):
        self.name, self.run = name, run
        self.latencies_ms = []
        self.cpu_s = 0.0

    def turn(self, tensor):
        """Some calls in a row."""
        cpu = time.process_time()
        for _ in range(CALLS_A_TURN):
            begun = time.perf_counter()
            self.run(tensor)
            self.latencies_ms.append(1000 * (time.perf_counter() - begun))
        self.cpu_s += time.process_time() - cpu

    @property
    def median_ms(self):
        """Median latency."""
        return statistics.median(self.latencies_ms)

    @property
    def p95_ms(self):
        """The latency that 95 of 100 calls keep."""
        return statistics.quantiles(self.latencies_ms, n=20)[-1]

    @property
    def cpu_ms(self):
        """CPU time a call."""
        return 1000 * self.cpu_s / len(self.latencies_ms)


def main():
    """Measures, prints, keeps."""
    print(
        f"inference: {MODEL.name}, ONNX Runtime {onnxruntime.__version__}, one thread;"
        f" {report.build()} build, {report.machine()['cpus']} CPUs"
    )
    tensor = numpy.random.default_rng(7).random(INPUT[1], dtype=numpy.float32)
    direct = onnxruntime_side()
    with worker() as (process, ours):
        check(ours.run(tensor), direct.run(tensor))
        for side in (ours, direct):
            for _ in range(WARM_CALLS):
                side.run(tensor)
        before = processes.tree(process.pid)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            ours.turn(tensor)
            direct.turn(tensor)
        # The worker sleeps while the other side has its turn: all it has spent is ours.
        in_worker_s = sum(processes.spent(before, processes.tree(process.pid)).values())
    show(ours, direct, in_worker_s)


def onnxruntime_side():
    """Side B: the library in this process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    return Side("ONNX Runtime", lambda tensor: session.run(None, {INPUT[0]: tensor}))


@contextmanager
def worker():
    """Side A: `parapet-infer` with the model loaded, and the SDK connected to it."""
    channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Its channel is descriptor 3, as the launcher gives it.
    command = ["sh", "-c", 'exec "$0" 3<&0 </dev/null', report.executable("parapet-infer")]
    environment = dict(os.environ, ORT_DYLIB_PATH=str(library()))
    process = subprocess.Popen(command, stdin=theirs.fileno(), env=environment)
    theirs.close()
    with process, channel, tempfile.TemporaryDirectory() as directory:
        channel.settimeout(LOAD_LIMIT_S)
        expect(channel, "version")
        with open(MODEL, "rb") as model:
            shape = [{"name": INPUT[0], "dtype": "", "shape": list(INPUT[1])}]
            load = {"op": "load", "inputs": shape, "threads": 1}
            fake_agent.send(channel, load, [model.fileno()])
        loaded = expect(channel, "outputs")
        path = os.path.join(directory, "sdk.sock")
        agent = fake_agent.FakeAgent(path, [], models=[NODE])
        agent.add_model(NODE, Introduction(channel, loaded))
        os.environ["PARAPET_SOCKET"] = path
        node = panoramasdk.node()
        yield process, Side("Parapet", lambda tensor: node.call({INPUT[0]: tensor}, NODE, 60))
        agent.close()


class Introduction:
    """Hands the SDK's socket to the worker: all that the agent does for a model."""

    def __init__(self, channel, loaded):
        self.channel = channel
        self.inputs, self.outputs = loaded["inputs"], loaded["outputs"]

    def serve(self, sock):
        """Called by the stand-in agent with its end of a new socket."""
        fake_agent.send(self.channel, {"op": "attach"}, [sock.fileno()])
        sock.close()


def library():
    """The library file of the very package that side B uses."""
    found = sorted(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    if not found:
        sys.exit(f"bench: no libonnxruntime.so below {Path(onnxruntime.__file__).parent}")
    return found[0]


def expect(channel, key):
    """The worker's next event, which must have `key`."""
    header, _ = fake_agent.receive(channel)
    if header is None or key not in header:
        sys.exit(f"bench: parapet-infer said {header}, not {key}")
    return header


def check(ours, theirs):
    """Two sides that compute different things cannot be compared."""
    same = len(ours) == len(theirs) and all(
        a.shape == b.shape and a.dtype == b.dtype and numpy.array_equal(a, b)
        for a, b in zip(ours, theirs, strict=True)
    )
    if not same:
        sys.exit("bench: parapet-infer and ONNX Runtime give different outputs")


def show(ours, direct, in_worker_s):
    """Prints and keeps."""
    calls = len(ours.latencies_ms)
    in_caller_ms = ours.cpu_ms
    ours.cpu_s += in_worker_s
    report.table(
        ["side", "calls", "median ms", "p95 ms", "CPU ms/call"],
        [
            [
                side.name,
                len(side.latencies_ms),
                f"{side.median_ms:.3f}",
                f"{side.p95_ms:.3f}",
                f"{side.cpu_ms:.3f}",
            ]
            for side in (ours, direct)
        ],
    )
    in_worker_ms = 1000 * in_worker_s / calls
    print(f"Parapet's CPU ms a call: caller {in_caller_ms:.3f}, worker {in_worker_ms:.3f}")
    ratio = ours.median_ms / direct.median_ms
    cpu_ratio = ours.cpu_ms / direct.cpu_ms
    print(f"ratio of medians {ratio:.3f} (aim at most {AIM:g}), of CPU {cpu_ratio:.3f}")
    report.keep(
        "inference",
        {
            "model": MODEL.name,
            "onnxruntime": onnxruntime.__version__,
            "threads": 1,
            "sides": {
                side.name: {
                    "calls": len(side.latencies_ms),
                    "median_ms": round(side.median_ms, 4),
                    "p95_ms": round(side.p95_ms, 4),
                    "cpu_ms": round(side.cpu_ms, 4),
                }
                for side in (ours, direct)
            },
            "parapet_cpu_ms": {"caller": round(in_caller_ms, 4), "worker": round(in_worker_ms, 4)},
            "ratio": round(ratio, 4),
            "cpu_ratio": round(cpu_ratio, 4),
            "aim": AIM,
        },
    )


if __name__ == "__main__":
    main()
