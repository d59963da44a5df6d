"""What the sandbox says of itself to whoever comes by, as JSON or as a page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from msgspec import Struct

from trackgate.curl import curl

if TYPE_CHECKING:
    from trackgate.vendor import Vendor

ABOUT = (
    "Trackgate's sandbox: analytics vendors emulated in one process. They check each call strictly, answer as their"
    " documents say, remember what they got and fail when told to. No vendor is called, and nothing is kept on disk:"
    " what is remembered ends with the process."
)

CALLS = {
    "GET /-/received": "the newest calls, the oldest first; ?vendor= &event=GLOB &user= &status= &id=TRACKGATE-EVENT-ID"
    " &limit=100; &after=N pages on from the call with that n (0: from the first)",
    "GET /-/received/count": "how many there were, by the same filters",
    "DELETE /-/received": "forget them",
    "POST /-/fail": 'fail the next calls, e.g. {"vendor": "NAME", "status": 503, "retry_after": "30", "times": 2}; also'
    ' "delay": "500ms", "cut": "before" or "after", "times": -1 (until cleared), "match": {"event": GLOB, "user": ID}',
    "GET /-/fail": "the failures that stand ready, with what remains of each",
    "DELETE /-/fail": "clear them all; /-/fail/ID clears one",
}
"""The operator's calls."""

KEY = "YOUR_API_KEY"


class VendorIndex(Struct, frozen=True):
    """How to reach a vendor here. ``url`` is the base URL to give to its client."""

    title: str
    url: str
    paths: tuple[str, ...]
    credential: str
    curl: str


class Index(Struct, frozen=True):
    """The whole of it."""

    about: str
    vendors: Mapping[str, VendorIndex]
    calls: Mapping[str, str]


def index(vendors: Mapping[str, Vendor], url: str) -> Index:
    """Describe the sandbox that is reached at ``url`` (no trailing slash)."""
    return Index(ABOUT, {name: _vendor(vendor, f"{url}/{name}") for name, vendor in vendors.items()}, CALLS)


def page(said: Index) -> str:
    """The same as HTML."""
    vendors = "".join(
        f"<h2>{escape(vendor.title)}</h2><p>Base URL <code>{escape(vendor.url)}</code>,"
        f" paths <code>{escape(', '.join(vendor.paths))}</code>, key as <code>{escape(vendor.credential)}</code></p>"
        f"<pre>{escape(vendor.curl)}</pre>"
        for vendor in said.vendors.values()
    )
    calls = "".join(f"<dt><code>{escape(call)}</code><dd>{escape(does)}" for call, does in said.calls.items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Trackgate sandbox</title>'
        "<style>body{font:16px/1.5 system-ui;max-width:60em;margin:2em auto;padding:0 1em}"
        "pre{background:#f4f4f4;padding:1em;overflow:auto}</style>"
        f"<h1>Trackgate sandbox</h1><p>{escape(said.about)}</p>{vendors}<h2>Its own calls</h2><dl>{calls}</dl></html>"
    )


def _vendor(vendor: Vendor, url: str) -> VendorIndex:
    return VendorIndex(
        title=vendor.title,
        url=url,
        paths=tuple(f"POST {endpoint.path}" for endpoint in vendor.endpoints),
        credential=vendor.credential,
        curl=curl(vendor.sample(url, KEY)),
    )
