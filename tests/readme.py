"""The generated parts of README.md: ``python -m tests.readme`` writes them anew; a test holds them current."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from trackgate import vendors
from trackgate.cli.explain import legend
from trackgate.config import reference
from trackgate.explain import matrix
from trackgate.fidelity import CARRIED
from trackgate.model import Context, Event, Problem, ProblemKind
from trackgate.vendor import Target

if TYPE_CHECKING:
    from trackgate.vendor import Vendor

AT = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
README = Path(__file__).parent.parent / "README.md"
PART = re.compile(r"(<!-- begin: (\w+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)


def vendor_table() -> str:
    lines = [
        "| vendor | accepted paths | credential | success | limits | delivered to |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for vendor in vendors.load().values():
        first = vendor.endpoints[0]
        limits = [f"{each.batch} events per call at `{each.path}`" for each in vendor.endpoints if each.batch]
        limits += [f"{each.max_body:,} bytes" for each in vendor.endpoints[:1] if each.max_body]
        cells = [
            f"**{vendor.title}**",
            ", ".join(f"`{each.path}`" for each in vendor.endpoints),
            f"`{vendor.credential}`",
            str(vendor.accept(first, ("id",)).status),
            "; ".join(limits) or "-",
            f"`{vendor.base_url(vendor.options())}`",
        ]
        assert vendor.reject(Problem(ProblemKind.INVALID, "")).status == 400
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def carried_table() -> str:
    known = vendors.load().values()
    lines = [
        f"| field of the canonical event | {' | '.join(vendor.title for vendor in known)} |",
        "| --- |" + " --- |" * len(known),
    ]
    lines += [f"| `{field}` | {' | '.join(_becomes(vendor, field) for vendor in known)} |" for field in CARRIED]
    return "\n".join(lines)


def _becomes(vendor: Vendor, field: str) -> str:
    """Where a vendor's track call has a field that an event states alone."""
    target = Target(url="", key="", options=vendor.options())
    notes = vendor.encode(_stating(field), target).notes
    told = next((note for note in notes if note.field == field), None)
    if told is None:
        return "a field of its own"
    if not told.became:
        return "an identify call" if told.kind == "carried" else told.kind
    return ", ".join(_place(name) for name in told.became)


def _place(name: str) -> str:
    """A place of the canonical event as a reader of the vendor's call finds it."""
    at, _, key = name.partition(".")
    return f"`{key}`" if at == "properties" else f"the field `{name.replace('context.other.', 'context.')}`"


def _stating(field: str) -> Event:
    """An event that says this field, and nothing else that a vendor may have no field for."""
    values = {"timestamp": AT, "identify": True}
    event = Event(id="id", vendor="", source="", received_at=AT, name="name", user_id="user")
    name, _, key = field.removeprefix("context.").partition(".")
    value: Any = {key: "x"} if key else values.get(field, "x")
    if field.startswith("context."):
        return structs.replace(event, context=Context(**{name: value}))
    return structs.replace(event, **{name: value})


def fidelity_table() -> str:
    signs = "; ".join(line.replace(" ", " ", 1) for line in legend().splitlines())
    return f"{matrix(vendors.load())}\n\n{signs}."


PARTS = {"vendors": vendor_table, "fidelity": fidelity_table, "carried": carried_table, "reference": reference}


def renewed(text: str) -> str:
    """The page with its generated parts as they are today."""
    return PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n\n{found[3]}", text)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
