"""Run a policy's fallback on recently logged requests, to check what it would answer."""

from pathlib import Path

from surefoot.adapters.config.fallback_table import read_fallback
from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.answers.fallback_drill import drill_fallback
from surefoot.core.errors import EvidenceUnavailable, FallbackInvalid, NotFound, PolicyInvalid
from surefoot.core.record.fallback_events import FallbackDrilled

_WINDOW_S = 7 * 86400.0
"""How far back rows are taken from [seconds]."""
_MAX_ROWS = 500
"""Most rows that a fallback is asked [count]."""


def run_fallback_drill(project: Path, log: Path, model: str, champion: str, now: float) -> FallbackDrilled | None:
    """Ask the fallback recent rows; None where the policy has none, or cannot be read.

    Args:
        project: Folder with configs/ and the files of tables.
        log: Folder of the prediction logs.
        model: Registered model.
        champion: Number of the version that serves; its answers say which shape callers are used to.
        now: The time [Unix seconds].
    """
    try:
        _, policy = read_policy(project / "configs" / f"{model}.yaml")
    except (PolicyInvalid, NotFound):
        return None
    if policy.fallback is None or policy.fallback.refuse:
        return None
    kind = "constant" if policy.fallback.table is None else "table"
    try:
        fallback = read_fallback(project, policy)
    except FallbackInvalid as error:
        return FallbackDrilled(kind, "", 0, str(error))
    if fallback is None:
        return None
    try:
        found = PredictionLog(log).read_requests(model, now - _WINDOW_S, now, limit=_MAX_ROWS)
    except EvidenceUnavailable as error:
        return FallbackDrilled(kind, fallback.digest, 0, f"the log cannot be read: {error}")
    served = [request.prediction for request in found if request.answered_by == champion]
    return drill_fallback(fallback, [request.columns() for request in found], served)
