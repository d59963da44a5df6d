"""What a destination's window remembers."""

from __future__ import annotations

import asyncio

from tests.outboxes.kinds import Sqlite, entry
from trackgate.deliver.window import Window


def test_lanes_that_come_to_be_held_are_remembered_only_while_something_is_being_taken(tmp_path):
    """Or a day of failures would be a day of lanes in memory."""
    kind = Sqlite(tmp_path)

    async def run() -> None:
        outbox = await kind.open()
        await outbox.append([entry(number, "there") for number in range(1, 100)])
        window = Window("there", outbox, kind.clock, 600.0, outbox.settle)
        await window.fill()
        while delivery := window.lanes.start():
            await window.hold_followers([delivery])
            assert not window._overtaken
        await outbox.close()

    asyncio.run(run())
