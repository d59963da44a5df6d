"""``trackgate try``: one event through the running gateway, watched until it arrives."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import httpx

from trackgate.cli.configured import config_option, usable
from trackgate.curl import curl
from trackgate.data import directory
from trackgate.explain import going
from trackgate.headers import EVENT_ID, SANDBOX
from trackgate.outbox import OutboxError, Standing
from trackgate.outboxes.sqlite.reader import SqliteReader

if TYPE_CHECKING:
    from trackgate.config import Config
    from trackgate.model import Call
    from trackgate.outbox import Attempt, Found

SETTLED = frozenset({"delivered", "dead", "dropped"})
LOOK_EVERY = 0.05


@click.command("try", short_help="Send a sample event through the running gateway.")
@config_option
@click.option("--listen", metavar="HOST:PORT", help="The gateway's address; overrides TRACKGATE_LISTEN and the file.")
@click.option("--wait", default=10.0, show_default=True, metavar="SECONDS", help="How long to wait for the deliveries.")
@click.argument("source")
def try_source(path: Path, source: str, listen: str | None, wait: float) -> None:
    """Send SOURCE's documented sample event through the running gateway and watch it arrive.

    Exits 0 if every destination got it, 1 if the gateway refused it or a destination does not have it yet.
    """
    config = usable(path, {"listen": listen}, placeholders=True)
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
    data = directory(config.server.data, sandbox=SANDBOX in reply.headers)
    try:
        found, standings = _watch(data, event_id, wait)
    except OutboxError as error:
        click.echo(f"the event is stored, but cannot be watched from here: {error}", err=True)
        sys.exit(1)
    if found is None:
        click.echo(f"the outbox in {data} does not know the event; is --config that of the running gateway?", err=True)
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
        parts = [_fate(found, name, standings.get(name, Standing())), *_tries(found.attempts.get(name, ()))]
        if name in config.destinations:
            parts += dict.fromkeys(note.code for note in going(config.destinations[name], found.event).notes)
        click.echo(f"  {name:<16} {', '.join(parts)}")
    for name in sorted(found.filtered):
        click.echo(f"  {name:<16} filtered: no route lets this event through")
    return all(found.fates[name] == "delivered" for name in found.owed)


def _fate(found: Found, name: str, standing: Standing) -> str:
    fate = found.fates[name]
    if fate in SETTLED:
        return f"{fate} ({found.reasons[name]})" if name in found.reasons else fate
    if standing.state == "up":
        return "waits for its next try"
    return f"waits, the destination is {standing.state} ({standing.reason})"


def _tries(attempts: tuple[Attempt, ...]) -> list[str]:
    if not attempts:
        return []
    last = attempts[-1]
    count = f"{len(attempts)} {'try' if len(attempts) == 1 else 'tries'}"
    return [f"{last.status or last.reason} in {last.duration * 1000:.0f} ms at {last.at:%H:%M:%S}", count]
