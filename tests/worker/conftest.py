"""What the tests of the worker share: the stand on which the tests of runners put a job."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "runners"))
