"""Calls of model nodes: conformance case 4 and the rules behind it."""

import threading

import numpy
import pytest
from fake_agent import Camera, DoublingModel

import panoramasdk


@pytest.fixture
def with_model(agents):
    def make(model, *cameras):
        agent = agents(*cameras, models=["m"])
        agent.add_model("m", model)
        return agent, panoramasdk.node()

    return make


X = numpy.array([[1, 2, 3, 4]], numpy.float32)


def test_both_orders_and_keywords_give_the_same_tuple(with_model):
    _, node = with_model(DoublingModel())
    ways = [
        node.call({"data": X}, "m"),
        node.call("m", {"data": X}),
        node.call({"data": X}, "m", 5),
        node.call("m", {"data": X}, 5.0),
        node.call(name="m", input={"data": X}, time_out=5),
        node.call({"data": X}, name="m"),
        node.call("m", input={"data": X}),
        node.call(X, "m"),
    ]
    for result in ways:
        assert isinstance(result, tuple) and len(result) == 2
        assert result[0].tolist() == [[2, 4, 6, 8]] and result[1].tolist() == [10]
        assert result[0].flags.writeable


def test_an_unknown_name_is_a_key_error(with_model):
    _, node = with_model(DoublingModel())
    with pytest.raises(KeyError, match="no model node 'n'.*has m"):
        node.call({"data": X}, "n")


def test_two_names_or_nothing_is_a_type_error(with_model):
    _, node = with_model(DoublingModel())
    for arguments in [("m", "m"), ("m",), (X,), (X, X), ("m", X, 1, 2)]:
        with pytest.raises(TypeError):
            node.call(*arguments)


def test_element_types_are_converted_to_the_models(with_model):
    model = DoublingModel(dtype="uint8")
    _, node = with_model(model)
    assert node.call({"data": X.astype(numpy.float64)}, "m")[0].tolist() == [[2, 4, 6, 8]]
    assert node.call({"data": [[1, 2, 3, 4]]}, "m")[0].tolist() == [[2, 4, 6, 8]]
    assert [call["inputs"][0]["dtype"] for call in model.calls] == ["uint8", "uint8"]


def test_a_wrong_shape_names_tensor_given_and_expected(with_model):
    model = DoublingModel()
    _, node = with_model(model)
    with pytest.raises(ValueError, match=r"input 'data'.*\[4\].*needs \[1, 4\]"):
        node.call({"data": X[0]}, "m")
    with pytest.raises(ValueError, match="no input 'date': it has data"):
        node.call({"date": X}, "m")
    with pytest.raises(ValueError, match="needs the input 'data'"):
        node.call({}, "m")
    with pytest.raises(ValueError, match="numbers are needed"):
        node.call({"data": [["a", "b", "c", "d"]]}, "m")
    assert model.calls == []
    assert node.call({"data": X}, "m")[1].tolist() == [10]


def test_a_media_becomes_the_input(with_model):
    camera = Camera("a", 4, 2)
    agent, node = with_model(DoublingModel(shape=(1, 3, 2, 4)), camera)
    agent.show(camera, 7)
    (frame,) = node.inputs.video_in.get()
    frame.image[0, 0] = (1, 2, 3)
    (doubled, _) = node.call(frame, "m")
    assert doubled[0, :, 0, 0].tolist() == [2, 4, 6] and doubled[0, 0, 1, 1] == 14


def test_input_memory_is_sent_once_and_used_again(with_model):
    model = DoublingModel()
    _, node = with_model(model)
    for value in range(5):
        assert node.call({"data": X + value}, "m")[1].tolist() == [10 + 4 * value]
    assert [call["buffer"] for call in model.calls] == [True, False, False, False, False]


def test_an_error_of_the_model_is_a_runtime_error_and_the_next_call_works(with_model):
    _, node = with_model(DoublingModel())
    with pytest.raises(RuntimeError, match="below 0"):
        node.call({"data": -X}, "m")
    assert node.call({"data": X}, "m")[1].tolist() == [10]


def test_a_late_result_is_a_time_out_and_not_the_next_calls(with_model):
    model = DoublingModel(silent=1)
    _, node = with_model(model)
    with pytest.raises(TimeoutError):
        node.call({"data": X}, "m", 0.1)
    model.wake.set()
    assert node.call({"data": X + 1}, "m", 10)[1].tolist() == [14]


def test_a_model_that_still_loads_is_a_time_out(agents):
    agent = agents(models=["m"])
    node = panoramasdk.node()
    with pytest.raises(TimeoutError):
        node.call({"data": X}, "m", time_out=0.1)
    agent.add_model("m", DoublingModel())
    assert node.call({"data": X}, "m", time_out=10)[1].tolist() == [10]


def test_a_dead_worker_is_asked_for_again_and_the_call_repeated(with_model):
    agent, node = with_model(DoublingModel(dies=2))
    assert node.call({"data": X}, "m")[1].tolist() == [10]
    assert len(agent.sent("model")) == 3


def test_a_call_that_kills_every_worker_ends(with_model):
    _, node = with_model(DoublingModel(dies=100))
    with pytest.raises(RuntimeError, match="ended 3 times"):
        node.call({"data": X}, "m")


def test_frames_go_on_while_a_call_waits(with_model):
    model, camera = DoublingModel(silent=1), Camera("a")
    agent, node = with_model(model, camera)
    result = []
    caller = threading.Thread(target=lambda: result.append(node.call({"data": X}, "m")))
    caller.start()
    agent.until(lambda: agent.sent("model"), "the question for the model")
    for value in range(5):
        agent.show(camera, value)
        assert node.inputs.video_in.get(timeout=5)[0].image[0, 0, 0] == value
    assert result == []
    model.wake.set()
    caller.join(10)
    assert result[0][1].tolist() == [10]


def test_calls_of_several_threads_do_not_mix(with_model):
    _, node = with_model(DoublingModel())
    wrong = []

    def run(offset):
        for _ in range(50):
            if node.call({"data": X + offset}, "m")[1].tolist() != [10 + 4 * offset]:
                wrong.append(offset)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)
