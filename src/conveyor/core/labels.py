"""Which jobs a worker may run by its labels."""

from __future__ import annotations

ONLY = "!only"
# The label of a server that other machines reach without TLS; it runs no jobs.
PUBLIC_WITHOUT_TLS = "public-without-tls"


def serves(labels: frozenset[str], requires: frozenset[str]) -> bool:
    """Whether a worker with `labels` may run a job with `requires`.

    It needs all labels required. The label "gpu!only" counts as "gpu", and refuses jobs that do
    not require it.
    """
    only = {label.removesuffix(ONLY) for label in labels if label.endswith(ONLY)}
    return requires <= (labels | only) and only <= requires
