"""The generated parts of README.md: ``python -m tests.readme`` writes them anew; a test holds them current."""

from __future__ import annotations

import re
from pathlib import Path

from trackgate import vendors
from trackgate.cli.explain import legend
from trackgate.config import reference
from trackgate.explain import matrix
from trackgate.fidelity import CARRIED
from trackgate.model import Problem, ProblemKind

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
    lines = ["| field of the canonical event | property |", "| --- | --- |"]
    lines += [f"| `{field}` | `{name}` |" for field, name in CARRIED.items()]
    return "\n".join(lines)


def fidelity_table() -> str:
    signs = "; ".join(line.replace(" ", " ", 1) for line in legend().splitlines())
    return f"{matrix(vendors.load())}\n\n{signs}."


PARTS = {"vendors": vendor_table, "fidelity": fidelity_table, "carried": carried_table, "reference": reference}


def renewed(text: str) -> str:
    """The page with its generated parts as they are today."""
    return PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n\n{found[3]}", text)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
