"""Compact prediction logs, delete expired records and reports, and count what versions have answered."""

from pathlib import Path

from surefoot.adapters.predictions.closed_segments import closed_segments as closed_log_segments
from surefoot.adapters.predictions.compaction import CompactionResult, compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.served_answers.served_answer_counts import (
    CountWindow,
    count_served_answers,
    find_primary_loss_gate,
)
from surefoot.core.domain import RolloutKind
from surefoot.core.errors import Rejected
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.journal.served_version_events import VersionCounts
from surefoot.core.naming.model_names import find_model_of_file_name, model_file_name
from surefoot.core.policy.governance.retention import HIGH_RISK, HIGH_RISK_RETENTION_DAYS, LOG_RETENTION_DAYS
from surefoot.core.policy.policy_types import Policy
from surefoot.rollout import (
    Ports,
    journal_answer_counts,
    retry_on_conflict,
)
from surefoot.settings import Settings
from surefoot.wiring.adapters import make_clock, open_evidence_store, open_journal
from surefoot.wiring.operation_ports import open_ports
from surefoot.wiring.policies import read_policies

_DAY_S = 86400.0


def list_logged_models(config: Settings) -> tuple[str, ...]:
    """Models that have a prediction log."""
    names = [path.name for path in config.log.glob("*/")]
    found = {name: find_model_of_file_name(name) for name in names}
    if None in found.values():  # a shortened name: the journal knows the whole one
        with open_journal(config) as journal:
            models = journal.models()
        found |= {name: find_model_of_file_name(name, models) for name, model in found.items() if model is None}
    return tuple(sorted(model for model in found.values() if model is not None))


def closed_segments(config: Settings, model: str) -> tuple[str, ...]:
    """Names of the segments of a model's log that wait to be compacted.

    Raises:
        EvidenceUnavailable: The folder of the log cannot be read.
    """
    return closed_log_segments(config.log, model)


def compact_model_log(
    config: Settings, model: str, keep: float | None = None, batches: int | None = None
) -> CompactionResult:
    """Convert the closed segments of a model's log to Parquet, and delete expired records.

    While a rollout is open nothing is removed: its gates compare with a past that must stay as it was. What an incident
    rests on is kept until a person lifts that hold.

    Args:
        config: Where everything is.
        model: Registered model.
        keep: How long a record is kept at least [days]; as the model's policy says without it.
        batches: Most parts to make of each kind of records [count]; all without it.

    Raises:
        Rejected: The policy's tier demands that records are kept longer.
        SurefootError: As `surefoot.adapters.predictions.compaction.compact_log` does; or the journal cannot be read.
    """
    policy = read_policies(config).get(model)
    keep = _retention_days(policy, model, keep)
    with open_journal(config) as journal:
        ledger = fold_entries(model, journal.read(model))
    before = None if ledger.open else min(make_clock(config).now() - keep * _DAY_S, ledger.incidents.held_since)
    if before is not None and ledger.champion and before > (ledger.counted.until if ledger.counted else 0.0):
        with open_ports(config, "compaction") as ports:
            record_answer_counts(config, ports, model, always=True)  # what is removed can never be counted again
    done = compact_log(config.log, model, before=before, batches=batches)
    if before is not None:
        open_evidence_store(config, model).answers.remove_before(before)
    if policy is not None and policy.retention.reports is not None and not ledger.open:
        done.reports = _remove_old_reports(config.home, ledger, make_clock(config).now() - policy.retention.reports)
    return done


def _retention_days(policy: Policy | None, model: str, keep: float | None) -> float:
    """How long the records of a model are kept at least [days].

    Args:
        policy: Its policy; None without one.
        model: Registered model.
        keep: What a person asks for [days]; None for what the policy says.

    Raises:
        Rejected: The policy's tier demands that records are kept longer than that.
    """
    if keep is None:
        return LOG_RETENTION_DAYS if policy is None else policy.retention.log_days
    if policy is not None and policy.tier == HIGH_RISK and keep < HIGH_RISK_RETENTION_DAYS:
        raise Rejected(
            f"{model} is of tier high-risk, whose records are kept {HIGH_RISK_RETENTION_DAYS} days at least, and"
            f" {keep:g} were asked for: leave --keep out, or change 'tier' in the policy"
        )
    return keep


def _remove_old_reports(home: Path, ledger: Ledger, before: float) -> int:
    """Remove validation pages, exposure lists and corrections of rollouts that began before a time.

    What an incident holds stays, and so do reports of incidents, of which each is small and tells what was done.

    Args:
        home: The state folder.
        ledger: The journal of the model.
        before: Reports of rollouts that were opened earlier go [Unix seconds].

    Returns:
        Files that were removed [count].
    """
    held = {one.rollback for one in ledger.incidents.known.values() if one.held is not None}
    held |= {one.opened.rollout for one in ledger.incidents.known.values() if one.held is not None}
    versions = {one.version.number for one in ledger.incidents.known.values() if one.held is not None}
    exposure, corrections = (home / place / model_file_name(ledger.model) for place in ("exposure", "corrections"))
    old: list[Path] = []
    for name, rollout in ledger.rollouts.items():
        if rollout.opened_at >= before or name in held:
            continue
        number = (
            rollout.opened.candidate if rollout.opened.kind == RolloutKind.PROMOTION else rollout.opened.champion
        ).number
        old += [home / "reports" / f"{name}.html", *exposure.glob(f"version-*-{name}.parquet")]
        old += [] if number in versions else corrections.glob(f"version-{number}-by-*.parquet")
    found = [path for path in old if path.exists()]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def record_answer_counts(config: Settings, ports: Ports, model: str, *, always: bool = False) -> Ledger:
    """Journal what each version has answered since the last count, when a rollout has ended, or always.

    Raises:
        SurefootError: The log or the journal cannot be read.
    """
    gate = find_primary_loss_gate(read_policies(config).get(model))
    maturity = gate.maturity if gate else 0.0

    def count(since: float, until: float, labels_since: float, labels_until: float) -> tuple[VersionCounts, ...]:
        window = CountWindow(since, until, labels_since, labels_until, ports.clock.now())
        return count_served_answers(PredictionLog(config.log), model, window, gate)

    return retry_on_conflict(lambda: journal_answer_counts(ports, model, maturity, count, always=always))


def count_unjournalled_answers(config: Settings, ledger: Ledger, now: float) -> tuple[VersionCounts, ...]:
    """What each version has answered since the last count in the journal; matured labels only.

    Raises:
        EvidenceUnavailable: The log cannot be read.
    """
    gate = find_primary_loss_gate(read_policies(config).get(ledger.model))
    since, labels_since = (ledger.counted.until, ledger.counted.labels_until) if ledger.counted else (0.0, 0.0)
    window = CountWindow(since, now, labels_since, now - (gate.maturity if gate else 0.0), now)
    return count_served_answers(PredictionLog(config.log), ledger.model, window, gate)
