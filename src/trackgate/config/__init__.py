"""``routes.toml``, decoded into one immutable value, with every fault at once."""

from __future__ import annotations

from trackgate.config.editor import schema
from trackgate.config.faults import Fault, describe
from trackgate.config.loading import load
from trackgate.config.manual import reference
from trackgate.config.model import Config, Destination, Source
from trackgate.config.secret import Secret, SecretUnreadable
from trackgate.config.tables import Lossy, Server

__all__ = [
    "Config",
    "Destination",
    "Fault",
    "Lossy",
    "Secret",
    "SecretUnreadable",
    "Server",
    "Source",
    "describe",
    "load",
    "reference",
    "schema",
]
