"""A limit for what may wait at one destination: refused or shed there, and nowhere else."""

from __future__ import annotations

import asyncio

import pytest

from tests.outboxes.kinds import KINDS, entry, ids, settled
from trackgate.backlog import BacklogPolicy
from trackgate.outbox import OutboxFull, Standing
from trackgate.units import Size

REFUSE = {"a": BacklogPolicy(max=Size(1_000))}
SHED = {"a": BacklogPolicy(max=Size(1_000), full="shed")}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request, tmp_path):
    return request.param(tmp_path)


def holds(kind, law, policies):
    async def run():
        box = await kind.open(backlogs=policies)
        try:
            await box.stand("a", Standing(state="parked"))
            await law(box)
        finally:
            await box.close()

    asyncio.run(run())


async def fill(box):
    """To the limit; the number of events that it took."""
    for number in range(100):
        if box.ledger().destinations["a"].backlog_bytes >= 1_000:
            return number
        await box.append([entry(number, "a", "b")])
    raise AssertionError("it never fills")


def test_a_full_destination_refuses_what_is_owed_to_it_whole_and_the_others_take_theirs(kind):
    async def law(box):
        number = await fill(box)
        with pytest.raises(OutboxFull) as refused:
            await box.append([entry(200, "b"), entry(201, "a", "b")])
        assert (refused.value.limit, str(refused.value)) == ("destination_backlog", "the backlog of a is full")
        assert kind.find("event-200") is None
        await box.append([entry(202, "b")])
        assert ids(await box.take("b", 99)) == [*map(str, range(number)), "202"]
        await box.settle(settled(await box.take("a", 1)))
        await box.append([entry(201, "a", "b")])
        assert box.healthy() is None

    holds(kind, law, REFUSE)


def test_a_full_destination_sheds_what_is_owed_to_it_and_the_others_take_theirs(kind):
    async def law(box):
        number = await fill(box)
        assert not (await box.append([entry(200, "a", "b"), entry(201, "a")]))[0].duplicate
        tally = box.ledger().destinations["a"]
        assert (tally.owed, tally.dead, tally.shed, tally.waiting) == (number + 2, 2, 2, number)
        assert (tally.backlog_limit, tally.backlog_full) == (1_000, "shed")
        found = kind.find("event-200")
        assert (found.fates, found.reasons) == ({"a": "dead", "b": "due"}, {"a": "shed"})
        assert ids(await box.take("b", 99)) == [*map(str, range(number)), "200"]
        await box.settle(settled(await box.take("a", 1)))
        await box.append([entry(202, "a")])
        assert ids(await box.take("a", 99)) == [*map(str, range(1, number)), "202"], "what was shed is passed over"
        assert not box.has_news("a")

    holds(kind, law, SHED)


def test_within_one_batch_the_limit_holds_too(kind):
    """All of a batch is stored; from the event on that finds the limit reached it is shed."""

    async def law(box):
        await box.append([entry(n, "a", "b") for n in range(50)])
        tally = box.ledger().destinations["a"]
        assert 1_000 <= tally.backlog_bytes < 1_200
        assert tally.owed == 50 == tally.dead + tally.waiting
        assert len(await box.take("b", 99)) == 50

    holds(kind, law, SHED)


def test_what_was_shed_stays_so_over_a_crash(kind):
    async def run():
        box = await kind.open(backlogs=SHED)
        await box.append([entry(n, "a") for n in range(20)])
        before = box.ledger().destinations["a"]
        kind.crash()
        await box.close()
        again = await kind.open(backlogs=SHED)
        assert again.ledger().destinations["a"] == before
        taken = await again.take("a", 99)
        assert len(taken) == before.waiting == 20 - before.shed
        await again.settle(settled(taken))
        assert again.ledger().destinations["a"].waiting == 0
        assert again.ledger().backlog_bytes == 0
        await again.close()

    asyncio.run(run())


def test_a_repeat_of_what_was_shed_is_a_repeat(kind):
    async def law(box):
        await fill(box)
        await box.append([entry(200, "a", key="k")])
        assert (await box.append([entry(201, "a", key="k")]))[0].duplicate
        assert box.ledger().destinations["a"].shed == 1

    holds(kind, law, SHED)
