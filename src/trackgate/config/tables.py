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
    """The gateway itself. Environment variables override the file: `TRACKGATE_MAX_BODY` sets `max_body`, and so on."""

    listen: str = "127.0.0.1:8080"
    """Address to listen on: `host:port`. Off loopback, every source needs a key."""
    data: Path = Path("data")
    """Directory of the outbox, created with mode 0700; relative to the working directory. Used by one gateway only."""
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    """Number of processes that accept and deliver. 1: a single process does everything. More (one per core): they share
    the incoming calls, each delivers to its own destinations, and a further process owns the outbox."""
    max_body: Annotated[Size, Meta(extra={"most": LARGEST_BODY})] = Size(2**20)
    """Largest request body, unless the vendor documents a limit of its own; at most 128MiB."""
    max_backlog: Size | None = None
    """How much may wait for delivery; beyond it, new events get a 503. Unset: half of the space that the data volume
    has for the outbox at startup (free space plus what the outbox already uses), at most 10GiB."""
    min_free: Annotated[Size, OrZero] = Size(64 * 2**20)
    """Free disk space below which new events get a 503, so that the backlog can still drain."""
    retention: Duration = Duration(7 * 86_400)
    """How long a settled event can still be found by its id. Less if the disk runs low, or once all stored events
    together exceed `max_backlog`: then the oldest settled events go first."""
    dead_retention: Duration = Duration(90 * 86_400)
    """How long a dead delivery can be inspected and retried; after that it counts as dropped. One that was shed is kept
    only while its event is: see `retention`."""
    dedupe_window: Duration = Duration(7 * 86_400)
    """How long a repeated id is recognized; at least `retention`. Unset: grows with `retention`."""
    accept_timeout: Duration = Duration(5)
    """How long a call waits for the disk before it gets a 503. Its events may be stored all the same."""
    header_timeout: Duration = Duration(10)
    """Time limit for receiving the headers."""
    body_timeout: Duration = Duration(30)
    """Time limit for receiving the body."""
    max_header_bytes: Size = Size(32 * 2**10)
    """Maximum size of the request headers."""
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 1024
    """Maximum open connections, shared equally between the workers; beyond it, callers get a 503."""
    grace: Annotated[Duration, OrZero] = Duration(20)
    """How long a shutdown (SIGTERM) waits for work in flight. Keep it below the platform's limit (Kubernetes: 30 s)."""
    read_token: Secret | None = None
    """Bearer token for reading over the operators' HTTP API, at `/-/`. With neither token set, the API is off; the
    command line on the gateway's machine needs no token."""
    act_token: Secret | None = None
    """Bearer token for reading and for making changes: `/-/dead/retry`, `/-/destinations/NAME/move`, ..."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """Log format. `auto`: `console` on a terminal, `json` elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level logged."""

    @property
    def address(self) -> Address:
        """``listen``, taken apart."""
        return Address.read(self.listen)


class SourceTable(Struct, frozen=True, kw_only=True):
    """Where events come from. A source answers at `/NAME/...` and at the vendor's own paths at the root."""

    vendor: str
    """The vendor whose format its callers use."""
    key: Secret | None = None
    """The key that callers present, in the vendor's own header."""
    keys: tuple[Secret, ...] = ()
    """Several accepted keys, for rotation; instead of `key`."""
    auth: Literal["key", "none"] = "key"
    """`none` accepts calls without a key; allowed only if `listen` is on loopback."""
    cors: tuple[str, ...] = ()
    """Origins of web pages that may call it, such as `https://app.example.com`."""


class Lossy(Struct, frozen=True, kw_only=True):
    """Conversion losses you accept."""

    allow: tuple[str, ...] = ()
    """Note codes, such as `name.changed`, that `check` no longer warns about."""


class DestinationTable(Struct, frozen=True, kw_only=True):
    """Where events go. The name identifies the queue: rename a destination, and what waits stays under the old name."""

    vendor: str
    """The vendor whose format to send."""
    key: Secret
    """The vendor's API key. A `${file:...}` is read again before each probe of a stopped destination."""
    url: str | None = None
    """Replaces the vendor's scheme, host and port, and may add a path prefix; the vendor's path is appended."""
    timeout: Duration = Duration(10)
    """Time limit for one call as a whole."""
    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 32
    """Maximum calls in flight."""
    rate: Rate | None = None
    """Maximum deliveries started per unit of time, such as `"600/min"`, spread evenly. Every attempt counts, including
    probes; a delivery that takes two calls counts once. Unset: limited by `concurrency` alone."""
    backlog: BacklogPolicy = BacklogPolicy()
    """Limit on what waits for it."""
    retry: RetryPolicy = RetryPolicy()
    """How failed deliveries are retried."""
    lossy: Lossy = Lossy()
    """Conversion losses you accept."""


class RouteTable(Struct, frozen=True, kw_only=True):
    """Which events go where. Routes add up: each destination named by any matching route gets the event once."""

    to: tuple[str, ...]
    """Destinations, by name."""
    name: str | None = None
    """Name shown by `explain`; `route-1`, `route-2`, ... if unset."""
    sources: tuple[str, ...] | None = field(default=None, name="from")
    """Sources, by name. Unset: every source."""
    match: Match = Match()
    """Conditions on the events. Unset: every event."""
