"""What sources, destinations and routes may be called, and which vendor they mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trackgate.config.faults import did_you_mean, listed
from trackgate.config.tables import LATER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trackgate.config.lines import Place
    from trackgate.config.reading import Scope
    from trackgate.vendor import Vendor

OWN_PATHS = ("livez", "readyz", "metrics", "-")
"""The first segments of the gateway's own paths."""

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def is_name(text: object) -> bool:
    """Whether something can be a name."""
    return isinstance(text, str) and NAME.fullmatch(text) is not None


def check_name(name: str, place: Place, scope: Scope) -> None:
    """Note a name that no path, metric or log line should have to carry."""
    if not is_name(name):
        scope.faults.error(place, "not a name: use a-z, 0-9, _ and -, beginning with a letter or digit")


def reserved(vendors: Iterable[Vendor]) -> frozenset[str]:
    """Names that a source cannot have, because its paths would be others' paths."""
    segments = {endpoint.path.split("/")[1] for vendor in vendors for endpoint in vendor.endpoints}
    return frozenset(segments | set(OWN_PATHS))


def find_vendor(name: str | None, place: Place, vendors: Mapping[str, Vendor], scope: Scope) -> Vendor | None:
    """The vendor of that name; noted where there is none. ``None`` is a name that could not be read."""
    if name is not None and name not in vendors:
        words = f"unknown vendor; there are {listed(vendors)}{did_you_mean(name, vendors)}"
        scope.faults.error((*place, "vendor"), words)
    return vendors.get(name or "")


def not_yet(table: str) -> Callable[[str], str | None]:
    """Words for a key that a later version will know."""
    return lambda key: "not available in this version: remove it" if key in LATER[table] else None
