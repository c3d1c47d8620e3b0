"""What the tests of the worker share with the tests of the runners: helpers that run jobs."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "runners"))
