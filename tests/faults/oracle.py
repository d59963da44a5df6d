"""What is sent, and what each destination must get for it, from a seed and a number: nothing of the program's is used.

An event is a pure function of the seed and its number, so whoever sees its mark come in anywhere can say by itself what
the whole body must be. The shapes stand in ``dialects``, written by hand from the vendors' documents.
"""

from __future__ import annotations

import random
import re
from hashlib import blake2b
from typing import Any

from msgspec import Struct

DIALECTS = ("userpilot", "flywheel", "thrivestack", "appizer")

NAMES = ("order_placed", "page-viewed", "Signed_Up", "x")
TEXTS = ("plain", "snö och regn", "你好 世界", 'quo"ted \\ and\nbroken', "\U0001f600\U0001f9d1\u200d\U0001f680", "")
LONGEST = 4_000
"""Characters of the longest property: in any case less than the 10 KB that the strictest vendor takes."""
DAY = "2026-03-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}Z"


class Minted(Struct, frozen=True, kw_only=True):
    """An event to send, in no dialect yet.

    ``properties`` are as a dialect that takes any JSON says them, ``flat`` the same as one that takes plain values
    only must hear them. ``number`` grows from call to call of one user.
    """

    mark: str
    number: int
    source: str
    name: str
    user: str
    properties: dict[str, Any]
    flat: dict[str, Any]
    timestamp: str | None
    """Only where the source's dialect has a place for it."""
    event_id: str | None
    group: str | None


class Oracle:
    """Mints events. ``users`` is how many each of the ``workers`` has: a user's events are all one worker's."""

    def __init__(self, seed: str, *, workers: int = 1, users: int = 25) -> None:
        self.seed = seed
        self._workers = workers
        self._users = users
        self._mark = re.compile(rf"{re.escape(seed)}-(\d+)")

    def mint(self, number: int) -> Minted:
        """The event with this number, always the same."""
        dice = random.Random(f"{self.seed}/{number}")
        mark = f"{self.seed}-{number}"
        source = dice.choice(DIALECTS)
        said, flat = _properties(dice, mark, number, plain=source == "flywheel")
        return Minted(
            mark=mark,
            number=number,
            source=source,
            name=dice.choice(NAMES),
            user=f"user-{number % self._workers}-{dice.randrange(self._users)}",
            properties=said,
            flat=flat,
            timestamp=_moment(dice) if source in {"flywheel", "thrivestack"} and dice.random() < 0.7 else None,
            event_id=f"id-{mark}" if source == "flywheel" and dice.random() < 0.7 else None,
            group=f"group-{dice.randrange(9)}" if source == "thrivestack" and dice.random() < 0.7 else None,
        )

    def number_of(self, mark: object) -> int | None:
        """Which event bears this mark; ``None`` for a mark that this oracle never made."""
        found = self._mark.fullmatch(mark) if isinstance(mark, str) else None
        return int(found[1]) if found else None


def _properties(dice: random.Random, mark: str, number: int, *, plain: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same twice: as any JSON, and as plain values."""
    both: dict[str, Any] = {
        "mark": mark,
        "n": number,
        "digest": blake2b(mark.encode(), digest_size=12).hexdigest(),
        "text": dice.choice(TEXTS),
        "on": dice.random() < 0.5,
        "share": dice.randrange(1, 8) / 8,
    }
    if dice.random() < 0.1:
        both["long"] = dice.choice("abcxyz") * dice.randrange(1_000, LONGEST)
    if plain or dice.random() < 0.5:
        return both, dict(both)
    nested = {"cart": {"items": {"count": number % 7}}, "list": [number, "two", True]}
    return {**both, **nested}, {**both, "cart.items.count": number % 7, "list": f'[{number},"two",true]'}


def _moment(dice: random.Random) -> str:
    return DAY.format(
        day=dice.randrange(1, 28), hour=dice.randrange(24), minute=dice.randrange(60), second=dice.randrange(60)
    )
