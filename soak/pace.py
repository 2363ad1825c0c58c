"""How fast this machine answers while nothing is broken: the yardstick for what a fault may cost."""

from __future__ import annotations

from soak.calls import Ehr

QUIET_CALLS = 10
TIMES = 10.0  # a bound is what the service promises, and so many times the slowest call of the quiet run


def allowance(ehr: Ehr, *ports: int) -> float:
    """Seconds to add to each promise: `TIMES` the slowest of some calls now, at these replicas, one after the other.

    On an idle machine that is a tenth of a second; on a busy one, whose own calls are slow as well, it is more.
    """
    quiet = [ehr.call(port, "all").seconds for port in ports for _ in range(QUIET_CALLS // len(ports))]
    return TIMES * max(quiet)
