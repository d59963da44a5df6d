"""When to try again, and how a destination stands: arithmetic over values, told the time and the dice.

``judge`` takes one outcome and says what becomes of the delivery and of the destination. The dispatcher only obeys.

How a destination stands:

    up ──(5 retries in a row, no event's own fault)────> down    one probe at a time, 1 s apart and doubling
    up ──(401, 402, 403, 3xx, or a run of refusals)────> parked  one probe every `retry.probe`
    down, parked ──(a probe gets through)──────────────> up      with few calls in flight at first

Of a 403 the destination is suspected first, and where others pass then, the event alone (``_forbidden``).

Nothing ages while a destination is down or parked, and no event that waits there spends an attempt but the one that
probes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, assert_never

from msgspec import Struct
from msgspec.structs import replace

from trackgate.model import Delivered, Outcome, Park, Refuse, Retry
from trackgate.outbox import Dead, Delivery, Done, Fate, Held, Standing
from trackgate.units import Duration

State = Literal["up", "down", "parked"]

DOWN_AFTER = 5
"""Retries in a row, with no success between, after which a destination counts as down."""

REFUSALS = {"status_404": 5, "status_405": 5, "status_410": 5}
REFUSALS_ELSE = 20
"""Refusals in a row after which a destination is parked: a wrong URL must not kill a million events."""

FORBIDDEN = "status_403"
PARKS = 2
"""An event that was forbidden this often while others passed, and is once more, is refused: the fault is its own.
Only a 403 can be an event's own: a key that is refused (401) is the destination's, however often it is."""

PROBE_FIRST = 1.0
"""Seconds to the first probe of a destination that went down."""


class RetryPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How failed deliveries are retried."""

    base: Duration = Duration(1)
    """Delay before the first retry; doubles with each further failure of the same event."""
    max_delay: Duration = Duration(600)
    """Longest delay between two attempts."""
    max_age: Duration = Duration(7 * 86_400)
    """How long an event is retried before it is dead, counted from its first failure and only while the destination is
    up: nothing expires because its destination is down or parked."""
    patience: Duration = Duration(600)
    """How long a failing event may hold back its user's later events while other events get through; after that it is
    set aside and retried on its own."""
    probe: Duration = Duration(30)
    """Interval between probes (one event each) of a parked destination; the longest interval for one that is
    down."""


class Health(Struct, frozen=True, kw_only=True):
    """A destination as its dispatcher sees it. Times are monotonic seconds but for ``standing.since``."""

    standing: Standing
    limit: int
    """The most calls in flight that are configured."""
    slots: int
    """The calls in flight that are allowed now: grows by one a success, halves on 429 and timeouts."""
    as_of: float
    """When ``standing.up_seconds`` was last brought up to date."""
    failures: int = 0
    refusals: int = 0
    probes: int = 0
    probe_at: float = 0.0
    paused_until: float = 0.0
    """``standing.paused_until``, by the monotonic clock."""
    passed_at: float = -1.0
    """``up_seconds`` at the last success."""
    others_pass: bool = False
    """Whether a call got through since an event was forbidden last, by a probe or while everything flowed."""

    @property
    def up(self) -> bool:
        """Whether everything may flow."""
        return self.standing.state == "up"


class Moment(Struct, frozen=True):
    """Now, by the monotonic clock, and a throw of the dice in [0, 1).

    ``origin`` is the wall-clock time at which the monotonic clock stood at 0.
    """

    origin: datetime
    monotonic: float
    dice: float

    @property
    def wall(self) -> datetime:
        """Now, by the wall clock: worked out where it is asked for, which no delivery does that succeeds."""
        return self.origin + timedelta(seconds=self.monotonic)


class Verdict(Struct, frozen=True):
    """What becomes of the delivery, and of the destination."""

    fate: Fate
    health: Health


def at_start(standing: Standing, limit: int, now: Moment) -> Health:
    """A destination that stood so when we last knew.

    A pause that the upstream asked for goes on.
    """
    end = standing.pause_end(now.wall)
    paused_until = 0.0 if end is None else now.monotonic + (end - now.wall).total_seconds()
    return Health(
        standing=standing,
        limit=limit,
        slots=limit if standing.state == "up" else 1,
        as_of=now.monotonic,
        probe_at=paused_until,
        paused_until=paused_until,
    )


def delay(failures: int, policy: RetryPolicy, dice: float) -> float:
    """Seconds to wait after so many failures of an event: doubling, capped, half of it spread by the dice."""
    whole = min(policy.base * 2.0 ** min(failures - 1, 40), policy.max_delay)
    return whole / 2 + whole / 2 * dice


def aged(health: Health, now: Moment) -> Health:
    """The same destination with its up-time counted to now."""
    passed = max(now.monotonic - health.as_of, 0.0) if health.up else 0.0
    standing = replace(health.standing, up_seconds=health.standing.up_seconds + passed)
    return replace(health, standing=standing, as_of=now.monotonic)


def hurried(health: Health, now: Moment) -> Health:
    """The same destination, to be tried at once: whatever its upstream asked us to wait, and when a probe was due."""
    standing = replace(health.standing, paused_at=None, paused_until=None)
    return replace(health, standing=standing, paused_until=0.0, probe_at=now.monotonic)


def judge(outcome: Outcome, delivery: Delivery, health: Health, policy: RetryPolicy, now: Moment) -> Verdict:
    """What an outcome means for the delivery and for the destination."""
    health = _unpaused(aged(health, now), now)
    match outcome:
        case Delivered():
            return Verdict(Done(), _passed(health, now))
        case Retry():
            return _retry(outcome, delivery, health, policy, now)
        case Park() if outcome.reason == FORBIDDEN:
            return _forbidden(delivery, health, policy, now)
        case Park(reason=reason):
            return _park(reason, delivery, health, policy, now)
        case Refuse(reason=reason):
            return _refuse(reason, delivery, health, policy, now)
        case _:
            assert_never(outcome)


def _passed(health: Health, now: Moment) -> Health:
    return replace(
        _standing(health, "up", None, now),
        slots=min(health.slots + 1, health.limit),
        failures=0,
        refusals=0,
        probes=0,
        passed_at=health.standing.up_seconds,
        others_pass=health.others_pass or health.up or now.monotonic >= health.probe_at,
    )


def _retry(outcome: Retry, delivery: Delivery, health: Health, policy: RetryPolicy, now: Moment) -> Verdict:
    after = _failed(outcome, delivery, health, policy, now)
    if not health.up:
        return Verdict(_waiting(outcome.reason, delivery, now), after)
    since = health.standing.up_seconds if delivery.since is None else delivery.since
    age = health.standing.up_seconds - since
    wait = delay(delivery.attempts + 1, policy, now.dice)  # what the upstream asked for is the destination's pause
    others_pass = health.passed_at > since
    held = replace(
        Held.as_it_was(delivery, due=now.wall + timedelta(seconds=wait), reason=outcome.reason),
        attempts=delivery.attempts + 1,
        since=since,
        aside=delivery.aside or (others_pass and age >= policy.patience),
    )
    expired = age >= policy.max_age
    return Verdict(
        Dead("expired", f"tried for too long; the last answer: {outcome.reason}") if expired else held, after
    )


def _waiting(reason: str, delivery: Delivery, now: Moment) -> Held:
    """Held until the destination is up again: due at once then, no attempt spent, no age gained."""
    return Held.as_it_was(delivery, due=now.wall, reason=reason)


def _failed(outcome: Retry, delivery: Delivery, health: Health, policy: RetryPolicy, now: Moment) -> Health:
    failures = health.failures + (not _own_fault(delivery, health, policy))
    congested = outcome.reason in {"status_429", "timeout"}
    health = replace(
        _paused(health, outcome.after or 0.0, now),
        failures=failures,
        slots=max(health.slots // 2, 1) if congested else health.slots,
    )
    if health.up and failures >= DOWN_AFTER:
        return _stopped(_standing(health, "down", outcome.reason, now), min(PROBE_FIRST, policy.probe), now)
    if health.standing.state == "down":
        return _stopped(health, min(PROBE_FIRST * 2.0 ** min(health.probes, 40), policy.probe), now)
    if health.standing.state == "parked":
        return _stopped(health, policy.probe, now)
    return health


def _paused(health: Health, seconds: float, now: Moment) -> Health:
    """Nothing is sent for so many seconds; the wall-clock time of the end is rounded up, so that it seldom changes."""
    if now.monotonic + seconds <= max(health.paused_until, now.monotonic):
        return health
    end = (now.wall + timedelta(seconds=seconds + 1)).replace(microsecond=0)
    standing = health.standing
    if end != standing.paused_until:
        standing = replace(standing, paused_at=now.wall, paused_until=end)
    return replace(health, paused_until=now.monotonic + seconds, standing=standing)


def _unpaused(health: Health, now: Moment) -> Health:
    """A pause that is over is forgotten."""
    if health.standing.paused_until is None or now.monotonic < health.paused_until:
        return health
    return replace(health, standing=replace(health.standing, paused_at=None, paused_until=None))


def _own_fault(delivery: Delivery, health: Health, policy: RetryPolicy) -> bool:
    """Whether a failure says more of the event than of the destination: it failed before, and others pass.

    They must have passed a short while ago: in an outage that finds nothing but events that failed before, these tell.
    """
    passed_ago = health.standing.up_seconds - health.passed_at
    return delivery.since is not None and health.passed_at > delivery.since and passed_ago <= policy.probe


def _forbidden(delivery: Delivery, health: Health, policy: RetryPolicy, now: Moment) -> Verdict:
    """A 403 parks the destination, unless others passed since the same event was forbidden before.

    Then the event waits alone, for as long as for a probe. One that was forbidden ``PARKS`` times before dies. What
    passed speaks against one event only, the first that is forbidden after it: where the key is withdrawn, the next
    403 parks.
    """
    after = replace(health, others_pass=False)
    if not health.up:
        return _park(FORBIDDEN, delivery, after, policy, now)
    if delivery.parks >= PARKS:
        return Verdict(Dead(FORBIDDEN, "others pass at this destination, this event keeps being turned away"), after)
    counted = replace(delivery, parks=delivery.parks + 1)
    if not (delivery.parks and health.others_pass):
        return _park(FORBIDDEN, counted, after, policy, now)
    due = now.wall + timedelta(seconds=min(policy.probe, policy.max_delay))
    held = Held.as_it_was(counted, due=due, reason=FORBIDDEN)
    return Verdict(replace(held, attempts=delivery.attempts + 1), after)


def _park(reason: str, delivery: Delivery, health: Health, policy: RetryPolicy, now: Moment) -> Verdict:
    held = _waiting(reason, delivery, now)
    return Verdict(held, _stopped(_standing(health, "parked", reason, now), policy.probe, now))


def _refuse(reason: str, delivery: Delivery, health: Health, policy: RetryPolicy, now: Moment) -> Verdict:
    refusals = health.refusals + 1
    health = replace(health, refusals=refusals, failures=0, slots=min(health.slots + 1, health.limit))
    run = f"refusals_{reason}"
    if health.standing.state == "parked" or refusals >= REFUSALS.get(reason, REFUSALS_ELSE):
        return _park(run, delivery, health, policy, now)
    return Verdict(Dead(reason), _standing(health, "up", None, now))


def _standing(health: Health, state: State, reason: str | None, now: Moment) -> Health:
    if health.standing.state == state:
        return health
    standing = replace(health.standing, state=state, reason=reason, since=now.wall)
    return replace(health, standing=standing, probes=0, probe_at=0.0)


def _stopped(health: Health, seconds: float, now: Moment) -> Health:
    """One probe is due in so many seconds (or after the upstream's own Retry-After); recovery starts slowly.

    What was still in flight when the destination stopped is no probe and moves nothing.
    """
    if now.monotonic < health.probe_at:
        return health
    probe_at = max(now.monotonic + seconds, health.paused_until)
    return replace(health, probes=health.probes + 1, probe_at=probe_at, slots=1)
