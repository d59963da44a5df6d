"""The vendors emulated in one process: strict where the way in is lenient, and told to fail when asked.

    emulator    what the vendor would answer: its own strict check, its own words
    contents    which events and users a body names, without knowing the vendor
    memory      what came, the newest of it, and counts that are never lost
    failures    the failures that it was told to make
    redirect    destinations that lead here
    index       the page that says all this to whoever comes by
    control     the operator's calls, at ``/-/``
    web         the app: a call in, a reply out or the connection cut; the vendors at ``/{vendor}``

Nothing is kept on disk: what it remembers ends with the process.
"""

from __future__ import annotations

from trackgate.sandbox.redirect import LISTEN, redirected
from trackgate.sandbox.web import build

__all__ = ["LISTEN", "build", "redirected"]
