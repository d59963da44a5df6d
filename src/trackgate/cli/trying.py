"""``trackgate try``: one event through the running gateway, watched until it arrives."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import httpx

from trackgate.cli.configured import config_option, usable
from trackgate.cli.tables import count, tried
from trackgate.curl import curl
from trackgate.data import directory
from trackgate.explain import going, kept_out
from trackgate.headers import EVENT_ID, SANDBOX
from trackgate.outbox import OutboxError, Standing
from trackgate.outboxes.sqlite.reader import SqliteReader

if TYPE_CHECKING:
    from trackgate.config import Config
    from trackgate.model import Call
    from trackgate.outbox import Found

SETTLED = frozenset({"delivered", "dead", "dropped"})
LOOK_EVERY = 0.05
ITS_DATA = "give --data DIR, the directory that the running gateway was given, or its --config"


@click.command("try", short_help="Send a sample event through the running gateway.")
@config_option
@click.option("--listen", metavar="HOST:PORT", help="The gateway's address; overrides TRACKGATE_LISTEN and the file.")
@click.option("--data", metavar="DIR", help="The gateway's data directory; overrides TRACKGATE_DATA and the file.")
@click.option("--wait", default=10.0, show_default=True, metavar="SECONDS", help="How long to wait for the deliveries.")
@click.argument("source")
def try_source(path: Path, source: str, listen: str | None, data: str | None, wait: float) -> None:
    """Send SOURCE's documented sample event through the running gateway and watch it arrive.

    Exits 0 if every destination got it, 1 if the gateway refused it or a destination does not have it yet.
    """
    config = usable(path, {"listen": listen, "data": data}, placeholders=True)
    if source not in config.sources:
        message = f"there is no source {source!r}; there are {', '.join(config.sources)}"
        raise click.BadParameter(message, param_hint="SOURCE")
    call = _sample(config, source)
    reply = _post(call)
    click.echo(f"< {reply.status_code} {reply.reason_phrase}")
    if reply.text:
        click.echo(f"  {reply.text}")
    if not reply.is_success:
        sys.exit(1)
    event_id = reply.headers.get(EVENT_ID)
    if event_id is None:
        click.echo(f"{call.url} is answered by something that is not Trackgate", err=True)
        sys.exit(1)
    click.echo(f"  event {event_id}")
    outbox = directory(config.server.data, sandbox=SANDBOX in reply.headers)
    try:
        found, standings = _watch(outbox, event_id, wait)
    except OutboxError as error:
        click.echo(f"the event is stored, but cannot be watched from here: {error}\n{ITS_DATA}", err=True)
        sys.exit(1)
    if found is None:
        click.echo(f"the event is stored, but not in {outbox}: {ITS_DATA}", err=True)
        sys.exit(1)
    sys.exit(0 if _tell(config, found, standings) else 1)


def _sample(config: Config, source: str) -> Call:
    keys = config.sources[source].keys
    url = f"http://{config.server.address.here}/{source}"
    call = config.sources[source].vendor.sample(url, keys[0].value() if keys else "ANY_KEY")
    shown = config.sources[source].vendor.sample(url, "KEY")
    click.echo(f"> {curl(shown)}")
    return call


def _post(call: Call) -> httpx.Response:
    try:
        return httpx.post(call.url, headers=call.headers, content=call.body, trust_env=False, timeout=10)
    except httpx.HTTPError as error:
        click.echo(f"nobody answers at {call.url}: {error}; start the gateway first (trackgate serve)", err=True)
        sys.exit(1)


def _watch(data: Path, event_id: str, wait: float) -> tuple[Found | None, dict[str, Standing]]:
    """The event and how the destinations stand, once every delivery is settled or the time is up."""
    end = time.monotonic() + wait
    with SqliteReader(data) as reader:
        while True:
            found = reader.find(event_id)
            settled = found is not None and all(found.fates[name] in SETTLED for name in found.owed)
            if settled or time.monotonic() > end:
                return found, {name: tally.standing for name, tally in reader.ledger().destinations.items()}
            time.sleep(LOOK_EVERY)


def _tell(config: Config, found: Found, standings: dict[str, Standing]) -> bool:
    """One line a destination; whether all of them have it."""
    for name in sorted(found.owed):
        parts = [_fate(found, name, standings.get(name, Standing()))]
        if attempts := found.attempts.get(name):
            parts += [tried(attempts[-1]), count(len(attempts), "try", "tries")]
        if name in config.destinations:
            parts += dict.fromkeys(note.code for note in going(config.destinations[name], found.event).notes)
        click.echo(f"  {name:<16} {', '.join(parts)}")
    for name in sorted(found.filtered):
        why = f": {kept_out(config.destinations[name], found.event)}" if name in config.destinations else ""
        click.echo(f"  {name:<16} filtered{why}")
    return all(found.fates[name] == "delivered" for name in found.owed)


def _fate(found: Found, name: str, standing: Standing) -> str:
    fate = found.fates[name]
    if fate in SETTLED:
        return f"{fate} ({found.reasons[name]})" if name in found.reasons else fate
    if standing.state == "up":
        return "waits for its next try"
    return f"waits, the destination is {standing.state} ({standing.reason})"
