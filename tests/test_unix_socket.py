"""A Unix socket's file."""

from __future__ import annotations

import os
import socket

import pytest

from trackgate.unix_socket import listening, path_to

NAME = "some.sock"


def reach(folder):
    with path_to(folder, NAME) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.connect(path)


def deep(folder):
    """A directory whose path is longer than an address of a socket can be."""
    while len(os.fsencode(folder)) < 200:
        folder /= "a" * 40
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("place", [lambda folder: folder, deep])
def test_it_is_for_its_owner_alone_replaces_what_was_left_behind_and_goes_with_us(tmp_path, place):
    folder = place(tmp_path)
    for left_behind in (False, True):
        if left_behind:
            with path_to(folder, NAME) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
                stale.bind(path)
            with pytest.raises(ConnectionRefusedError):
                reach(folder)
        with listening(folder, NAME):
            assert (folder / NAME).stat().st_mode & 0o777 == 0o600
            reach(folder)
        assert list(folder.glob(NAME)) == []


def test_the_umask_is_left_as_it_was(tmp_path):
    with listening(tmp_path, NAME):
        (tmp_path / "file").touch(mode=0o666)
    before = os.umask(0)
    os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~before
