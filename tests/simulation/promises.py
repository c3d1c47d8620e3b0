"""The rules that a simulation holds the code to, and those the code does not keep yet.

A rule of `TO_COME` is looked at like all others, but breaking it fails no seed. A test sees to it
that each is really broken by some seed: once it is not, it has to be taken out of the list.
"""

from __future__ import annotations

from world import World

TO_COME = {
    # A worker that is frozen or cut off after it confirmed a claim and before the job began: in
    # that moment, or while the job waits for a slot. A store over a network cannot know that.
    "blame": "a lapsed lease counts as a crash even if the job's code never began",
}


def broken_promises(world: World) -> list[str]:
    """Return what is wrong in a world that has been played, in words."""
    return [
        f"{when:.3f} {rule}: {text}" for when, rule, text in world.violations if rule not in TO_COME
    ]
