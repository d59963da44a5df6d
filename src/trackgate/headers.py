"""The headers that belong to no dialect: Trackgate's own, and a standard one that it heeds. Names are lower case."""

from __future__ import annotations

from typing import Final

EVENT_ID: Final = "trackgate-event-id"
"""Our id of the event: on each acceptance of one, and on each call to an upstream."""

BATCH_ID: Final = "trackgate-batch-id"
"""Our id of a batch, on its acceptance: that of its first event."""

HOPS: Final = "trackgate-hops"
"""On each call to an upstream: the gateways that the event came through, this one included."""

SANDBOX: Final = "trackgate-sandbox"
"""On each reply of a gateway whose deliveries go to the emulated vendors."""

IDEMPOTENCY_KEY: Final = "idempotency-key"
"""What a caller may send to have a repeat known as one, where its dialect has no event id."""
