"""Journal how many requests each version has answered; tell when this count or the exposure list is due."""

from collections.abc import Callable

from surefoot.core.journal.ledger import Ledger
from surefoot.core.journal.served_version_events import ServiceCounted, VersionCounts
from surefoot.rollout.ports import Ports

_MAX_LOG_DELAY_S = 60.0
"""Age at which every answer to a request is in the log: none takes longer [seconds]."""
_CountServedAnswers = Callable[[float, float, float, float], tuple[VersionCounts, ...]]
"""Counts what versions answered: requests of (since, until], and labels of requests of (labels since, labels until]."""


def is_answer_count_due(ledger: Ledger, now: float) -> bool:
    """Whether a rollout has ended since the last count, and all that was answered before its end is in the log."""
    return bool(ledger.uncounted) and not ledger.open and now >= ledger.ended_at + 2.0 * _MAX_LOG_DELAY_S


def is_exposure_list_due(ledger: Ledger, now: float) -> bool:
    """Whether a version was taken back whose answers are not listed, and all of them are in the log."""
    return bool(ledger.unlisted) and not ledger.open and now >= ledger.ended_at + 2.0 * _MAX_LOG_DELAY_S


def journal_answer_counts(
    ports: Ports, model: str, maturity: float, count: _CountServedAnswers, *, always: bool = False
) -> Ledger:
    """Count what each version has answered since the last count, and journal it; each request is counted once.

    Args:
        ports: The outside world.
        model: Registered model.
        maturity: Age at which a label counts [seconds].
        count: Counts it in the log.
        always: Count though no rollout has ended.

    Raises:
        EvidenceUnavailable: The log cannot be read.
        StaleLedger: Another process has appended to the journal meanwhile.
    """
    ledger, now = ports.ledger(model), ports.clock.now()
    if not always and not is_answer_count_due(ledger, now):
        return ledger
    last = ledger.counted
    since, labels_since = (last.until, last.labels_until) if last else (0.0, 0.0)
    until = max(now - _MAX_LOG_DELAY_S, since)
    labels_until = max(until - maturity, labels_since)
    versions = count(since, until, labels_since, labels_until)
    return ports.append(ledger, ServiceCounted(since, until, labels_since, labels_until, versions))
