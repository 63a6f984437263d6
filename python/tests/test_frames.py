"""What an application sees of frames: conformance cases 1-3, 7 and the rules behind them."""

import gc
import multiprocessing
import os
import threading
import time

import numpy
import pytest
from fake_agent import Camera

import panoramasdk


def values(frames):
    return [int(frame.image[0, 0, 0]) for frame in frames]


def in_thread(function, *args):
    """Runs beside the test; ``join()`` gives the result or raises its exception."""
    result = []

    def run():
        try:
            result.append((function(*args), None))
        except BaseException as error:
            result.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join(seconds=10):
        thread.join(seconds)
        assert result, "the thread has not ended after {} s".format(seconds)
        value, error = result[0]
        if error is not None:
            raise error
        return value

    thread.result = join
    return thread


def test_a_subclass_that_calls_no_init_reads_its_parameters(agents):
    inputs = [
        {"name": "threshold", "type": "float32", "value": 0.8},
        {"name": "limit", "type": "int32", "value": 7},
        {"name": "place", "type": "string", "value": "gate"},
        {"name": "night", "type": "boolean", "value": True},
    ]
    agents(inputs=inputs)

    class Application(panoramasdk.node):
        def __init__(self, extra, more=0):
            self.threshold = self.inputs.threshold.get()
            self.rest = [
                self.inputs.limit.get(),
                self.inputs.place.get(),
                self.inputs.night.get(),
            ]

    application = Application("extra", more=1)
    assert application.threshold == 0.800000011920929
    assert round(application.threshold, 2) == 0.8
    assert application.rest == [7, "gate", True]


def test_calling_init_is_harmless_and_goes_on_to_the_next_class(agents):
    agents()

    class Application(panoramasdk.node, threading.Thread):
        def __init__(self):
            super().__init__(name="vision")

    assert Application().name == "vision"


def test_an_unknown_port_is_an_attribute_error_that_names_the_known_ones(agents):
    agents()
    with pytest.raises(AttributeError, match="no input port 'video': it has video_in"):
        getattr(panoramasdk.node().inputs, "video")  # noqa: B009


def test_without_an_agent_the_error_says_what_to_do(monkeypatch):
    monkeypatch.delenv("PARAPET_SOCKET", raising=False)
    with pytest.raises(panoramasdk.NodeError, match="PARAPET_SOCKET is not set"):
        panoramasdk.node()


def test_two_nodes_share_one_connection(agents):
    agent = agents()
    panoramasdk.node()
    panoramasdk.node()
    assert len(agent.sent("hello")) == 1


def test_a_frame_has_the_documented_attributes(agents):
    camera = Camera("gate", width=64, height=48)
    agent = agents(camera)
    node = panoramasdk.node()
    agent.show(camera, 9, (1700000000, 123456))
    (frame,) = node.inputs.video_in.get()
    assert isinstance(frame, panoramasdk.media)
    assert (frame.stream_id, frame.stream_uri) == ("gate", "rtsp://192.0.2.1/gate")
    assert frame.time_stamp == (1700000000, 123456)
    assert frame.is_cached is False
    image = frame.image
    assert image is frame.image
    assert (image.dtype, image.shape) == (numpy.uint8, (48, 64, 3))
    assert image.flags.c_contiguous and image.flags.writeable
    assert (image == 9).all()
    agent.until(lambda: any(p["op"] == "got" for p in agent.packets), "got")


def test_a_slower_camera_comes_along_cached_and_never_all_are(agents):
    fast, slow = Camera("fast"), Camera("slow")
    agent = agents(fast, slow)
    node = panoramasdk.node()
    agent.show(slow, 100)
    seen = []
    for step in range(9):
        agent.show(fast, step)
        if step % 3 == 0 and step:
            agent.show(slow, 100 + step)
        frames = node.inputs.video_in.get()
        assert not all(frame.is_cached for frame in frames)
        seen.append((len(frames), values(frames)[1], frames[1].is_cached))
    assert [entry[0] for entry in seen] == [2] * 9
    assert [entry[1] for entry in seen] == [100, 100, 100, 103, 103, 103, 106, 106, 106]
    assert [entry[2] for entry in seen] == [False, True, True] * 3


def test_get_times_out_with_an_error_that_plain_code_catches(agents):
    agents(Camera("unplugged"))
    node = panoramasdk.node()
    begin = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        node.inputs.video_in.get(timeout=0.2)
    assert isinstance(caught.value, panoramasdk.TimeoutException)
    assert 0.2 <= time.monotonic() - begin < 5


def test_after_a_time_out_the_next_frame_is_found(agents):
    camera = Camera("a")
    agent = agents(camera)
    node = panoramasdk.node()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            node.inputs.video_in.get(timeout=0)
    agent.show(camera, 5)
    assert values(node.inputs.video_in.get(timeout=5)) == [5]


def test_a_hundred_kept_frames_keep_their_contents(agents):
    camera = Camera("a", slots=8)
    agent = agents(camera)
    node = panoramasdk.node()
    kept = []
    for value in range(100):
        agent.show(camera, value)
        (frame,) = node.inputs.video_in.get()
        kept.append(frame if value % 2 else frame.image)
    for value, frame in enumerate(kept):
        image = frame if isinstance(frame, numpy.ndarray) else frame.image
        assert (image == value).all(), "frame {}".format(value)


def test_a_view_keeps_its_frame_when_everything_else_is_gone(agents):
    camera = Camera("a", slots=6)
    agent = agents(camera)
    node = panoramasdk.node()
    agent.show(camera, 1)
    crop = node.inputs.video_in.get()[0].image[10:20, 10:20]
    for value in range(2, 40):
        agent.show(camera, value)
        node.inputs.video_in.get()
    assert (crop == 1).all()


def test_two_ports_with_one_camera_share_its_leases(agents):
    camera = Camera("a", slots=12)
    agent = agents(camera, inputs=[{"name": "second", "type": "media"}])
    agent.ports["second"] = [camera]
    node = panoramasdk.node()
    kept = []
    for value in range(12):
        agent.show(camera, value)
        kept.append(node.inputs.video_in.get(timeout=5)[0].image)
        kept.append(node.inputs.second.get(timeout=5)[0].image)
    assert [int(image.max()) for image in kept] == [value // 2 for value in range(24)]


def test_dropped_frames_are_given_back_and_their_memory_is_used_again(agents):
    camera = Camera("a", slots=4)
    agent = agents(camera)
    node = panoramasdk.node()
    addresses = set()
    for value in range(60):
        agent.show(camera, value)
        frames = node.inputs.video_in.get()
        assert values(frames) == [value]
        addresses.add(frames[0].image.ctypes.data)
        frames[0].image[:] = 255  # stays in this process, and not for long
    assert len(addresses) <= 4


def test_drawings_do_not_reach_the_ring_or_a_later_frame(agents):
    camera = Camera("a", slots=3)
    agent = agents(camera)
    node = panoramasdk.node()
    for value in range(12):
        agent.show(camera, value)
        (frame,) = node.inputs.video_in.get()
        assert (frame.image == value).all()
        frame.image[:] = 200
        assert camera.memory[camera.newest[1] * camera.slot_bytes] == value
        del frame


def test_a_cached_frame_shows_the_same_pixels_and_does_not_free_the_first(agents):
    fast, slow = Camera("fast", slots=6), Camera("slow", slots=6)
    agent = agents(fast, slow)
    node = panoramasdk.node()
    agent.show(slow, 50)
    agent.show(fast, 1)
    first = node.inputs.video_in.get()[1].image
    for value in range(2, 20):
        agent.show(fast, value)
        again = node.inputs.video_in.get()[1]
        assert again.is_cached and (again.image == 50).all()
    del again
    for value in range(20):
        agent.show(slow, 60 + value)
        node.inputs.video_in.get()
    assert (first == 50).all()


def test_over_the_budget_get_says_what_to_let_go(agents):
    camera = Camera("a", slots=8)
    agent = agents(camera, hold_bytes=10 * camera.slot_bytes)
    node = panoramasdk.node()
    kept = []
    with pytest.raises(MemoryError, match="let go of media.image arrays"):
        for value in range(40):
            agent.show(camera, value)
            kept.append(node.inputs.video_in.get(timeout=5))
    assert len(kept) == 14  # ten private, four leased
    del kept[:]
    agent.show(camera, 99)
    assert values(node.inputs.video_in.get(timeout=5)) == [99]


def test_frames_in_a_reference_cycle_do_not_use_the_budget_up(agents):
    camera = Camera("a", slots=8)
    agent = agents(camera, hold_bytes=4 * camera.slot_bytes)
    node = panoramasdk.node()
    gc.disable()
    try:
        for value in range(60):
            agent.show(camera, value)
            cycle = [node.inputs.video_in.get(timeout=5)[0].image]
            cycle.append(cycle)
            del cycle
    finally:
        gc.enable()


def test_without_populate_pages_are_made_private_by_touching_them(agents, monkeypatch):
    from panoramasdk import _memory

    monkeypatch.setattr(_memory, "_MADV_POPULATE_WRITE", 9999)  # what an old kernel refuses
    camera = Camera("a", slots=6)
    agent = agents(camera)
    node = panoramasdk.node()
    kept = []
    for value in range(20):
        agent.show(camera, value)
        kept.append(node.inputs.video_in.get()[0].image)
    assert [int(image.min()) for image in kept] == list(range(20))
    assert [int(image.max()) for image in kept] == list(range(20))


def test_a_new_ring_with_another_size_is_used(agents):
    small, large = Camera("a", 64, 48), Camera("a", 320, 200)
    agent = agents(small)
    node = panoramasdk.node()
    agent.show(small, 1)
    (old,) = node.inputs.video_in.get()
    agent.ports["video_in"] = [large]
    agent.show(large, 2)
    (new,) = node.inputs.video_in.get()
    assert old.image.shape == (48, 64, 3) and (old.image == 1).all()
    assert new.image.shape == (200, 320, 3) and (new.image == 2).all()


def test_threads_get_a_frame_each_and_do_not_block_each_other(agents):
    camera = Camera("a", slots=12)
    agent = agents(camera)
    node = panoramasdk.node()
    threads = [in_thread(node.inputs.video_in.get) for _ in range(3)]
    for value in range(3):
        waiting = "a get number {}".format(value + 1)
        agent.until(lambda n=value: len(agent.sent("get")) == n + 1, waiting)
        agent.show(camera, value)
    got = sorted(values(thread.result())[0] for thread in threads)
    assert got == [0, 1, 2]


def test_a_second_get_on_a_port_times_out_while_the_first_waits(agents):
    camera = Camera("a")
    agent = agents(camera)
    node = panoramasdk.node()
    first = in_thread(node.inputs.video_in.get)
    agent.until(lambda: agent.sent("get"), "the first get")
    with pytest.raises(TimeoutError):
        node.inputs.video_in.get(timeout=0.1)
    agent.show(camera, 4)
    assert values(first.result()) == [4]


def test_leases_are_not_given_back_while_their_port_is_asked(agents):
    camera = Camera("a")
    agent = agents(camera)
    node = panoramasdk.node()
    agent.show(camera, 1)
    frames = node.inputs.video_in.get()
    waiting = in_thread(node.inputs.video_in.get)
    agent.until(lambda: len(agent.sent("get")) == 2, "the second get")
    del frames
    gc.collect()
    node.outputs.video_out.put(panoramasdk.media(_NoPicture(), _some_frame()))
    agent.until(lambda: agent.puts, "the put")
    assert agent.sent("release") == []
    agent.show(camera, 2)
    assert values(waiting.result()) == [2]
    agent.show(camera, 3)
    node.inputs.video_in.get()
    assert agent.sent("release")


class _NoPicture(object):
    def belongs_to(self, frames):
        return False

    def array(self):
        return numpy.zeros((2, 2, 3), numpy.uint8)


def _some_frame():
    return {"stream": "x", "uri": "x", "cached": False, "time": [0, 0]}


def test_an_interrupted_get_loses_no_frame(agents, monkeypatch):
    from panoramasdk import _packet

    camera = Camera("a")
    agent = agents(camera)
    node = panoramasdk.node()
    original = _packet.receive

    def interrupted(sock, deadline):
        monkeypatch.setattr(_packet, "receive", original)
        raise KeyboardInterrupt

    monkeypatch.setattr(_packet, "receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        node.inputs.video_in.get()
    agent.show(camera, 3)
    assert values(node.inputs.video_in.get(timeout=5)) == [3]
    assert len(agent.sent("get")) == 1


def test_a_restarted_agent_is_found_again_and_held_frames_stay(agents):
    camera = Camera("a")
    agent = agents(camera)
    node = panoramasdk.node()
    agent.show(camera, 1)
    held = node.inputs.video_in.get()[0].image
    waiting = in_thread(node.inputs.video_in.get)
    agent.until(lambda: len(agent.sent("get")) == 2, "the second get")
    agent.cut()
    agent.listen()
    agent.until(lambda: len(agent.sent("hello")) == 2, "a second hello")
    for value in range(2, 12):
        agent.show(camera, value)
    assert values(waiting.result())[0] >= 1
    assert (held == 1).all()
    agent.show(camera, 77)
    assert values(node.inputs.video_in.get()) == [77]


def test_get_times_out_while_the_agent_is_away(agents):
    agent = agents(Camera("a"))
    node = panoramasdk.node()
    agent.cut()
    with pytest.raises(TimeoutError):
        node.inputs.video_in.get(timeout=0.3)


def test_another_protocol_version_is_refused_clearly(agents):
    agent = agents()
    agent.welcome = {"event": "error", "code": "version", "message": "it speaks 2"}
    with pytest.raises(panoramasdk.NodeError, match="it speaks 2"):
        panoramasdk.node()


def _child(node, held, results):
    frames = node.inputs.video_in.get(timeout=10)
    results.put((int(held.min()), int(held.max()), values(frames)))


def test_a_forked_child_has_a_connection_of_its_own(agents):
    camera = Camera("a", slots=16)
    agent = agents(camera)
    node = panoramasdk.node()
    agent.show(camera, 1)
    frames = node.inputs.video_in.get()
    # A thread of the parent holds the SDK's locks at the moment of the fork.
    waiting = in_thread(node.inputs.video_in.get)
    agent.until(lambda: len(agent.sent("get")) == 2, "the second get")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_child, args=(node, frames[0].image, results))
    child.start()
    minimum, maximum, seen = results.get(timeout=20)
    child.join(20)
    assert (minimum, maximum, seen) == (1, 1, [1])
    assert len(agent.sent("hello")) == 2
    agent.until(lambda: len(agent.connections) == 1, "the end of the child's connection")
    agent.show(camera, 2)
    assert values(waiting.result()) == [2]


def test_children_started_with_exec_do_not_hold_the_connection(agents):
    agents()
    panoramasdk.node()
    sockets = [fd for fd in os.listdir("/proc/self/fd") if _is_our_socket(fd)]
    assert sockets
    assert not any(os.get_inheritable(int(fd)) for fd in sockets)


def _is_our_socket(fd):
    try:
        return os.readlink("/proc/self/fd/" + fd).startswith("socket:")
    except OSError:
        return False
