"""When to try again, and how a destination stands: arithmetic over values, told the time and the dice."""

from __future__ import annotations

from msgspec import Struct

from trackgate.units import Duration


class RetryPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a destination's failures are met."""

    base: Duration = Duration(1)
    """The first wait; each further failure of the same event doubles it."""
    max_delay: Duration = Duration(600)
    """The longest wait between two tries."""
    max_age: Duration = Duration(7 * 86_400)
    """How long an event is tried before it is dead, counted from its first failure and only while the destination is
    up: nothing expires because its destination was down or parked."""
    patience: Duration = Duration(600)
    """How long one event may hold up its user's later events while others pass; then it is set aside and retried
    alone."""
    probe: Duration = Duration(30)
    """How often a destination that is down or parked is tried with one event."""
