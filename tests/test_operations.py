"""docs/operations.md lists every log event and every metric, and the links between the documents lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from trackgate.app.keeper import BACKLOG_EVENTS
from trackgate.clock import SystemClock
from trackgate.deliver.settling import STOPPED
from trackgate.metrics import Metrics
from trackgate.outbox import DestinationTally, Ledger, SourceTally
from trackgate.workers import Workers

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

TELLING = {"info", "warning", "error", "exception", "tell", "say", "_say"}
EVENT = re.compile(r"[a-z]+\.[a-z_]+")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def logged():
    """What the code logs by a name that stands in the call."""
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in TELLING:
                said = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
                yield from (name for name in said if isinstance(name, str) and EVENT.fullmatch(name))


def exposed():
    """The metrics of a gateway that has a source and a destination, by name."""
    sources = {"s": SourceTally(rejected={"invalid": 1})}
    ledger = Ledger(sources=sources, destinations={"d": DestinationTally(backlog_limit=1)})
    metrics = Metrics(lambda: ledger, SystemClock(), Workers(configured=1))
    return re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram)$", metrics.render().decode(), re.MULTILINE)


def anchors(page):
    """The headings of a page, as the fragments that lead to them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def listed(section):
    """What the tables of a section have in their first column."""
    text = OPERATIONS.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return {name for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for name in re.findall(r"`(.*?)`", row)}


def test_the_log_events_that_are_documented_are_those_that_there_are():
    names = {*logged(), *BACKLOG_EVENTS.values(), *(f"destination.{word}" for word in STOPPED.values())}
    assert {"event.accepted", "delivery.died", "outbox.salvaged", "worker.ended", "log.dropped"} <= names
    assert listed("Log events") == names


def test_the_metrics_that_are_documented_are_those_that_there_are():
    names = {name for name in exposed() if not name.endswith("_created")}
    assert {"trackgate_owed_total", "trackgate_in_flight", "trackgate_workers"} <= names
    assert listed("Metrics") == names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_documents_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), link
        assert not fragment or fragment in anchors(there), link
