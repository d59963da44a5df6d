"""``trackgate resume``, ``move`` and ``drop``: what is done to a destination as a whole."""

from __future__ import annotations

import sys
from urllib.parse import quote

import click

from trackgate.cli.chunks import in_pieces
from trackgate.cli.control import FAILED, Failed, Operators, Where, operate, operated, show
from trackgate.cli.tables import count
from trackgate.operate.answers import Dropped, Moved, Resumed

AFTER_MOVE = "what {new} was owed already is not sent twice; watch them go: trackgate status"


@click.command(short_help="Probe a stopped destination now, or end a pause.")
@operated
@click.argument("destination")
def resume(where: Where, destination: str) -> None:
    """Probe a destination that is down or parked now, or end its pause (Retry-After), and report its state.

    Without a running gateway, the destination will start as up, without a pause. Exits 1 if it is still not up, or if
    its vendor asks for another pause.
    """

    async def order(operators: Operators) -> Resumed:
        return await operators.post(f"{_path(destination)}/resume", Resumed)

    answer = operate(where, order, changes=True)
    show(where, answer, lambda: answer.message)
    sys.exit(0 if answer.state == "up" and answer.paused_until is None else FAILED)


@click.command(short_help="Move a removed destination's queue to another.")
@operated
@click.argument("old")
@click.argument("new")
def move(where: Where, old: str, new: str) -> None:
    """Move what waits or is dead at OLD to NEW. OLD must be gone from routes.toml; NEW must be in it.

    Ctrl-C loses nothing: run the same command again to continue.
    """

    async def order(operators: Operators) -> Moved:
        async def step(limit: int) -> int:
            return (await operators.post(f"{_path(old)}/move", Moved, to=new, limit=limit)).moved

        moved = await in_pieces(step, f"moved to {new}")
        if not moved:
            raise Failed(f"nothing waits and nothing is dead at {old}: there was nothing to move")
        return Moved(moved=moved)

    answer = operate(where, order, changes=True)
    show(
        where, answer, lambda: f"{count(answer.moved, 'event')} moved from {old} to {new}; {AFTER_MOVE.format(new=new)}"
    )


@click.command(short_help="Give up a removed destination's queue.")
@operated
@click.option("--yes", is_flag=True, help="Confirm: what is dropped is never sent.")
@click.argument("destination")
def drop(where: Where, destination: str, *, yes: bool) -> None:
    """Give up what waits at DESTINATION, which must be gone from routes.toml. For its dead: `trackgate dead drop`."""

    async def order(operators: Operators) -> Dropped:
        path = f"{_path(destination)}/drop"

        async def step(limit: int) -> int:
            return (await operators.post(path, Dropped, yes=True, limit=limit)).dropped

        waiting = (await operators.post(path, Dropped)).selected or 0
        if not waiting:
            raise Failed(f"nothing waits at {destination}: there was nothing to drop")
        if not yes:
            raise Failed(f"{count(waiting, 'event')} would be given up at {destination}, for good: add --yes to do it")
        return Dropped(dropped=await in_pieces(step, "dropped"), selected=waiting)

    answer = operate(where, order, changes=yes)
    show(where, answer, lambda: f"{count(answer.dropped, 'event')} dropped at {destination}")


def _path(destination: str) -> str:
    if "/" in destination:  # a slash would be read as the end of the name, escaped or not
        raise Failed(f"There is no destination {destination!r}: a name has no slash")
    return f"/-/destinations/{quote(destination, safe='')}"
