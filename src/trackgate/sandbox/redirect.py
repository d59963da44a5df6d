"""Where deliveries go while the emulated vendors stand in for the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackgate.config import Destination

LISTEN = "127.0.0.1:8090"
"""Where the emulated vendors listen unless told otherwise."""


def redirected(destinations: Mapping[str, Destination], at: str) -> Mapping[str, Destination]:
    """The destinations, each of them at its emulated vendor; ``at`` is the sandbox's ``host:port``."""
    return {
        name: replace(destination, url=f"http://{at}/{destination.vendor.name}")
        for name, destination in destinations.items()
    }
