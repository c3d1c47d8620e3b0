"""Print the names of a random sample of mutmut's mutants: `python scripts/mutant_sample.py core`.

The arguments are packages or modules below `conveyor`, and `--count` of mutants. The mutants must
exist in mutants/. The sample is the same each time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

SEED = 11


def main() -> None:
    """Print the names, one a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("areas", nargs="+")
    parser.add_argument("--count", type=int, default=150)
    given = parser.parse_args()
    prefixes = tuple(f"conveyor.{area}" for area in given.areas)
    names = [
        name
        for path in sorted(Path("mutants/src").rglob("*.meta"))
        for name in sorted(json.loads(path.read_text())["exit_code_by_key"])
        if name.startswith(prefixes)
    ]
    sample = random.Random(SEED).sample(names, min(given.count, len(names)))
    sys.stdout.write("".join(f"{name}\n" for name in sample))


if __name__ == "__main__":
    main()
