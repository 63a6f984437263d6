"""The SDK that AWS Panorama applications import, speaking to a Parapet appliance.

Exports what the original exports: ``node``, ``port``, ``media``. The wire format is in
``docs/sdk-protocol.md``. Pure Python 3.6 and later; NumPy is imported when pixels or tensors are
first used.
"""

from ._errors import NodeError, TimeoutException
from ._media import media
from ._node import node
from ._port import port

__version__ = "0.1.0"

__all__ = ["NodeError", "TimeoutException", "media", "node", "port"]
