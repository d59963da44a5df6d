"""The processes that take calls and deliver: whose each destination is, and which of them serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def works_at(place: int, workers: int) -> int:
    """The worker that delivers to the destination at this place in the configuration."""
    return place % workers


class Workers(Struct):
    """All of them. ``serving`` are the numbers of those that take calls and deliver now."""

    configured: int
    serving: set[int] = field(default_factory=set)
    ended: int = 0
    """How many have ended since the start."""

    def begin(self, number: int) -> None:
        """One serves."""
        self.serving.add(number)

    def end(self, number: int) -> None:
        """One has ended, whether it ever served or not."""
        self.serving.discard(number)
        self.ended += 1

    def unserved(self, destinations: Iterable[str]) -> Iterator[str]:
        """Of all destinations, in their order, those whose worker does not serve: what is owed to them waits."""
        for place, name in enumerate(destinations):
            if works_at(place, self.configured) not in self.serving:
                yield name
