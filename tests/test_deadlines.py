"""Many deadlines on one timer."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulated import simulate
from trackgate.deadlines import Deadlines


async def ends(deadlines: Deadlines, seconds: float, takes: float) -> float | str:
    """When a block ended by itself, in simulated seconds from now, or that it was cut off and when."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        with deadlines.within(seconds):
            await asyncio.sleep(takes)
    except TimeoutError:
        return f"late after {loop.time() - begun:.0f}"
    return round(loop.time() - begun)


def test_each_block_is_cut_off_at_its_own_time_whatever_the_others_have():
    async def main() -> list[float | str]:
        deadlines = Deadlines()
        first = [ends(deadlines, seconds, takes) for seconds, takes in ((50, 99), (10, 99), (50, 20), (10, 5))]
        running = asyncio.gather(*first)
        await asyncio.sleep(7)
        return [*await asyncio.gather(ends(deadlines, 1, 99), ends(deadlines, 50, 60)), *await running]

    assert simulate(main()) == ["late after 1", "late after 50", "late after 50", "late after 10", 20, 5]


def test_those_that_end_in_time_share_a_timer(monkeypatch):
    async def main() -> int:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines()
        timers = 0
        set_one = loop.call_at

        def counted(*arguments, **named):
            nonlocal timers
            timers += arguments[1].__name__ == "_expire"
            return set_one(*arguments, **named)

        monkeypatch.setattr(loop, "call_at", counted)
        for _ in range(100):
            await asyncio.gather(*(ends(deadlines, 60, 1) for _ in range(10)))
        assert await ends(deadlines, 60, 99) == "late after 60"
        return timers

    assert simulate(main()) < 10


def test_an_error_in_time_is_itself():
    async def main() -> None:
        with Deadlines().within(60):
            raise LookupError

    with pytest.raises(LookupError):
        simulate(main())


def test_who_is_cancelled_by_somebody_else_is_cancelled_though_the_time_is_over_too():
    async def main() -> None:
        deadlines = Deadlines()
        task = asyncio.ensure_future(ends(deadlines, 10, 99))
        await asyncio.sleep(1)
        (running,) = deadlines._running
        running.expire()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    simulate(main())


def test_a_task_that_was_cut_off_is_not_taken_for_cancelled_afterwards():
    async def main() -> int:
        deadlines = Deadlines()
        assert await ends(deadlines, 1, 99) == "late after 1"
        await asyncio.sleep(1)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert simulate(main()) == 0
