"""What the sandbox says of itself."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from trackgate.sandbox.index import CALLS

if TYPE_CHECKING:
    from tests.sandbox.conftest import Bench
    from trackgate.vendor import Vendor


def test_the_index_names_every_vendor_and_every_call(bench: Bench) -> None:
    said = bench.ask("GET", "/").json()
    assert said["vendors"].keys() == bench.vendors.keys()
    assert said["calls"] == CALLS
    assert "nothing is kept on disk" in said["about"]


def test_the_curl_of_a_vendor_is_accepted_as_it_stands(bench: Bench, vendor: Vendor) -> None:
    """The words of the shell command, read as curl reads them."""
    said = bench.ask("GET", "/").json()["vendors"][vendor.name]
    assert said["url"] == f"http://127.0.0.1:9000/{vendor.name}"
    _, url, *options = shlex.split(said["curl"])
    headers = dict(
        option.split(": ", 1) for flag, option in zip(options[::2], options[1::2], strict=True) if flag == "-H"
    )
    assert options[-2] == "-d"
    assert bench.ask("POST", url, headers=headers, content=options[-1]).status_code in (200, 202)


def test_a_browser_gets_a_page(bench: Bench) -> None:
    reply = bench.ask("GET", "/", headers={"accept": "text/html,*/*", "host": "127.0.0.1:9000"})
    assert reply.headers["content-type"].startswith("text/html")
    assert all(vendor.title in reply.text for vendor in bench.vendors.values())


@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("PUT", "/-/fail"), ("POST", "/-/received")])
def test_a_call_by_another_method_is_a_405_in_json(bench: Bench, method: str, path: str) -> None:
    reply = bench.ask(method, path)
    assert reply.status_code == 405
    assert reply.headers["allow"]
    assert reply.json()["message"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9000", 200),
        ("127.0.0.1", 200),
        ("localhost:9000", 200),
        ("[::1]:9000", 200),
        ("[::1]", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:9000", 403),
        ("", 403),
    ],
)
def test_on_loopback_a_host_that_is_not_is_refused(loopback_bench: Bench, host: str, status: int) -> None:
    """A web page that has its own name resolved to 127.0.0.1 gets nothing."""
    assert loopback_bench.ask("GET", "/-/received", headers={"host": host}).status_code == status
    vendor = loopback_bench.vendors["userpilot"]
    reply = loopback_bench.post(loopback_bench.sample(vendor), headers={"host": host})
    assert reply.status_code == (401 if status == 200 else 403)
