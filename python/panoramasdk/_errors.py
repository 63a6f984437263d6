"""What applications may catch, and the one signal that stays inside."""


class NodeError(RuntimeError):
    """The platform cannot identify this node: no agent, or one of another version."""


class TimeoutException(TimeoutError):
    """Nothing came within the time given. ``except TimeoutError`` catches it."""


class ConnectionLost(Exception):
    """The agent or a model worker has gone. Never leaves the SDK."""
