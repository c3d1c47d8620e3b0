"""Plays one seed and prints its history: `python tests/simulation SEED [fleet | FAULT]`."""

from __future__ import annotations

import sys

from faults import FAULTS
from fleet import FleetWorld
from playback import FLEET, play, story
from promises import TO_COME
from world import World, run

if __name__ == "__main__":
    wanted = " ".join(sys.argv[2:])
    seed, fault = int(sys.argv[1]), next((each for each in FAULTS if each.what == wanted), None)
    world: World = run(seed, FleetWorld) if wanted == FLEET else play(seed, fault)
    print(story(world))
    print(f"seed {world.seed}: {len(world.violations)} violations")
    for when, rule, text in world.violations:
        print(f"{when:9.3f}  {rule}{' (to come)' if rule in TO_COME else ''}: {text}")
