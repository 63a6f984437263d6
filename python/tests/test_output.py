"""What an application sends to the display: conformance cases 5 and 6."""

import numpy
import pytest
from fake_agent import Camera

import panoramasdk


@pytest.fixture
def shown(agents):
    """An agent whose camera has shown one frame, that frame, and the output port."""
    camera = Camera("a")
    agent = agents(camera)
    node = panoramasdk.node()
    agent.show(camera, 9)
    (frame,) = node.inputs.video_in.get()
    return agent, frame, node.outputs.video_out


def put(agent, output, data):
    before = len(agent.puts)
    output.put(data)
    agent.until(lambda: len(agent.puts) > before, "the put")
    return agent.puts[-1]


def test_an_empty_list_is_a_value_error(shown):
    with pytest.raises(ValueError, match="at least one media"):
        shown[2].put([])


def test_something_else_than_media_is_a_type_error(shown):
    with pytest.raises(TypeError, match="not ndarray"):
        shown[2].put([shown[1].image])


def test_an_input_has_no_put_and_an_output_no_get(shown):
    node = panoramasdk.node()
    with pytest.raises(ValueError, match="is an input"):
        node.inputs.video_in.put([shown[1]])
    with pytest.raises(ValueError, match="is an output"):
        node.outputs.video_out.get()


def test_an_unchanged_picture_travels_as_its_lease(shown):
    agent, frame, output = shown
    assert (frame.image == 9).all()  # looking at it does not change it
    header, pixels = put(agent, output, [frame])
    entry = header["frames"][0]
    assert pixels == [None] and isinstance(entry["lease"], int)
    assert (entry["stream"], entry["time"]) == ("a", list(frame.time_stamp))


@pytest.mark.parametrize("shape", [list, tuple, iter, lambda frames: frames[0]])
def test_a_list_a_tuple_an_iterator_and_a_single_media_are_accepted(shown, shape):
    agent, frame, output = shown
    assert len(put(agent, output, shape([frame]))[0]["frames"]) == 1


def test_a_drawing_is_sent_and_the_lease_kept(shown):
    agent, frame, output = shown
    frame.image[10:12, 5:7] = (1, 2, 3)
    _, (pixels,) = put(agent, output, [frame])
    sent = numpy.frombuffer(pixels, numpy.uint8).reshape(48, 64, 3)
    assert (sent == frame.image).all() and (sent[10, 5] == (1, 2, 3)).all()


def test_an_assigned_image_is_sent(shown):
    agent, frame, output = shown
    frame.image = numpy.full((20, 30, 3), 4, numpy.uint8)[::2]
    header, (pixels,) = put(agent, output, [frame])
    assert pixels == b"\x04" * (10 * 30 * 3)
    assert (header["frames"][0]["pixels"]["width"], header["frames"][0]["pixels"]["height"]) == (
        30,
        10,
    )


def test_an_assigned_image_of_another_kind_is_a_value_error(shown):
    shown[1].image = numpy.zeros((4, 4), numpy.float32)
    with pytest.raises(ValueError, match="uint8 of shape"):
        shown[2].put(shown[1])


def test_no_pixels_travel_while_nobody_watches(agents):
    camera = Camera("a")
    agent = agents(camera)
    agent.watched = False
    node = panoramasdk.node()
    agent.show(camera, 9)
    (frame,) = node.inputs.video_in.get()
    frame.image[:] = 1
    _, pixels = put(agent, node.outputs.video_out, [frame])
    assert pixels == [None]


def test_a_frame_that_was_made_private_is_sent_with_its_pixels(agents):
    camera = Camera("a")
    agent = agents(camera, hold=1)
    node = panoramasdk.node()
    kept = []
    for value in range(3):
        agent.show(camera, value)
        kept += node.inputs.video_in.get()
    header, pixels = put(agent, node.outputs.video_out, kept[:1])
    assert header["frames"][0]["lease"] is None
    assert pixels == [b"\0" * (48 * 64 * 3)]


def test_many_changed_pictures_travel_in_several_packets(agents):
    cameras = [Camera("camera{}".format(number)) for number in range(6)]
    agent = agents(*cameras)
    node = panoramasdk.node()
    for number, camera in enumerate(cameras):
        agent.show(camera, number)
    frames = node.inputs.video_in.get()
    while len(frames) < 6:
        frames = node.inputs.video_in.get()
    for frame in frames:
        frame.image[0, 0] = 200
    node.outputs.video_out.put(frames)
    agent.until(lambda: len(agent.puts) == 2, "two packets")
    (first, one), (last, two) = agent.puts
    assert first["more"] is True and "more" not in last
    assert [len(one), len(two)] == [4, 2]
    streams = [entry["stream"] for entry in first["frames"] + last["frames"]]
    assert streams == [camera.name for camera in cameras]
    assert [part[3] for part in one + two] == list(b"\xc8" * 6) or [
        part[3] for part in one + two
    ] == [0, 1, 2, 3, 4, 5]


def test_overlays_are_clipped_bounded_and_leave_the_image_alone(shown):
    agent, frame, output = shown
    frame.add_rect(-0.5, numpy.float32(0.25), 1, numpy.int64(3))
    frame.add_label("Zürich \udc80", 0.5, 1.5)
    frame.add_rect(float("nan"), 0, 1, 1)
    frame.add_rect("left", 0, 1, 1)
    for _ in range(100):
        assert frame.add_label("x" * 1000, 0.1, 0.1) is None
        assert frame.add_rect(0, 0, 1, 1) is None
    header, pixels = put(agent, output, [frame])
    entry = header["frames"][0]
    assert entry["rects"][0] == [0.0, 0.25, 1.0, 1.0]
    assert entry["labels"][0] == ["Zürich ?", 0.5, 1.0]
    assert len(entry["rects"]) == 64 and len(entry["labels"]) <= 64
    assert pixels == [None] and (frame.image == 9).all()


def test_put_while_the_agent_is_away_does_nothing(shown):
    agent, frame, output = shown
    agent.cut()
    output.put([frame])
    output.put([frame])
