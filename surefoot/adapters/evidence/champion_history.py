"""Measure the champion's past failures or latency, to plan a gate."""

import math
from statistics import NormalDist

from surefoot.adapters.evidence.live_counts.arm_assignment import FIRST_ROW_PER_REQUEST_SQL
from surefoot.adapters.evidence.live_counts.sql_log import SqlLog
from surefoot.core.planning.planning_inputs import ExpectValue
from surefoot.core.policy.policy_types import Gate, MeasurementGate, Metric

_MIN_HISTORY_REQUESTS = 100
"""Requests without which nothing is told [count]."""


def measure_champion_history(
    log: SqlLog, model: str, version: str, gate: Gate, since: float, until: float
) -> ExpectValue:
    """Measure the champion's failure rate, or the spread of the logarithm of a measurement such as latency.

    Args:
        log: The prediction log.
        model: Registered model.
        version: Version whose requests count.
        gate: The gate.
        since: Beginning of the window [Unix seconds].
        until: End of the window [Unix seconds].
    """
    scope = (version, since, until)
    if gate.metric is Metric.ERROR_RATE:
        sql = f"""
            SELECT count(*), count(*) FILTER (error IS NOT NULL)
            FROM (SELECT * FROM log WHERE version = $1 AND "at" > $2 AND "at" <= $3 {FIRST_ROW_PER_REQUEST_SQL})
        """  # noqa: S608 - a constant of ours
        n, bad = (int(str(value)) for value in log.query_rows(model, sql, scope)[0])
        if n < _MIN_HISTORY_REQUESTS:
            return ExpectValue(
                gate.name,
                note=f"only {n:,} requests of version {version} are logged; {_MIN_HISTORY_REQUESTS} are needed",
            )
        return ExpectValue(gate.name, "rate", (bad + 0.5) / (n + 1.0), f"{bad:,} of {n:,} requests failed")
    if isinstance(gate, MeasurementGate):
        column, highest = f'"{gate.measured}"', max(0.75, *gate.quantiles)
        sql = f"""
            SELECT count(*), quantile_cont(ln({column}), 0.5), quantile_cont(ln({column}), {highest!r})
            FROM (SELECT * FROM log WHERE version = $1 AND "at" > $2 AND "at" <= $3 AND {column} > 0
                  {FIRST_ROW_PER_REQUEST_SQL})
        """  # noqa: S608 - a constant, a number and a name that the policy parser has checked
        counted, middle, high = log.query_rows(model, sql, scope)[0]
        n = int(str(counted))
        if n < _MIN_HISTORY_REQUESTS:
            return ExpectValue(
                gate.name, note=f"only {n:,} measurements of version {version}; {_MIN_HISTORY_REQUESTS} are needed"
            )
        spread = (float(str(high)) - float(str(middle))) / NormalDist().inv_cdf(highest)
        median, tail = (math.exp(float(str(value))) for value in (middle, high))
        note = f"{n:,} requests; p50 {median:.4g}, p{highest * 100:g} {tail:.4g}"
        return ExpectValue(gate.name, "spread", spread, note) if spread > 0.0 else ExpectValue(gate.name, note=note)
    return ExpectValue(gate.name, note=f"nothing is measured for {gate.metric}")
