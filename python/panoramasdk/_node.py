"""The node: an application's class derives from it, or makes one."""

from . import _model, _process
from ._port import port


class node(object):  # noqa: N801 - the name is the original's
    """This application's place in the graph.

    Works without ``super().__init__()``: everything is set up in ``__new__``. Several nodes in
    one process share one connection.
    """

    def __new__(cls, *_args, **_kwargs):
        session = _process.current()
        self = super(node, cls).__new__(cls)
        self.inputs = Ports("input", session.inputs)
        self.outputs = Ports("output", session.outputs)
        return self

    def call(self, *args, **kwargs):
        """Runs a model node: ``call({"tensor": array}, "model_node", time_out=None)``.

        The name may come first as well. The input is a dict of arrays, or one array or ``media``
        for a model with one input. Returns a tuple of arrays, one for each output. An unknown name
        raises ``KeyError``, a wrong tensor ``ValueError``, ``time_out`` seconds ``TimeoutError``.
        """
        name, tensors, time_out = _model.arguments(*args, **kwargs)
        return _model.call(name, tensors, time_out)


class Ports(object):
    """The ports of one direction, as attributes."""

    def __init__(self, direction, descriptions):
        self.__dict__.update((name, port(name, direction)) for name in descriptions)
        self.__dict__["_direction"] = direction

    def __getattr__(self, name):
        names = sorted(key for key in self.__dict__ if not key.startswith("_"))
        raise AttributeError(
            "this node has no {} port '{}': it has {}".format(
                self.__dict__.get("_direction"), name, ", ".join(names) or "none"
            )
        )
