"""The free space, and the ballast that is thrown off when there is none."""

from __future__ import annotations

import errno
import os
from typing import NoReturn

import pytest

from tests.outboxes.kinds import HandClock
from trackgate.outboxes.sqlite.room import BALLAST, FILE, LOOK_EVERY, Room

MIN_FREE = 1000


@pytest.fixture
def free(monkeypatch) -> list[int]:
    """The bytes that are free on the disk, as its one item."""
    free = [10**9]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 1, *[free[0]] * 3, 0, 0, 0, 0, 255)))
    return free


@pytest.fixture
def refuse(monkeypatch):
    """Has the disk reserve nothing, and say why."""

    def because(number: int) -> None:
        def fallocate(*_: object) -> NoReturn:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", fallocate)

    return because


def test_the_ballast_is_on_board_again_before_a_new_event_is_taken(tmp_path, free):
    """Somebody who fills the disk may leave it free for a moment only."""
    clock = HandClock()
    room = Room(tmp_path, MIN_FREE, clock)
    assert not room.short()
    assert (tmp_path / FILE).stat().st_size == BALLAST
    free[0] = 0
    assert room.ran_out()
    assert room.short()
    assert not room.ran_out()
    free[0] = BALLAST + MIN_FREE - 1  # what the ballast gave up is none to take events by
    clock.seconds += LOOK_EVERY
    assert room.short()
    assert not (tmp_path / FILE).exists()
    free[0] = BALLAST + MIN_FREE
    clock.seconds += LOOK_EVERY
    assert not room.short()
    assert (tmp_path / FILE).exists()


def test_where_no_file_can_be_opened_events_are_taken_without_a_ballast(tmp_path, free, monkeypatch):
    """As with too many open files: what the disk has room for is not refused for it."""
    clock = HandClock()
    room = Room(tmp_path, MIN_FREE, clock)
    room.ran_out()
    clock.seconds += LOOK_EVERY

    def none(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", none)
    assert not room.short()


@pytest.mark.parametrize(("number", "short"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EOPNOTSUPP, False)])
def test_without_room_for_the_ballast_no_event_is_taken_but_where_none_can_be_reserved(
    tmp_path, free, refuse, number, short
):
    refuse(number)
    room = Room(tmp_path, MIN_FREE, HandClock())
    assert room.short() == short
    assert not (tmp_path / FILE).exists()
