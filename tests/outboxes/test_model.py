"""Any sequence of calls, kills between any two of them included, does what a few dicts in memory would do."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from msgspec import Struct

from tests.faults.verdicts import LONG, Verdict, long_form, write_down
from tests.outboxes.kinds import KINDS, Sqlite, entry, settled
from trackgate.outbox import Dead, Delivery, Done, Fate, Held, OwnedOutbox, Selection, Settlement
from trackgate.outboxes.sqlite import live as sqlite_live

NAMES = ("a", "b", "c")

EVERYTHING = 1000
"""More than there ever is."""

MILLION = 1_000_000
"""Steps of the long form, at least."""

LONG_SCRIPTS = 100
"""Between two seeds of the long form."""

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of a random name is made in it
"""A file system that is none on a disk, where the machine has one."""

Script = list[tuple[Any, ...]]
"""Steps: the name of a method of ``Run``, and its arguments."""


class Row(Struct):
    """A delivery that the cursor has passed and nobody has settled."""

    lane: int
    hand: bool = False
    held: bool = False
    aside: bool = False
    due: datetime | None = None
    attempts: int = 0

    @property
    def holds(self) -> bool:
        return self.held and not self.aside


class Place:
    """One destination of the model."""

    def __init__(self, now: Any) -> None:
        self.now = now
        self.fresh: dict[int, int] = {}
        self.rows: dict[int, Row] = {}
        self.owed = 0
        self.delivered: list[int] = []
        self.dead: dict[int, tuple[int, str]] = {}
        self.dropped: set[int] = set()

    def news(self) -> bool:
        return bool(self.fresh) or any(not row.held and not row.hand for row in self.rows.values())

    def take(self, limit: int) -> list[tuple[int, int]]:
        while self.news():
            returned = [seq for seq, row in self.rows.items() if not row.held and not row.hand]
            chosen = sorted([*returned, *self.fresh])[:limit]
            holding = {row.lane for row in self.rows.values() if row.holds}
            for seq in chosen:
                if seq in self.fresh:
                    self.rows[seq] = Row(lane=self.fresh.pop(seq))
                self.rows[seq].held = self.rows[seq].lane in holding
            self.order()
            if taken := [seq for seq in chosen if not self.rows[seq].held]:
                return self.hand_out(taken)
        return []

    def take_live(self, taken: list[Delivery], joined: list[int]) -> None:
        """What was handed out ahead, and what joined its lane's held instead, may each have gone."""
        for seq in sorted([*joined, *(one.seq for one in taken)]):
            lane = self.fresh[seq] if seq in self.fresh else self.rows[seq].lane
            holding = any(row.lane == lane and row.holds for row in self.rows.values())
            assert holding == (seq in joined)
            if seq in self.fresh:
                self.rows[seq] = Row(lane=self.fresh.pop(seq))
            row = self.rows[seq]
            assert not row.hand
            assert not row.held
            older = {**self.fresh, **{n: one.lane for n, one in self.rows.items() if not one.hand and not one.held}}
            row.held = seq in joined
            if not row.held:
                assert not any(n < seq and other == lane for n, other in older.items()), "it overtook its own"
                self.hand_out([seq])
        self.order()

    def take_held(self, limit: int, *, undue: bool) -> list[tuple[int, int]]:
        if undue:
            return self.hand_out(sorted(sorted(self.ready(), key=self.due)[:limit]))
        return self.hand_out([seq for seq in self.ready() if self.due(seq) <= self.now()][:limit])

    def ready(self) -> list[int]:
        return sorted(seq for seq, row in self.rows.items() if row.held and not row.hand and row.due)

    def due(self, seq: int) -> datetime:
        due = self.rows[seq].due
        assert due is not None
        return due

    def next_due(self) -> datetime | None:
        return min(map(self.due, self.ready()), default=None)

    def hand_out(self, seqs: list[int]) -> list[tuple[int, int]]:
        for seq in seqs:
            self.rows[seq].hand = True
            self.rows[seq].attempts += 1
        return [(seq, self.rows[seq].attempts - 1) for seq in seqs]

    def claims(self, delivery: Delivery) -> bool:
        row = self.rows.get(delivery.seq)
        return row is not None and row.hand and (row.held, row.attempts - 1) == (delivery.held, delivery.attempts)

    def settle(self, delivery: Delivery, fate: Fate) -> None:
        if not self.claims(delivery):
            return
        match fate:
            case Done():
                self.delivered.append(delivery.seq)
                del self.rows[delivery.seq]
            case Dead():
                self.dead[delivery.seq] = (self.rows.pop(delivery.seq).lane, fate.reason)
            case Held():
                due = fate.due or (self.now() if fate.aside else None)
                self.rows[delivery.seq] = Row(delivery.lane, False, True, fate.aside, due, fate.attempts)

    def give_back(self, delivery: Delivery) -> None:
        if self.claims(delivery):
            self.rows[delivery.seq].hand = False
            self.rows[delivery.seq].attempts -= 1

    def crash(self) -> None:
        for row in self.rows.values():
            row.hand = False

    def chosen(self, reason: str | None, limit: int) -> list[int]:
        return [seq for seq in sorted(self.dead) if reason in {None, self.dead[seq][1]}][:limit]

    def retry_dead(self, reason: str | None, limit: int) -> int:
        chosen = self.chosen(reason, limit)
        for seq in chosen:
            lane, _ = self.dead.pop(seq)
            self.rows[seq] = Row(lane, held=True)
        self.order()
        return len(chosen)

    def drop_dead(self, reason: str | None, limit: int) -> int:
        chosen = self.chosen(reason, limit)
        for seq in chosen:
            del self.dead[seq]
        self.dropped.update(chosen)
        return len(chosen)

    def waiting(self, limit: int) -> list[int]:
        return sorted([*self.fresh, *(seq for seq, row in self.rows.items() if not row.hand)])[:limit]

    def leave(self, seq: int) -> int:
        """It waits here no more; its lane."""
        return self.fresh.pop(seq) if seq in self.fresh else self.rows.pop(seq).lane

    def drop_waiting(self, limit: int) -> int:
        chosen = self.waiting(limit)
        for seq in chosen:
            self.leave(seq)
        self.dropped.update(chosen)
        self.order()
        return len(chosen)

    def move_to(self, new: Place, limit: int) -> int:
        waiting = self.waiting(limit)
        dead = self.chosen(None, limit - len(waiting))
        for seq in waiting:
            lane = self.leave(seq)
            if self.hand_over(seq, new):
                new.fresh[seq] = lane
        for seq in dead:
            died = self.dead.pop(seq)
            if self.hand_over(seq, new):
                new.dead[seq] = died
        self.order()
        return len(waiting) + len(dead)

    def hand_over(self, seq: int, new: Place) -> bool:
        """Owe it there in the place of here; whether it was not owed there already."""
        if seq in new.fresh or seq in new.rows or seq in new.delivered or seq in new.dead:
            self.dropped.add(seq)
            return False
        self.owed -= 1
        new.owed += seq not in new.dropped
        new.dropped.discard(seq)
        return True

    def fate(self, seq: int) -> str | None:
        """As ``Found`` says it; ``None`` where it is not owed."""
        if seq in self.fresh:
            return "due"
        if seq in self.rows:
            return "held" if self.rows[seq].held else "due"
        fates = {"delivered": self.delivered, "dead": self.dead, "dropped": self.dropped}
        return next((fate for fate, seqs in fates.items() if seq in seqs), None)

    def order(self) -> None:
        """Only the first of a lane has a due time."""
        lanes = defaultdict(list)
        for seq, row in sorted(self.rows.items()):
            if row.holds:
                lanes[row.lane].append(self.rows[seq])
        for first, *others in lanes.values():
            first.due = first.due or self.now()
            for row in others:
                row.due = None


fates = st.one_of(
    st.just(Done()),
    st.sampled_from([Dead("bad"), Dead("worse")]),
    st.tuples(st.one_of(st.none(), st.integers(0, 20)), st.booleans()),
)
names = st.sampled_from(NAMES)
reasons = st.sampled_from([None, "bad", "worse"])
limits = st.sampled_from([1, 2, 3, EVERYTHING])
steps = st.one_of(
    st.tuples(st.just("append"), st.lists(st.tuples(st.sets(names), st.integers(0, 3)), min_size=1, max_size=4)),
    st.tuples(st.just("take"), names, st.integers(1, 4)),
    st.tuples(st.just("take_live"), names, st.integers(1, 4)),
    st.tuples(st.just("arrive"), names, st.lists(st.integers(0, 5), min_size=1, max_size=3), st.integers(1, 4)),
    st.tuples(st.just("take_held"), names, st.integers(1, 3), st.booleans()),
    st.tuples(st.just("settle"), st.lists(st.tuples(st.integers(0, 9), fates), min_size=1, max_size=4)),
    st.tuples(st.just("give_back"), st.lists(st.integers(0, 9), min_size=1, max_size=3)),
    st.tuples(st.just("stale"), st.integers(0, 99), fates),
    st.tuples(st.just("wait"), st.integers(1, 15)),
    st.tuples(st.just("retry_dead"), names, reasons, limits),
    st.tuples(st.just("drop_dead"), names, reasons, limits),
    st.tuples(st.just("move"), names, names, limits),
    st.tuples(st.just("drop_waiting"), names, limits),
)
kills = st.sampled_from([("crash",), ("restart",)])

BACKLOG = ("append", [({"a", "b"}, n % 4) for n in range(7)])


class Run:
    """An outbox and its model, led through the same steps."""

    def __init__(self, kind: Any, box: OwnedOutbox) -> None:
        self.kind = kind
        self.box = box
        self.count = 0
        self.sizes: dict[int, int] = {}
        self.places = {name: Place(kind.clock.now) for name in NAMES}
        self.in_hand: list[Delivery] = []
        self.past: list[Delivery] = []

    async def append(self, events: list[tuple[set[str], int]]) -> None:
        entries = []
        for owed, lane in events:
            self.count += 1
            entries.append(entry(self.count, *owed, lane=lane))
            self.sizes[self.count] = len(msgspec.json.encode(entries[-1].event))
            for name in owed:
                self.places[name].fresh[self.count] = lane
                self.places[name].owed += 1
        await self.box.append(entries)

    async def take(self, name: str, limit: int) -> None:
        self.got(await self.box.take(name, limit), self.places[name].take(limit))

    async def arrive(self, name: str, lanes: list[int], limit: int) -> None:
        """New events at a destination that knows its backlog."""
        await self.all_live(name, limit)
        await self.append([({name}, lane) for lane in lanes])
        await self.all_live(name, limit)

    async def all_live(self, name: str, limit: int) -> None:
        for _ in range(200):
            if not self.box.has_live(name):
                return
            await self.take_live(name, limit)
        raise AssertionError("it asks for ever")

    async def take_live(self, name: str, limit: int) -> None:
        place = self.places[name]
        before = [seq for seq in (*place.fresh, *place.rows) if seq in place.fresh or not place.rows[seq].held]
        taken = await self.box.take_live(name, limit)
        assert not taken or len(taken) <= limit
        place.take_live(list(taken), [seq for seq in before if self.fate_of(seq, name) == "held"])
        self.in_hand += taken

    def fate_of(self, seq: int, name: str) -> str:
        found = self.kind.find(f"event-{seq}")
        assert found is not None
        fate: str = found.fates[name]
        return fate

    async def take_held(self, name: str, limit: int, undue: bool) -> None:
        taken = await self.box.take_held(name, self.kind.clock.now(), limit, undue=undue)
        self.got(taken, self.places[name].take_held(limit, undue=undue))

    def got(self, taken: Any, expected: list[tuple[int, int]]) -> None:
        assert [(one.seq, one.attempts) for one in taken] == expected
        assert [one.event.id for one in taken] == [f"event-{one.seq}" for one in taken]
        self.in_hand += taken

    def pick(self, number: int) -> list[Delivery]:
        return [self.in_hand.pop(number % len(self.in_hand))] if self.in_hand else []

    async def settle(self, choices: list[tuple[int, Any]]) -> None:
        pairs = [(one, fate) for number, fate in choices for one in self.pick(number)]
        await self.settle_all([(one, self.fate(one, fate)) for one, fate in pairs])

    async def stale(self, number: int, fate: Any) -> None:
        """Settle again what was settled, given back, or lost in a crash."""
        if self.past:
            one = self.past[number % len(self.past)]
            await self.settle_all([(one, self.fate(one, fate))])

    async def settle_all(self, pairs: list[tuple[Delivery, Fate]]) -> None:
        await self.box.settle([Settlement(delivery=one, fate=fate) for one, fate in pairs])
        for one, fate in pairs:
            self.places[one.destination].settle(one, fate)
            self.past.append(one)
        for place in self.places.values():
            place.order()

    def fate(self, one: Delivery, chosen: Any) -> Fate:
        if isinstance(chosen, Done | Dead):
            return chosen
        seconds, aside = chosen
        due = None if seconds is None else self.kind.clock.now() + timedelta(seconds=seconds)
        return Held(due=due, attempts=one.attempts + 1, aside=aside)

    async def give_back(self, numbers: list[int]) -> None:
        back = [one for number in numbers for one in self.pick(number)]
        await self.box.give_back(back)
        for one in back:
            self.places[one.destination].give_back(one)
            self.past.append(one)

    async def retry_dead(self, name: str, reason: str | None, limit: int) -> None:
        done = await self.box.retry_dead(Selection(destination=name, reason=reason), limit)
        assert done == self.places[name].retry_dead(reason, limit)

    async def drop_dead(self, name: str, reason: str | None, limit: int) -> None:
        done = await self.box.drop_dead(Selection(destination=name, reason=reason), limit)
        assert done == self.places[name].drop_dead(reason, limit)

    async def move(self, old: str, new: str, limit: int) -> None:
        moved = await self.box.move(old, new, limit)
        assert moved == (self.places[old].move_to(self.places[new], limit) if old != new else 0)

    async def drop_waiting(self, name: str, limit: int) -> None:
        assert await self.box.drop_waiting(name, limit) == self.places[name].drop_waiting(limit)

    async def wait(self, seconds: int) -> None:
        self.kind.clock.seconds += seconds

    async def crash(self) -> None:
        self.kind.crash()
        await self.restart()

    async def restart(self) -> None:
        await self.box.close()
        self.box = await self.kind.open()
        self.past += self.in_hand
        self.in_hand = []
        for place in self.places.values():
            place.crash()

    async def agrees(self) -> None:
        """What the outbox tells of itself is what the model knows."""
        for name, place in self.places.items():
            assert self.box.has_news(name) == place.news()
            assert await self.box.next_due(name) == place.next_due()
            tally = self.box.ledger().destinations.get(name)
            if tally is None:
                assert not place.owed
                continue
            assert (tally.owed, tally.delivered, tally.dead, tally.dropped) == (
                place.owed,
                len(place.delivered),
                len(place.dead),
                len(place.dropped),
            )
            assert tally.waiting == len(place.fresh) + len(place.rows)
            assert tally.backlog_bytes == sum(self.sizes[seq] for seq in (*place.fresh, *place.rows))
            assert tally.held == sum(row.held for row in place.rows.values())

    async def finds(self) -> None:
        """What became of each event, one by one."""
        for seq in range(1, self.count + 1):
            found = self.kind.find(f"event-{seq}")
            assert found is not None
            fates = {name: place.fate(seq) for name, place in self.places.items()}
            assert found.fates == {name: fate for name, fate in fates.items() if fate}

    async def drain(self) -> None:
        """After one more kill, everything still owed comes out, once, and nothing else."""
        await self.crash()
        await self.agrees()
        await self.finds()
        for name, place in self.places.items():
            left = sorted([*place.fresh, *place.rows])
            out: list[int] = []
            while taken := [
                *await self.box.take(name, 5),
                *await self.box.take_held(name, self.kind.clock.now(), 5, undue=True),
            ]:
                await self.box.settle(settled(taken))
                out += [one.seq for one in taken]
            assert sorted(out) == left
            tally = self.box.ledger().destinations.get(name)
            assert tally is None or (tally.waiting, tally.backlog_bytes) == (0, 0)


@pytest.fixture(autouse=True, scope="module")
def few_are_a_backlog():
    """So that a script of a few steps has a backlog, and reads it in several turns."""
    with pytest.MonkeyPatch.context() as patched:
        for name, number in (("CATCHING_UP", 1), ("CHUNK", 3), ("LOOK", 3)):
            patched.setattr(sqlite_live, name, number)
        yield


def lead(make: Any, script: Script, directory: str | None = None) -> None:
    """Lead an outbox and its model through the steps of a script."""

    async def run(place: str) -> None:
        kind = make(Path(place))
        led = Run(kind, await kind.open())
        for step, *arguments in script:
            await getattr(led, step)(*arguments)
            await led.agrees()
        await led.drain()
        await led.box.close()

    with tempfile.TemporaryDirectory(dir=directory) as place:
        asyncio.run(run(place))


@pytest.mark.parametrize("make", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=60)
@given(behind=st.booleans(), script=st.lists(st.one_of(*[steps] * 4, kills), min_size=20, max_size=40))
def test_an_outbox_does_what_its_model_does(make, behind, script):
    lead(make, [BACKLOG, *script] if behind else script)


EVERYWHERE = {"a", "b", "c"}
NOBODYS: tuple[Any, ...] = ("append", [(set(), 0)])
FOUND: dict[str, Script] = {
    "what went ahead and came back, and what a move brings before it": [
        ("append", [(EVERYWHERE, 0)]), NOBODYS, ("take", "a", 1), NOBODYS, ("arrive", "a", [0, 4], 1), ("take", "a", 1),
        ("append", [(EVERYWHERE, 0), (set(), 0)]), NOBODYS, ("arrive", "c", [0, 4], 1), ("take", "a", 1), ("crash",),
        ("take", "a", 1), ("move", "a", "c", 1000), ("take_live", "c", 1),
    ],
    "what was moved and never handed out, and a younger one that was dead": [
        ("append", [(EVERYWHERE, 0)]), ("append", [({"c"}, 0)]), ("take", "a", 2), ("take", "a", 1), ("take", "a", 3),
        ("take", "c", 2), ("settle", [(7, Dead("bad"))]), ("move", "c", "b", 1), ("retry_dead", "b", None, 1),
        ("wait", 1), ("take", "b", 1),
    ],
    "the same, two of them": [
        ("append", [(EVERYWHERE, 0)]), ("append", [(set(), 0), ({"a"}, 0), ({"a", "b"}, 0), ({"c"}, 0)]),
        ("take", "a", 2), ("take", "a", 1), ("take", "a", 3), ("take", "c", 4), ("settle", [(7, Dead("bad"))]),
        ("move", "c", "b", 2), ("retry_dead", "b", None, 2), ("take", "b", 2), ("take_held", "b", 2, False),
    ],
}  # fmt: skip
"""Where the outbox once went another way than its model, after hundreds of thousands of steps: users out of order."""


@pytest.mark.parametrize("make", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("script", FOUND.values(), ids=FOUND)
def test_what_many_steps_have_found_stays_mended(make, script):
    lead(make, [BACKLOG, *script])


@pytest.mark.skipif(not long_form(), reason=f"the long form: set {LONG}")
@pytest.mark.parametrize("make", KINDS, ids=lambda kind: kind.name)
def test_an_outbox_does_what_its_model_does_a_million_times(make):
    """Many scripts, each long, so that opening costs little; in memory, since it is not the disk that is tested.

    What is only another way to an outbox gets a tenth.
    """
    done = 0
    enough = MILLION if make is Sqlite else MILLION // 10
    directory = str(MEMORY) if MEMORY.is_dir() else None

    @settings(max_examples=LONG_SCRIPTS, database=None, phases=[Phase.generate, Phase.shrink])
    @given(script=st.lists(st.one_of(*[steps] * 20, kills), min_size=100, max_size=500))
    def led(script: Script) -> None:
        nonlocal done
        lead(make, [BACKLOG, *script], directory)
        done += len(script)

    held = False
    try:
        for start in itertools.count():
            seed(start)(led)()
            if done >= enough:
                break
        held = True
    finally:
        write_down(Verdict(test=f"outbox model, {make.name}", done=f"{done:,} steps", held=held))
