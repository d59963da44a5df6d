"""``python -m trackgate.config schema|reference``: what is generated from the Structs, on standard output."""

from __future__ import annotations

import sys

from trackgate.config.editor import schema, spell
from trackgate.config.manual import reference

MADE = {"schema": lambda: spell(schema()), "reference": reference}

if __name__ == "__main__":
    sys.stdout.write(MADE[sys.argv[1]]())
