"""The configuration as the program uses it: one immutable value, every name resolved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from trackgate.backlog import BacklogPolicy
from trackgate.config.secret import Secret
from trackgate.config.tables import Lossy, Server
from trackgate.model import Event
from trackgate.retry import RetryPolicy
from trackgate.routing import Route
from trackgate.units import Duration, Rate
from trackgate.vendor import Options, Target, Vendor


class Source(Struct, frozen=True, kw_only=True):
    """Where events come from. ``keys`` is empty where ``keyless``."""

    name: str
    vendor: Vendor
    keys: tuple[Secret, ...] = ()
    auth: str = "key"
    cors: tuple[str, ...] = ()

    @property
    def keyless(self) -> bool:
        """Whether it takes calls without a key."""
        return self.auth == "none"


class Destination(Struct, frozen=True, kw_only=True):
    """Where events go. ``url`` is a base URL without a trailing slash; the vendor's path follows it."""

    name: str
    vendor: Vendor
    url: str
    key: Secret
    options: Options
    reread: Mapping[str, Secret] = {}
    """Options that come from files, by field."""
    timeout: Duration = Duration(10)
    concurrency: int = 32
    rate: Rate | None = None
    backlog: BacklogPolicy = BacklogPolicy()
    retry: RetryPolicy = RetryPolicy()
    lossy: Lossy = Lossy()
    at_start: Target | None = None
    """What ``target`` said at the program's start, where processes are started later that need it."""

    def target(self) -> Target:
        """What the vendor needs to address a call, secret files read anew.

        Raises:
            SecretUnreadable: (an ``OSError``) a file is gone, empty or unfit; the message names it.

        """
        fresh = {field: secret.credential() for field, secret in self.reread.items()}
        return Target(url=self.url, key=self.key.credential(), options=replace(self.options, **fresh))

    def known_target(self) -> Target | None:
        """What it said at the program's start, for a process that starts when a secret file is gone."""
        return self.at_start and replace(self.at_start, url=self.url)

    def filters(self, event: Event) -> bool:
        """Whether its options ask not to be owed this event."""
        return self.vendor.filters(event, self.options)

    def __repr__(self) -> str:
        """Without the options, which may hold a secret."""
        return f"Destination({self.name!r}, {self.vendor.name!r})"


class Config(Struct, frozen=True, kw_only=True):
    """Everything that ``routes.toml``, the variables and the flags say. A reload is another one of these."""

    server: Server
    sources: Mapping[str, Source]
    destinations: Mapping[str, Destination]
    routes: tuple[Route, ...]
    path: Path

    def with_secrets_as_they_are(self) -> Config:
        """All secrets read, for all processes and for those that take their places.

        What callers and operators show is read this once: else one that is replaced would know a new key. What is shown
        to destinations is read again; it is remembered in case that it cannot be.

        Raises:
            SecretUnreadable: a file is gone, or empty.

        """
        sources = {
            name: replace(source, keys=tuple(Secret(key.value()) for key in source.keys))
            for name, source in self.sources.items()
        }
        destinations = {name: replace(one, at_start=one.target()) for name, one in self.destinations.items()}
        tokens = self.server.read_token, self.server.act_token
        read, act = (token and Secret(token.credential()) for token in tokens)
        server = replace(self.server, read_token=read, act_token=act)
        return replace(self, sources=sources, destinations=destinations, server=server)
