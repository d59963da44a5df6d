"""What changes many deliveries does so a bounded piece at a time: progress shows, and Ctrl-C loses nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from trackgate.cli.tables import count

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PIECE = 1000


async def in_pieces(
    step: Callable[[int], Awaitable[int]], done: str, *, most: int | None = None, piece: int = PIECE, pause: float = 0.0
) -> int:
    """Repeat ``step``, which takes a limit and says how much it did, until it says 0; returns how much in all.

    Args:
        step: one bounded call.
        done: what to call what was done.
        most: not more than this in all (what comes back meanwhile is not taken up again).
        piece: the limit of one call.
        pause: seconds between two.

    """
    total = 0
    try:
        while most is None or total < most:
            number = await step(piece if most is None else min(piece, most - total))
            if not number:
                break
            total += number
            if most is None or total < most:
                click.echo(f"{count(total)}{'' if most is None else f' of {count(most)}'} {done} ...", err=True)
                await asyncio.sleep(pause)
    except asyncio.CancelledError:
        click.echo(f"stopped: {count(total)} {done}; the same command does the rest", err=True)
        raise
    return total
