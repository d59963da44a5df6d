"""What today's configuration would send in the place of what was sent."""

from __future__ import annotations

from difflib import unified_diff
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from trackgate.headers import EVENT_ID, HOPS
from trackgate.masking import MaskedCall, masked
from trackgate.model import Unsupported
from trackgate.operate.answers import Difference

if TYPE_CHECKING:
    from trackgate.archive import Autopsy
    from trackgate.config import Destination
    from trackgate.model import Call

OURS = frozenset({EVENT_ID, HOPS})
"""Headers that every call to an upstream carries, whatever the configuration says."""


def rehearse(autopsy: Autopsy, destination: Destination | None) -> Difference:
    """The difference for one dead delivery; ``destination`` is ``None`` where it is configured no more."""
    as_sent = None if autopsy.request is None else msgspec.json.decode(autopsy.request, type=MaskedCall)
    if destination is None:
        return Difference(as_sent=as_sent, today=(), obstacle="the destination is not in routes.toml", diff="")
    if autopsy.event is None:
        return Difference(as_sent=as_sent, today=(), obstacle="what is stored of the event is damaged", diff="")
    try:
        calls = destination.vendor.encode(autopsy.event, destination.target()).calls
    except Unsupported as unsupported:
        return Difference(as_sent=as_sent, today=(), obstacle=f"{unsupported.reason}: {unsupported.detail}", diff="")
    except OSError as error:  # a secret's file
        return Difference(as_sent=as_sent, today=(), obstacle=str(error), diff="")
    except Exception as error:  # noqa: BLE001 - a bug in a dialect may be why it is dead: told, as the way out does
        return Difference(as_sent=as_sent, today=(), obstacle=f"encode_failed: {type(error).__name__}", diff="")
    today = tuple(masked(call, destination.vendor.credentials(call.headers)) for call in calls)
    return Difference(
        as_sent=as_sent, today=today, obstacle=None, diff=_diff(as_sent, _same_step(autopsy, calls, today))
    )


def _same_step(autopsy: Autopsy, calls: tuple[Call, ...], today: tuple[MaskedCall, ...]) -> tuple[MaskedCall, ...]:
    """Of today's calls the one in the place of the one that was sent; all of them where that is unclear."""
    step = autopsy.attempts[-1].step if autopsy.attempts else None
    return tuple(shown for call, shown in zip(calls, today, strict=True) if call.step == step) or today


def _diff(as_sent: MaskedCall | None, today: tuple[MaskedCall, ...]) -> str:
    before = [] if as_sent is None else written(as_sent)
    after = [line for call in today for line in written(call)]
    return "\n".join(unified_diff(before, after, "as sent", "today", lineterm=""))


def written(call: MaskedCall) -> list[str]:
    """A call as lines, its JSON spread out, without what Trackgate marks every call with."""
    call = replace(call, headers={name: value for name, value in call.headers.items() if name not in OURS})
    try:
        body = msgspec.json.format(call.body.encode()).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        body = call.body
    headers = [f"{name}: {value}" for name, value in sorted(call.headers.items())]
    return [f"{call.method} {call.url}", *headers, "", *body.splitlines()]
