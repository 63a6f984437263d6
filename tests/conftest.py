"""Fixtures of all tests here."""

import pytest

from control_plane import start_server, stop_process


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One for all tests that change nothing that others see."""
    started = start_server(tmp_path_factory.mktemp("server"))
    yield started
    stop_process(started.process)
