"""Tests draw without a window."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
