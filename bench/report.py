"""The page that a run leaves: what it ran on, the table, the commands; kept in docs/benchmark.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.gateway import routes
from bench.processes import ROOT
from bench.stage import Stage
from bench.table import Missing, Row, table

PAGE = ROOT / "docs" / "benchmark.md"
PART = re.compile(r"(<!-- begin: figures -->\n).*?(<!-- end: figures -->)", re.DOTALL)


def written(facts: Sequence[str], rows: Mapping[str, Sequence[Row | Missing]], stage: Stage) -> str:
    """All of it, in Markdown; ``rows`` are by the case that gave them."""
    options = stage.options
    how = (
        f"Medians of {options.rounds} rounds with the spread (lowest to highest), windows of {options.seconds:g} s, "
        f"{options.users:,} users. A ratio is the median of the rounds' ratios to what stands beside it, "
        "which is measured in the same rounds. One case alone: `.venv/bin/python -m bench --case CASE`."
    )
    commands = [f"- {who}: `{command}`" for who, command in stage.commands.items()]
    config = routes(Path("data"), {"steady": "http://127.0.0.1:9000/steady"}, "userpilot")
    started = ["Started as (the last of each):", "", *commands, "", "With a `routes.toml` like this:", ""]
    return "\n".join([*facts, "", how, "", table(rows), "", *started, "```toml", config.rstrip(), "```"])


def keep(text: str) -> None:
    """Put it into the page, between its marks."""
    page = PAGE.read_text("utf-8")
    PAGE.write_text(PART.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page), "utf-8")
