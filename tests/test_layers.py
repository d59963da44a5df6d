"""The rule that import-linter cannot see: nothing names a vendor but that vendor's own file."""

from __future__ import annotations

import re
from pathlib import Path

import trackgate

SOURCE = Path(trackgate.__file__).parent
VENDORS = sorted(file.stem for file in (SOURCE / "vendors").glob("*.py") if file.stem != "__init__")

GENERATED = {"config/routes.schema.json"}
"""Made from the vendors' own files, and tested to be current where it is made."""


def namings(source: Path, vendors: list[str]) -> list[str]:
    """Every line under ``source`` that names a vendor, in any spelling, outside the vendor's own file."""
    anyone = re.compile("|".join(map(re.escape, vendors)), re.IGNORECASE)
    return [
        f"{place}:{number}: {line.strip()}"
        for file in sorted(source.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
        for place in [file.relative_to(source).as_posix()]
        if place not in GENERATED
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        for named in [{name.lower() for name in anyone.findall(line)}]
        if named - ({file.stem} if file.parent.name == "vendors" else set())
    ]


def test_no_vendor_is_named_outside_its_own_file() -> None:
    """A fifth vendor is one new file only if nothing else knows the four."""
    assert VENDORS
    assert namings(SOURCE, VENDORS) == []


def test_a_naming_would_be_found(tmp_path: Path) -> None:
    """In code, comments and SQL, in any case; and a vendor may not name another vendor either."""
    (tmp_path / "vendors").mkdir()
    (tmp_path / "vendors" / "acme.py").write_text('name = "acme"  # unlike Zenith\n')
    (tmp_path / "routing.py").write_text("import re\n\nif vendor == 'Acme':\n    pass\n")
    (tmp_path / "schema.sql").write_text("-- for ZENITH_API\n")
    assert namings(tmp_path, ["acme", "zenith"]) == [
        "routing.py:3: if vendor == 'Acme':",
        "schema.sql:1: -- for ZENITH_API",
        'vendors/acme.py:1: name = "acme"  # unlike Zenith',
    ]
