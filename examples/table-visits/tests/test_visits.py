"""The visits of generated scenes, of the real clip where it is present, and the node around it."""

import json
import math
import os
import shutil
import subprocess
import sys

import numpy
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(HERE)
MAIN = os.path.dirname(os.path.dirname(PROJECT))
SOURCE = os.path.join(PROJECT, "packages", "123456789012-TABLE_VISITS_CODE-1.0", "src")
CLIP = os.path.join(MAIN, "..", "shared", "media", "one-by-one-person-detection.mp4")
ZONE = (0.45, 0.10, 0.75, 0.95)
WIDTH, HEIGHT, FPS = 384, 216, 10

sys.path.insert(0, SOURCE)
import background  # noqa: E402
import visits  # noqa: E402


class Scene(object):
    """A textured room, noise, and people of two colours who sway while they stand."""

    def __init__(self, seed=1, light=lambda t: 0.0):
        random = numpy.random.default_rng(seed)
        coarse = random.integers(60, 190, (HEIGHT // 8, WIDTH // 8, 3))
        self.room = coarse.repeat(8, axis=0).repeat(8, axis=1).astype(numpy.float32)
        self.random = random
        self.light = light

    def picture(self, t, things):
        """``things`` are (centre x, width, colour) as shares of the picture, drawn full height."""
        picture = self.room + self.light(t)
        for x, width, colour in things:
            left, right = int((x - width / 2) * WIDTH), int((x + width / 2) * WIDTH)
            top, middle, bottom = int(0.3 * HEIGHT), int(0.6 * HEIGHT), int(0.9 * HEIGHT)
            sway = slice(max(left, 0), max(right, 0))
            picture[top:middle, sway] = colour
            picture[middle:bottom, sway] = [255 - value for value in colour]
        noise = self.random.normal(0, 3, picture.shape)
        return numpy.clip(picture + noise, 0, 255).astype(numpy.uint8)


def person(t, arrive, leave, colour=(30, 40, 200)):
    """Walks in from the left in 2 s, stands in the zone's middle from ``arrive`` to ``leave``."""
    walk = 0.35  # of the picture a second
    if t < arrive:
        x = 0.6 - walk * (arrive - t)
    elif t < leave:
        x = 0.6 + 0.01 * math.sin(2.5 * t)
    else:
        x = 0.6 + walk * (t - leave)
    return (x, 0.1, colour) if -0.1 < x < 1.1 else None


def run(scene, things, seconds, fps=FPS, begin=1700000000.0):
    """Visits found, relative to the first picture."""
    watch = visits.Watch(ZONE)
    found = []
    for number in range(int(seconds * fps)):
        t = number / fps
        there = [thing for thing in things(t) if thing is not None]
        found += watch.look(scene.picture(t, there), begin + t)
    found += watch.finish()
    return [(visit.begin - begin, visit.end - begin) for visit in found]


def assert_near(found, expected, within=1.0):
    assert len(found) == len(expected), (found, expected)
    for (begin, end), (begins, ends) in zip(found, expected):
        assert abs(begin - begins) <= within and abs(end - ends) <= within, (found, expected)


def test_two_people_are_two_visits():
    def things(t):
        return [person(t, 5, 12), person(t, 20, 26, (220, 200, 20))]

    assert_near(run(Scene(), things, 32), [(4.6, 12.6), (19.6, 26.6)])


def test_who_stands_there_from_the_first_picture_on_is_a_visit():
    assert_near(run(Scene(), lambda t: [person(t, -9, 9)], 20), [(0, 9.6)])


def test_after_an_occupied_start_the_next_visit_is_found():
    def things(t):
        return [person(t, -9, 7), person(t, 15, 21, (220, 200, 20))]

    assert_near(run(Scene(2), things, 28), [(0, 7.6), (14.6, 21.6)])


def test_an_empty_room_with_drifting_light_has_no_visits():
    scene = Scene(3, light=lambda t: 50 * math.sin(t / 20))
    assert run(scene, lambda t: [], 60, fps=5) == []


def test_drifting_light_does_not_hide_or_lengthen_a_visit():
    scene = Scene(4, light=lambda t: 1.0 * t)
    assert_near(run(scene, lambda t: [person(t, 10, 35)], 45, fps=5), [(9.6, 35.6)])


def test_light_switched_on_is_no_visit():
    scene = Scene(5, light=lambda t: 0.0 if t < 10 else 60.0)
    assert run(scene, lambda t: [], 30) == []


def test_standing_for_a_minute_is_one_visit():
    assert_near(run(Scene(6), lambda t: [person(t, 5, 65)], 75, fps=5), [(4.6, 65.6)])


def test_a_parked_thing_becomes_background_and_the_next_visit_is_found():
    def things(t):
        parked = (0.5 if t > 5 else -1.0, 0.06, (10, 10, 10)) if t > 5 else None
        return [parked, person(t, 110, 118)]

    found = run(Scene(7), things, 130, fps=5)
    assert len(found) == 2, found
    assert 70 <= found[0][1] - found[0][0] <= 85, found
    assert_near(found[1:], [(109.6, 118.6)])


def test_passing_through_quickly_is_no_visit_but_slowly_is():
    fast = run(Scene(8), lambda t: [(2.0 * (t - 5), 0.1, (30, 40, 200))], 12)
    slow = run(Scene(8), lambda t: [(0.1 * (t - 2), 0.1, (30, 40, 200))], 16)
    assert fast == []
    assert_near(slow, [(6.2, 9.9)])


def test_a_faster_camera_gives_the_same_visits():
    found = run(Scene(9), lambda t: [person(t, 4, 9)], 14, fps=25)
    assert_near(found, [(3.6, 9.6)])


def test_a_visit_is_open_until_the_pictures_end():
    assert_near(run(Scene(10), lambda t: [person(t, 5, 99)], 15), [(4.6, 15)])


def test_a_picture_of_another_size_starts_anew_and_harms_nothing():
    watch = visits.Watch(ZONE)
    for number, shape in enumerate([(216, 384, 3), (1080, 1920, 3), (64, 48, 3), (3, 5, 3)]):
        watch.look(numpy.zeros(shape, numpy.uint8), number)


def test_a_full_hd_picture_is_looked_at_small():
    assert background.shrink(numpy.zeros((1080, 1920, 3), numpy.uint8)).shape == (108, 192, 3)


def test_on_real_footage_the_six_visits_are_found():
    if not os.path.exists(CLIP) or shutil.which("ffmpeg") is None:
        pytest.skip("SKIPPED: the clip of one-by-one-person-detection or ffmpeg is not here")
    truth = [(6.5, 19.0), (23.1, 44.0), (50.7, 69.0), (75.3, 85.8), (92.3, 118.7), (123.9, 135.0)]
    assert_near(from_clip(CLIP, 768, 432, 10), truth, within=1.5)
    # The same from the middle of a visit.
    found = from_clip(CLIP, 768, 432, 10, skip=35)
    expected = [(max(0, begin - 35), end - 35) for begin, end in truth[1:]]
    assert_near(found, expected, within=1.5)


def from_clip(path, width, height, fps, skip=0):
    command = ["ffmpeg", "-v", "error", "-ss", str(skip), "-i", path]
    command += ["-f", "rawvideo", "-pix_fmt", "bgr24", "-"]
    watch, found, number = visits.Watch(ZONE), [], 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while True:
            pixels = process.stdout.read(width * height * 3)
            if len(pixels) < width * height * 3:
                break
            picture = numpy.frombuffer(pixels, numpy.uint8).reshape(height, width, 3)
            found += watch.look(picture, number / fps)
            number += 1
    found += watch.finish()
    return [(visit.begin, visit.end) for visit in found]


def test_the_node_reports_ready_and_visits(tmp_path):
    """The real application with the real SDK, against the SDK tests' agent."""
    sys.path[:0] = [os.path.join(MAIN, "python", "tests")]
    from fake_agent import Camera, FakeAgent

    camera = Camera("hall", WIDTH, HEIGHT)
    inputs = [
        {"name": name, "type": "float32", "value": value}
        for name, value in zip(("left", "top", "right", "bottom"), ZONE)
    ]
    agent = FakeAgent(str(tmp_path / "sdk.sock"), [camera], inputs=inputs)
    environment = dict(
        os.environ,
        PYTHONPATH=os.path.join(MAIN, "python"),
        PARAPET_SOCKET=agent.path,
        TABLE_VISITS_LOGS=str(tmp_path),
    )
    process = subprocess.Popen([sys.executable, os.path.join(SOURCE, "app.py")], env=environment)
    try:
        agent.until(lambda: agent.sent("get"), "the first get", 30)
        events = tmp_path / "events.jsonl"
        assert json.loads(events.read_text()) == {"type": "ready"}
        scene = Scene(11)
        for number in range(100):
            t = number / FPS
            there = [thing for thing in [person(t, 2, 6)] if thing is not None]
            agent.show_pixels(camera, scene.picture(t, there).tobytes(), time_stamp(t))
            count = number + 1
            what = "picture {} of 100 shown again".format(count)
            agent.until(lambda n=count: len(agent.puts) >= n, what, 30)
        agent.until(lambda: len(events.read_text().splitlines()) == 2, "a visit", 10)
        visit = json.loads(events.read_text().splitlines()[1])
        assert (visit["type"], visit["stream_id"]) == ("visit", "hall")
        begin, end = [
            seconds - 1700000000 + us / 1e6 for seconds, us in (visit["begin"], visit["end"])
        ]
        assert_near([(begin, end)], [(1.6, 6.6)])
        overlays = [put["frames"][0]["labels"] for put, _ in agent.puts]
        assert any(label[0].startswith("visit") for labels in overlays for label in labels)
        assert agent.faults == []
    finally:
        process.kill()
        process.wait()
        agent.close()


def time_stamp(t):
    return (1700000000 + int(t), int(round(t % 1 * 1e6)))


def test_the_committed_assets_are_those_of_the_sources():
    script = os.path.join(MAIN, "examples", "build_assets.py")
    result = subprocess.run(
        [sys.executable, script, "--check", PROJECT], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
