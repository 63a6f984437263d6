"""Every test gets an agent of its own, and the SDK a process state of its own."""

import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), HERE]

import fake_agent  # noqa: E402

from panoramasdk import _model, _process  # noqa: E402


@pytest.fixture
def agents(tmp_path, monkeypatch):
    """Makes agents; at the end none of them may have seen a breach of the protocol."""
    made = []

    def make(*cameras, **options):
        path = str(tmp_path / "sdk{}.sock".format(len(made)))
        agent = fake_agent.FakeAgent(path, cameras, **options)
        monkeypatch.setenv("PARAPET_SOCKET", path)
        made.append(agent)
        return agent

    yield make
    for session in _process._sessions.values():
        session.end("the test is over")
    _process._sessions.clear()
    _model._models.clear()
    for agent in made:
        agent.close()
        assert agent.faults == []
