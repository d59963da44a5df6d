"""Where something listens, as ``host:port``, and whether others mean the same place."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Self

from msgspec import Struct

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


class Address(Struct, frozen=True):
    """A host (an IPv6 one without its brackets) and a port; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse ``127.0.0.1:8080``, ``[::1]:8080`` or ``localhost:8080``.

        Raises:
            ValueError: with words for the one who wrote it.

        """
        match = _ADDRESS.fullmatch(text)
        if match is None or int(match["port"]) > 65_535:
            raise ValueError('must be host:port such as "127.0.0.1:8080" or "[::1]:8080"')
        return cls((match["six"] or match["host"]).lower(), int(match["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def here(self) -> Self:
        """Where a caller on this machine reaches it: what listens everywhere, by loopback."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - a comparison
        return type(self)(host, self.port)

    @property
    def loopback(self) -> bool:
        """Whether only this machine (this pod) can reach it."""
        return is_loopback(self.host)

    def reaches(self, host: str, port: int) -> bool:
        """Whether a call to that host and port comes back to whoever listens here."""
        if not self.port or port != self.port:
            return False
        host = host.lower().rstrip(".")
        if host == self.host:
            return True
        here = is_loopback(host) or _is_any(host)
        return here and (self.loopback or _is_any(self.host))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its own account; a look-alike name is not."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def names_loopback(header: str) -> bool:
    """Whether a Host header (with or without its port) names this machine's loopback."""
    bare = header.endswith("]") or (header.count(":") > 1 and not header.startswith("["))  # IPv6 without a port
    host = header if bare else header.rpartition(":")[0] or header
    return is_loopback(host.strip("[]"))


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
