"""``python path/to/verify RUN``: the folder runs by itself, wherever it was copied to."""

import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    if not __package__:
        here = Path(__file__).resolve().parent
        sys.path[0] = str(here.parent)
        __package__ = here.name
    sys.exit(import_module(f"{__package__}.command").main())
