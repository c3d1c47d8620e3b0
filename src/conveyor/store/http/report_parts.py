"""Divides reports into parts that fit into the body of a request.

All jobs of a worker may end at once, each with a large result. A server refuses a body that is
larger than its limit, and a report that it refuses is a lost result.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.lifecycle import Cancelled, Crashed, Failed, Succeeded, Unsupported
from ..messages import Report

# The size of a part in bytes, as estimated here. One report may be larger.
PART_SIZE = 1 << 20
# A server accepts at most 10,000 reports in a request.
PART_COUNT = 5000
# A report without what its job returned or raised.
EMPTY_SIZE = 200
# The most bytes that one character takes in JSON.
CHARACTER = 6


def report_parts(reports: Sequence[Report]) -> list[Sequence[Report]]:
    """Return the reports in order, in one part or more."""
    parts: list[Sequence[Report]] = []
    begin = size = 0
    for place, report in enumerate(reports):
        more = _size(report)
        if place > begin and (size + more > PART_SIZE or place - begin == PART_COUNT):
            parts.append(reports[begin:place])
            begin, size = place, 0
        size += more
    return [*parts, reports[begin:] if parts else reports]


def _size(report: Report) -> int:
    """Return about how many bytes a report takes, and not less."""
    match report.outcome:
        case Succeeded(result):
            return EMPTY_SIZE + (0 if result is None else len(result))
        case Failed(error) | Crashed(error) | Unsupported(error):
            told = len(error.message) + len(error.traceback) + sum(map(len, error.bases))
            return EMPTY_SIZE + CHARACTER * told
        case Cancelled(reason):
            return EMPTY_SIZE + CHARACTER * len(reason)
        case _:
            return EMPTY_SIZE
