"""Which jobs a worker may run: labels, as one pure rule."""

from __future__ import annotations

ONLY = "!only"


def serves(labels: frozenset[str], requires: frozenset[str]) -> bool:
    """Whether a claimant with these labels may run a job that requires those.

    It needs every label required. A label "gpu!only" counts as "gpu", and keeps jobs away that do
    not ask for it.
    """
    only = {label.removesuffix(ONLY) for label in labels if label.endswith(ONLY)}
    return requires <= (labels | only) and only <= requires
