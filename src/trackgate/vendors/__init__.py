"""The dialects, one file each. A file in this folder that defines ``VENDOR`` is a vendor; nothing else names them."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackgate.vendor import Vendor


def load() -> Mapping[str, Vendor]:
    """Every vendor by name, in the order of their names."""
    found = [import_module(f"{__name__}.{module.name}").VENDOR for module in iter_modules(__path__)]
    return {vendor.name: vendor for vendor in sorted(found, key=lambda vendor: vendor.name)}
