"""The requests on their way from the event loop to the writer's thread, by the handful."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

from trackgate.outboxes.jobs import Append

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackgate.outboxes.jobs import Job

MOST_JOBS = 4_096
"""Requests that share a transaction (and one handful more)."""
MOST_BYTES = 16 * 2**20
"""Bytes of new events that share a transaction (and one handful of requests more)."""

HANDFUL = 32
"""Requests that are handed over at once, at most. Those of one turn of the event loop go together, since a transaction
for each of the first few would cost more than their wait; with more of them the thread has work to do while the loop
goes on."""


class Queue:
    """Filled by the event loop's thread, emptied by the writer's."""

    def __init__(self) -> None:
        self._handed_over: queue.SimpleQueue[list[Job]] = queue.SimpleQueue()
        self._gathered: list[Job] = []
        self._submitted = self._fetched = 0  # bytes, each changed by one thread alone

    def submit(self, job: Job) -> int:
        """Have a job done once it is handed over; how many wait for that. On the loop's thread."""
        if isinstance(job, Append):
            self._submitted += job.size
        self._gathered.append(job)
        if len(self._gathered) == HANDFUL:
            self.hand_over()
        return len(self._gathered)

    def hand_over(self) -> None:
        """Have what was submitted done in the next transaction. On the loop's thread."""
        if self._gathered:
            self._handed_over.put(self._gathered)
            self._gathered = []

    def waiting_bytes(self) -> int:
        """Bytes of new events that no transaction has begun with, also those that nobody waits for any more."""
        return self._submitted - self._fetched

    def fetch(self, patience: float) -> list[Job]:
        """Everything that waits; empty where nothing came for so many seconds. On the writer's thread."""
        jobs: list[Job] = []
        try:
            jobs += self._handed_over.get(timeout=patience)
            size = _bytes_of(jobs)
            while len(jobs) < MOST_JOBS and size < MOST_BYTES:
                more = self._handed_over.get_nowait()
                jobs += more
                size += _bytes_of(more)
        except queue.Empty:
            pass
        self._fetched += _bytes_of(jobs)
        return jobs


def _bytes_of(jobs: Sequence[Job]) -> int:
    return sum(job.size for job in jobs if isinstance(job, Append))
