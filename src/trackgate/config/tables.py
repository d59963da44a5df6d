"""``routes.toml`` as it is written: one Struct a table. Parsing, defaults, faults, schema and reference come from here.

A field's docstring is its line in the reference, its type its check. ``Meta(extra=...)`` says what a type cannot:
``zero`` (a duration or size may be zero), ``most`` (the largest that a size may be).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from trackgate.address import Address
from trackgate.backlog import BacklogPolicy
from trackgate.config.secret import Secret
from trackgate.retry import RetryPolicy
from trackgate.routing import Match
from trackgate.units import Duration, Rate, Size

LARGEST_BODY = Size(128 * 2**20)
"""What is stored of a body can be almost four times as long (`1e15` becomes `1000000000000000.0`), has to pass between
processes in one frame, and has to come back from SQLite in one piece, which may have 10^9 bytes: what is longer would
be taken and never delivered."""

OrZero = Meta(extra={"zero": True})

LATER = {
    "": frozenset({"shapes"}),
    "destinations": frozenset({"mode", "batch", "shape", "shapes"}),
    "routes": frozenset({"where", "consent", "since", "until", "cutover"}),
}
"""Keys that are spoken for, by the table that will take them (the top level is the empty one)."""


class Server(Struct, frozen=True, kw_only=True):
    """The gateway itself. Each key is a variable too (`max_body` is `TRACKGATE_MAX_BODY`), which wins over the file."""

    listen: str = "127.0.0.1:8080"
    """Where callers reach it: `host:port`. Off loopback every source needs a key."""
    data: Path = Path("data")
    """The directory of the outbox, made with mode 0700; relative to the working directory. One gateway each."""
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    """Processes that take calls and deliver. 1: one process does everything; more, on as many cores, share the calls,
    and each delivers to its own destinations, beside one that has the outbox."""
    max_body: Annotated[Size, Meta(extra={"most": LARGEST_BODY})] = Size(2**20)
    """The longest request body, where the vendor documents no limit of its own; at most 128MiB."""
    max_backlog: Size | None = None
    """How much may wait; beyond it new events get a 503. Unset: half of the space that the data volume has for the
    outbox at the start, free or filled by it, and at most 10GiB."""
    min_free: Annotated[Size, OrZero] = Size(64 * 2**20)
    """The free space below which new events get a 503, so that what waits can still flow out."""
    retention: Duration = Duration(7 * 86_400)
    """How long a settled event can still be found by its id."""
    dead_retention: Duration = Duration(90 * 86_400)
    """How long a dead delivery can still be looked at and tried again; then it is given up, and counted as dropped."""
    dedupe_window: Duration = Duration(7 * 86_400)
    """How long a repeat is known as one; at least `retention`, and grows with it where it is unset."""
    accept_timeout: Duration = Duration(5)
    """How long a call waits for the disk before it gets a 503."""
    header_timeout: Duration = Duration(10)
    """How long a caller may take over its headers."""
    body_timeout: Duration = Duration(30)
    """How long a caller may take over its body."""
    max_header_bytes: Size = Size(32 * 2**10)
    """The longest request head."""
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 1024
    """Connections that are open at a time, an equal share in each worker; more are turned away with a 503."""
    grace: Annotated[Duration, OrZero] = Duration(20)
    """How long SIGTERM waits for what is in flight. Less than what the platform allows (Kubernetes: 30 s)."""
    read_token: Secret | None = None
    """What operators show (`Authorization: Bearer ...`) to look at the gateway over HTTP, at `/-/`. Unset: they cannot;
    the commands beside the gateway need none."""
    act_token: Secret | None = None
    """As `read_token`, for what changes something too: `/-/dead/retry`, `/-/destinations/NAME/move`, ..."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged."""

    @property
    def address(self) -> Address:
        """``listen``, taken apart."""
        return Address.read(self.listen)


class SourceTable(Struct, frozen=True, kw_only=True):
    """What may come in. It answers at `/NAME/...` and at the vendor's own paths at the root."""

    vendor: str
    """The dialect that its callers speak."""
    key: Secret | None = None
    """What callers present, in the vendor's own header."""
    keys: tuple[Secret, ...] = ()
    """Several of them, while one is being replaced; instead of `key`."""
    auth: Literal["key", "none"] = "key"
    """`none` takes calls without a key, and only on a loopback `listen`."""
    cors: tuple[str, ...] = ()
    """Origins of web pages that may call it, such as `https://app.example.com`."""


class Lossy(Struct, frozen=True, kw_only=True):
    """Losses that are known."""

    allow: tuple[str, ...] = ()
    """Codes of notes (`name.changed`) that `check` need not warn of any more."""


class DestinationTable(Struct, frozen=True, kw_only=True):
    """Where events go. The name is the durable key: what waits in the outbox waits for it."""

    vendor: str
    """The dialect to speak."""
    key: Secret
    """The vendor's API key. A `${file:...}` is read again whenever a rotated key may have arrived."""
    url: str | None = None
    """Replaces the vendor's scheme, host and port and may add a path prefix; the vendor's path follows it."""
    timeout: Duration = Duration(10)
    """How long one call may take, all told."""
    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 32
    """The most calls in flight."""
    rate: Rate | None = None
    """The most deliveries that are started in a time, such as `"600/min"`, evenly spread. A delivery that takes two
    calls counts once; each try counts, a probe too. Unset: as many as `concurrency` allows."""
    backlog: BacklogPolicy = BacklogPolicy()
    """How much may wait for it."""
    retry: RetryPolicy = RetryPolicy()
    """How failures are met."""
    lossy: Lossy = Lossy()
    """Which losses are known."""


class RouteTable(Struct, frozen=True, kw_only=True):
    """Which events go where. Routes are a union: several that match give one delivery for each destination."""

    to: tuple[str, ...]
    """Names of destinations."""
    name: str | None = None
    """For logs and `explain`; `route-1`, `route-2`, ... where unset."""
    sources: tuple[str, ...] | None = field(default=None, name="from")
    """Names of sources; unset: every source."""
    match: Match = Match()
    """Which events; unset: every event."""
