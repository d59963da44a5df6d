"""A call as a line for the shell."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from trackgate.model import Call


def curl(call: Call) -> str:
    """The call, a POST, as one curl command; its JSON body without needless white space."""
    headers = (f"-H {shlex.quote(f'{name.title()}: {value}')}" for name, value in call.headers.items())
    body = msgspec.json.format(call.body, indent=-1).decode()
    return " ".join(["curl", shlex.quote(call.url), *headers, "-d", shlex.quote(body)])
