"""``python -m trackgate`` and the console script."""

from __future__ import annotations

from trackgate.cli import main

if __name__ == "__main__":
    main()
