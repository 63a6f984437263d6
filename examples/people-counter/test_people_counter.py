"""The sample as it is committed: its assets fit its sources, and its detector sees.

Run by pytest with the packages of tools/requirements.txt. The detector's test needs ffmpeg and the
built parapet-virtual-camera (`make build`), and says so when it skips.
"""

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "model")]

from frames import LABELS, as_array  # noqa: E402
from vision import MOST_BOXES, detections, prepare  # noqa: E402

import build_assets  # noqa: E402

TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parents[1] / "target")
CAMERA = TARGET / "debug" / "parapet-virtual-camera"


def documents():
    """Both package.json files by package name."""
    files = sorted(HERE.glob("packages/*/package.json"))
    packages = [json.loads(file.read_text())["nodePackage"] for file in files]
    return {package["name"]: package for package in packages}


def asset_of(package):
    """The archive that a package names."""
    implementation = documents()[package]["assets"][0]["implementations"][0]
    return (HERE / "assets" / implementation["assetUri"]).read_bytes()


def test_committed_assets_are_what_their_sources_build():
    stale, extra = build_assets.differences(HERE, build_assets.build(HERE))
    assert (stale, extra) == ([], []), "run examples/build_assets.py examples/people-counter"


def test_assets_are_named_by_their_hashes_and_nothing_else_lies_there():
    files = list((HERE / "assets").iterdir())
    for file in files:
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name.split(".")[0]
    assert len(files) == 4


def test_the_code_asset_holds_the_application_and_no_root_of_its_own():
    with tarfile.open(fileobj=io.BytesIO(asset_of("PEOPLE_COUNTER_CODE"))) as tar:
        assert tar.getnames() == ["panorama", "panorama/app.py", "panorama/vision.py"]


def test_the_model_asset_holds_exactly_one_small_model():
    content = asset_of("SCENE_DETECTOR")
    assert len(content) <= 3_000_000
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert [name for name in tar.getnames() if name.endswith(".onnx")] == tar.getnames()
        assert len(tar.getnames()) == 1
    stated = hashlib.sha256((HERE / "model/detector.onnx").read_bytes()).hexdigest()
    assert stated in (HERE / "model/README.md").read_text()


def test_the_graph_uses_interfaces_and_ports_that_the_packages_have():
    graph = json.loads((HERE / "graphs/people-counter/graph.json").read_text())["nodeGraph"]
    packages = documents()
    nodes = {node["name"]: node for node in graph["nodes"]}
    for node in nodes.values():
        if node["interface"].startswith("123456789012::"):
            package, interface = node["interface"].split("::")[1].split(".")
            assert interface in [i["name"] for i in packages[package]["interfaces"]]
    code = packages["PEOPLE_COUNTER_CODE"]["interfaces"][0]
    ports = {"code_node." + port["name"] for port in code["inputs"]}
    assert ports == {e["consumer"] for e in graph["edges"] if e["consumer"].startswith("code_node")}
    source = (HERE / "packages/123456789012-PEOPLE_COUNTER_CODE-1.0/src/app.py").read_text()
    assert 'MODEL_NODE = "model_node"' in source and "model_node" in nodes


def test_a_picture_of_any_size_becomes_the_tensor():
    image = np.zeros((1080, 1920, 3), np.uint8)
    image[:, 960:] = (255, 0, 51)
    tensor = prepare(image)
    assert tensor.shape == (1, 3, 192, 320) and tensor.dtype == np.float32
    assert np.allclose(tensor[0, :, 100, 300], (1.0, 0.0, 0.2)) and tensor[0, :, 100, 10].max() == 0
    assert prepare(np.zeros((7, 5, 3), np.uint8)).shape == (1, 3, 192, 320)


def test_boxes_of_one_object_are_merged_and_the_number_is_bounded():
    heat, edges = np.zeros((1, 3, 24, 40), np.float32), np.zeros((1, 4, 24, 40), np.float32)
    edges[0, :, 3, 4:7] = np.array([0.1, 0.1, 0.3, 0.4])[:, None]
    heat[0, 1, 3, 4], heat[0, 1, 3, 6], heat[0, 0, 3, 5] = 0.9, 0.8, 0.7
    found = detections(heat, edges, 0.4)
    assert [(box[0], round(box[1], 2)) for box in found] == [("car", 0.9), ("person", 0.7)]
    assert found[0][2:] == pytest.approx((0.1, 0.1, 0.3, 0.4))
    assert detections(heat, edges, 0.95) == []
    assert len(detections(heat + 1, edges, 0.5)) <= MOST_BOXES


def test_the_detector_sees_scenes_it_was_not_trained_on(tmp_path):
    pytest.importorskip("onnxruntime")
    if not CAMERA.is_file() or shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg and {} (make build)".format(CAMERA))
    import evaluate

    totals, detector = [0, 0, 0], evaluate.session()
    for scene in ((7, (1280, 720), 2), (5001, (1280, 720), 2), (11, (1920, 1080), 1)):
        counts, _ = evaluate.judge(detector, str(CAMERA), tmp_path, scene, 1)
        totals = [a + b for a, b in zip(totals, counts)]
    precision, recall = evaluate.ratios(totals)
    assert sum(totals) > 300
    assert precision >= 0.95 and recall >= 0.9, (precision, recall)


class Picture:
    """A stand-in for panoramasdk.media that keeps what is drawn."""

    def __init__(self, stream_id, is_cached):
        self.stream_id, self.is_cached, self.time_stamp = stream_id, is_cached, (1700000000, 40000)
        self.image, self.rects, self.labels = np.zeros((72, 128, 3), np.uint8), [], []

    def add_rect(self, *sides):
        self.rects.append(sides)

    def add_label(self, *label):
        self.labels.append(label)


HEAT, EDGES = np.zeros((1, 3, 24, 40), np.float32), np.zeros((1, 4, 24, 40), np.float32)
HEAT[0, 0, 5, 5], EDGES[0, :, 5, 5] = 0.9, (0.1, 0.2, 0.3, 0.4)
ONE_PERSON, NOTHING = (HEAT, EDGES), (HEAT * 0, EDGES)


def run_application(monkeypatch, logs, rounds, answers):
    """Runs app.py over lists of pictures with a model that gives these answers.

    Returns the lists that were put, and the events.
    """
    pending, answers, shown = list(rounds), list(answers), []

    class Node:
        def __new__(cls, *_):
            self = super().__new__(cls)

            def get():
                # What ends the application here is no Exception: it does not catch it.
                return pending.pop(0) if pending else sys.exit(0)

            port = types.SimpleNamespace
            self.inputs = port(video_in=port(get=get), threshold=port(get=lambda: 0.5))
            self.outputs = port(video_out=port(put=shown.append))
            return self

        def call(self, tensors, name):
            assert name == "model_node" and tensors["data"].shape == (1, 3, 192, 320)
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setitem(sys.modules, "panoramasdk", types.SimpleNamespace(node=Node))
    source = HERE / "packages/123456789012-PEOPLE_COUNTER_CODE-1.0/src/app.py"
    text = source.read_text().replace("/opt/aws/panorama/logs", str(logs))
    with pytest.raises(SystemExit):
        exec(compile(text, str(source), "exec"), {"__name__": "__main__"})
    assert answers == [], "the application asked the model less often than expected"
    lines = (logs / "events.jsonl").read_text().splitlines()
    return shown, [json.loads(line) for line in lines]


def test_the_application_reports_each_new_picture_once_and_survives_a_broken_one(
    monkeypatch, tmp_path
):
    rounds = [[Picture("gate", False), Picture("yard", True)], [Picture("gate", False)]]
    rounds.append([Picture("yard", False)])
    answers = [ONE_PERSON, RuntimeError("the model broke"), NOTHING]
    shown, events = run_application(monkeypatch, tmp_path, rounds, answers)
    assert [(e["type"], e["stream_id"], e["time_stamp"]) for e in events] == [
        ("detections", "gate", [1700000000, 40000]),
        ("detections", "yard", [1700000000, 40000]),
    ]
    sides = ("left", "top", "right", "bottom")
    assert [events[0]["boxes"][0][s] for s in sides] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert (events[0]["boxes"][0]["label"], events[1]["boxes"]) == ("person", [])
    assert shown == [rounds[0], rounds[2]] and len(rounds[0][0].rects) == 1
    assert "the model broke" in (tmp_path / "app.log").read_text()


def test_a_cached_picture_keeps_its_own_boxes_and_is_not_counted_again(monkeypatch, tmp_path):
    first = [Picture("gate", False), Picture("yard", True)]
    second = [Picture("gate", True), Picture("yard", False)]
    shown, events = run_application(monkeypatch, tmp_path, [first, second], [ONE_PERSON, NOTHING])
    assert [e["stream_id"] for e in events] == ["gate", "yard"]
    gate, unseen = shown[0]
    again, yard = shown[1]
    assert len(gate.rects) == 1
    assert (again.rects, again.labels) == (gate.rects, gate.labels)
    # A picture that was never looked at does not claim that nobody is there.
    assert (unseen.rects, unseen.labels) == ([], [])
    assert (yard.rects, [label[0] for label in yard.labels]) == ([], ["people: 0"])


def test_boxes_are_not_kept_for_a_picture_that_the_model_failed_on(monkeypatch, tmp_path):
    rounds = [[Picture("gate", False)], [Picture("gate", False)], [Picture("gate", True)]]
    answers = [ONE_PERSON, RuntimeError("the model broke")]
    shown, _ = run_application(monkeypatch, tmp_path, rounds, answers)
    assert shown == [rounds[0], rounds[2]]
    assert (shown[1][0].rects, shown[1][0].labels) == ([], [])


def test_truth_becomes_rows_by_class():
    box = {"label": "car", "left": 0.1, "top": 0.2, "right": 0.3, "bottom": 0.4}
    assert as_array([box]).tolist() == [pytest.approx([LABELS.index("car"), 0.1, 0.2, 0.3, 0.4])]
    assert as_array([]).shape == (0, 5)
