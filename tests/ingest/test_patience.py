"""An end to waiting: whoever is cut off learns why, and nobody else's cancellation is taken for it."""

from __future__ import annotations

import asyncio

import pytest

from trackgate.ingest.patience import Patience


def test_what_takes_too_long_is_cut_off():
    async def main():
        with Patience(0.01):
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_who_was_cut_off_goes_on_as_if_nothing_had_been():
    async def main():
        try:
            with Patience(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            await asyncio.sleep(0)
            task = asyncio.current_task()
            return task is not None and task.cancelling() == 0

    assert asyncio.run(main())


def test_what_ends_in_time_is_left_alone():
    async def main():
        with Patience(0.01):
            result = await asyncio.sleep(0, "done")
        await asyncio.sleep(0.05)
        return result

    assert asyncio.run(main()) == "done"


def test_an_error_in_time_is_itself():
    async def main():
        with Patience(30):
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(main())


def test_who_is_cancelled_by_somebody_else_is_cancelled_also_when_it_took_too_long():
    async def waits(seconds):
        with Patience(seconds):
            await asyncio.sleep(30)

    async def main(seconds):
        task = asyncio.create_task(waits(seconds))
        await asyncio.sleep(0)
        if seconds == 0:
            task.get_loop().call_soon(task.cancel)
            task.get_loop().call_soon(task.cancel)
        else:
            task.cancel()
        await task

    for seconds in (30, 0):
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main(seconds))
