"""The end of the log beyond a backlog, and which lanes of it have to wait: what lets live events go ahead.

The lanes that wait are remembered in a fixed number of bits, whatever the backlog: a lane that is taken for another's
only waits for its turn. It is in memory alone and made anew after a start.
"""

from __future__ import annotations

BITS = 16
"""Bits for each event of the backlog: one lane in 200 is taken for another's (more beyond two million events)."""
SHIFTS = (0, 20, 40)
"""Each lane, which is a hash, sets the bits that three parts of it name."""
LEAST_BYTES = 4 * 2**10
MOST_BYTES = 4 * 2**20


class Waiting:
    """Lanes, remembered in bits: one that was added is always known, another is now and then taken for it."""

    def __init__(self, number: int) -> None:
        size = min(max(number * BITS // 8, LEAST_BYTES), MOST_BYTES)
        self._bits = bytearray(1 << (size - 1).bit_length())
        self._mask = len(self._bits) * 8 - 1

    def add(self, lane: int) -> None:
        """Remember a lane."""
        for shift in SHIFTS:
            bit = lane >> shift & self._mask
            self._bits[bit >> 3] |= 1 << (bit & 7)

    def __contains__(self, lane: int) -> bool:
        """Whether a lane was added (or might have been)."""
        for shift in SHIFTS:
            bit = lane >> shift & self._mask
            if not self._bits[bit >> 3] & 1 << (bit & 7):
                return False
        return True


class Tail:
    """What a destination is owed beyond its backlog.

    ``fresh`` are the lanes that wait with something that was never handed out, ``given_back`` those with something
    that was, and came back.

    Args:
        cursor: everything up to here was handed out.
        mark: the end of the backlog: the end of the log now.
        number: how many events the backlog has.

    """

    def __init__(self, cursor: int, mark: int, number: int) -> None:
        self.mark = mark
        self.read = cursor
        """The lanes of the backlog are known up to here; ``mark`` once all are."""
        self.reached = mark
        """What comes later was not looked at yet."""
        self.returned = True
        """Whether something that was handed out ahead may have been given back."""
        self.fresh = Waiting(number)
        self.given_back = Waiting(number)
        self._left = number / 2

    @property
    def known(self) -> bool:
        """Whether all lanes of the backlog are known, so that something can go ahead."""
        return self.read >= self.mark

    @property
    def worn(self) -> bool:
        """Whether half of the backlog was handed out since: many of the lanes that wait need not any more."""
        return self._left <= 0

    def stopped_at(self, seq: int, *, returned: bool) -> None:
        """Not all that was found was handed out, because it is large: look again at what comes after ``seq``."""
        if returned:
            self.returned = True
        else:
            self.reached = seq

    def drained(self, number: int) -> None:
        """So many events of the backlog were handed out."""
        self._left -= number
