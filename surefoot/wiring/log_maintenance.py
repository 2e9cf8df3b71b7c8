"""Compact an installation's prediction logs, and journal each version's answer counts before old records expire."""

from surefoot.adapters.predictions.closed_segments import closed_segments as closed_log_segments
from surefoot.adapters.predictions.compaction import CompactionResult, compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.served_answers.served_answer_counts import CountWindow, count_served_answers, primary_loss_gate
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.journal.served_version_events import VersionCounts
from surefoot.core.naming.model_names import model_of_file_name
from surefoot.rollout import (
    Ports,
    journal_answer_counts,
    retry_on_conflict,
)
from surefoot.settings import Settings
from surefoot.wiring.adapters import make_clock, open_evidence_store, open_journal
from surefoot.wiring.policies import read_policies
from surefoot.wiring.use_case_ports import open_ports

LOG_RETENTION_DAYS = 90
"""How long the prediction log reaches back unless told otherwise [days]."""


def logged_models(config: Settings) -> tuple[str, ...]:
    """Models that have a prediction log."""
    names = [path.name for path in config.log.glob("*/")]
    found = {name: model_of_file_name(name) for name in names}
    if None in found.values():  # a shortened name: the journal knows the whole one
        with open_journal(config) as journal:
            models = journal.models()
        found |= {name: model_of_file_name(name, models) for name, model in found.items() if model is None}
    return tuple(sorted(model for model in found.values() if model is not None))


def closed_segments(config: Settings, model: str) -> tuple[str, ...]:
    """Names of the segments of a model's log that wait to be compacted.

    Raises:
        EvidenceUnavailable: The folder of the log cannot be read.
    """
    return closed_log_segments(config.log, model)


def compact_model_log(
    config: Settings, model: str, keep: float = LOG_RETENTION_DAYS, batches: int | None = None
) -> CompactionResult:
    """Convert the closed segments of a model's log to Parquet, and delete expired records.

    While a rollout is open nothing is removed: its gates compare with a past that must stay as it was. What an incident
    rests on is kept until a person lifts that hold.

    Args:
        config: Where everything is.
        model: Registered model.
        keep: How long a record is kept at least [days].
        batches: Most parts to make of each kind of records [count]; all without it.

    Raises:
        SurefootError: As `surefoot.adapters.predictions.compaction.compact_log` does; or the journal cannot be read.
    """
    with open_journal(config) as journal:
        ledger = fold_entries(model, journal.read(model))
    before = None if ledger.open else min(make_clock(config).now() - keep * 86400.0, ledger.incidents.held_since)
    if before is not None and ledger.champion and before > (ledger.counted.until if ledger.counted else 0.0):
        with open_ports(config, "compaction") as ports:
            journal_counts(config, ports, model, always=True)  # what is removed can never be counted again
    done = compact_log(config.log, model, before=before, batches=batches)
    if before is not None:
        open_evidence_store(config, model).answers.remove_before(before)
    return done


def journal_counts(config: Settings, ports: Ports, model: str, *, always: bool = False) -> Ledger:
    """Journal what each version has answered since the last count, when a rollout has ended, or always.

    Raises:
        SurefootError: The log or the journal cannot be read.
    """
    gate = primary_loss_gate(read_policies(config).get(model))
    maturity = gate.maturity if gate else 0.0

    def count(since: float, until: float, labels_since: float, labels_until: float) -> tuple[VersionCounts, ...]:
        window = CountWindow(since, until, labels_since, labels_until, ports.clock.now())
        return count_served_answers(PredictionLog(config.log), model, window, gate)

    return retry_on_conflict(lambda: journal_answer_counts(ports, model, maturity, count, always=always))


def count_since(config: Settings, ledger: Ledger, now: float) -> tuple[VersionCounts, ...]:
    """What each version has answered since the last count in the journal; matured labels only.

    Raises:
        EvidenceUnavailable: The log cannot be read.
    """
    gate = primary_loss_gate(read_policies(config).get(ledger.model))
    since, labels_since = (ledger.counted.until, ledger.counted.labels_until) if ledger.counted else (0.0, 0.0)
    window = CountWindow(since, now, labels_since, now - (gate.maturity if gate else 0.0), now)
    return count_served_answers(PredictionLog(config.log), ledger.model, window, gate)
