"""Whether a page already holds all that a counted search asked for: newest first is checked, never trusted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC

from service.fhir import primitives

_COUNT = re.compile(r"[?&]_count=(\d+)")


def is_enough(query: str, times: Sequence[str | None]) -> bool:
    """True if `times`, the effective times of all that came so far, are as many as asked and newest first.

    Then nothing newer can be on a further page. False for a search that does not ask for `_sort=-date` and `_count`.
    """
    count = _COUNT.search(query)
    if count is None or "_sort=-date" not in query or len(times) < max(2, int(count[1])):
        return False
    moments = [moment.end for time in times if (moment := primitives.when(time, UTC))]
    return len(moments) == len(times) and moments == sorted(moments, reverse=True)
