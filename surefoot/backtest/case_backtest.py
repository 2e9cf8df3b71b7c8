"""Back-test a policy on a recorded incident, to see if it stops the bad version."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.adapters.replay.recorded_answers import RecordedAnswers
from surefoot.backtest.recorded_loss_sums import RecordedLossSums
from surefoot.backtest.run_backtest import BacktestResult, GateEvaluation, backtest
from surefoot.core.domain import Outcome, Stage, Verdict, Version
from surefoot.core.incidents.review.incident_case import CaseKind, IncidentCase
from surefoot.core.journal.events import EndDecided, decode_event
from surefoot.core.judging.judge import judge
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import DATA_GATE_NAME, PairedGate, narrow_gate_type
from surefoot.rollout import build_watch_evidence_requests, compute_watch_thresholds

_ELSEWHERE = frozenset({"data_layer", "bundle", "fallback", "playbook"})
"""Sections of a policy that stop no version; what they need is not in a case."""
_WATCH = "standing watch"
_STOPPED = frozenset({Stage.REJECTED, Stage.ABORTED, Stage.ROLLED_BACK, Stage.FAST_ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Result of back-testing a policy on a regression case.

    Attributes:
        stopped_at: When a gate stopped the version [Unix seconds]; None where none did.
        gate: The gate.
        where: Stage of the rollout in which it did, or the standing watch.
        reason: Why, or why not, in one sentence.
        requests: Requests to which callers got an answer of the version until then, of a champion since the onset
            [count].
        false_alarms: Times at which a gate failed before the trouble began [count].
        looks: Verdicts, in order.
    """

    stopped_at: float | None
    gate: str
    where: str
    reason: str
    requests: int
    false_alarms: int
    looks: tuple[GateEvaluation, ...]


class CaseRecords:
    """The records of a case, opened once for many policies.

    Attributes:
        requests: The records.
        answers: The answers of both versions, for the gates of a rollout.
        blocks: The same by block, for the looks of a watch.
    """

    def __init__(self, records: Path, labels: Path) -> None:
        """Read the files.

        Raises:
            Rejected: A file cannot be read, or breaks the schema.
        """
        self.requests = RecordedRequests(records, labels)
        self.answers = RecordedAnswers(self.requests)
        self.blocks = RecordedLossSums(self.requests)

    def close(self) -> None:
        """Forget everything."""
        self.requests.close()


def backtest_case(
    case: IncidentCase, records: CaseRecords, policy: Mapping[str, object], *, secret: str = ""
) -> CaseResult:
    """Back-test a policy on a case.

    The expectation suite is not run: it judges the data, and the data had passed when the version was tried.

    Args:
        case: The case.
        records: Its records.
        policy: The policy as a mapping of JSON values.
        secret: Another assignment of units; empty for the one that is the case's own.
    """
    played = {key: value for key, value in policy.items() if key not in _ELSEWHERE}
    if case.kind is CaseKind.WATCH:
        return _play_watch(case, records, played)
    records.requests.restart()
    found = backtest(
        records.requests,
        played,
        None,
        secret=secret or case.incident,
        opened=case.opened,
        answers=records.answers,
    )
    return _of_rollout(found, records.requests)


def _of_rollout(found: BacktestResult, records: RecordedRequests) -> CaseResult:
    """What a back-test of a rollout says of the version: it was stopped where a gate has failed, and nowhere else."""
    decided = None
    for entry in found.journal:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, EndDecided) and event.gate and found.stage in _STOPPED:
            decided = entry.at
    last = next((one for one in reversed(found.looks) if one.verdict.gate == found.gate), None)
    if decided is not None and (last is None or last.verdict.outcome is not Outcome.FAIL):
        decided = None
    until = found.ended if decided is None else decided
    sql = """SELECT count(DISTINCT request) FROM log WHERE version = $1 AND error IS NULL AND "at" <= $2"""
    ((requests,),) = records.query_rows(found.model, sql, (found.candidate, until))
    where = (
        "" if last is None else f"{last.stage} {last.weight:g} %" if last.stage is Stage.RAMPING else str(last.stage)
    )
    looks = tuple(one for one in found.looks if one.verdict.gate != DATA_GATE_NAME)
    return CaseResult(decided, found.gate, where, found.reason, int(str(requests)), 0, looks)


def _play_watch(case: IncidentCase, records: CaseRecords, mapping: Mapping[str, object]) -> CaseResult:
    """Take every look of a standing watch at a champion, until one fails after the trouble began."""
    policy = parse_policy(mapping)
    watch = policy.watch
    why = ""
    if watch is None or not watch.gates:
        why = "the policy has no gates in 'watch'"
    elif watch.worse != "rollback":
        why = f"watch.worse is '{watch.worse}': the version is not taken back"
    if watch is None or why:
        return CaseResult(None, "", _WATCH, why, _answered(case, records.requests), 0, ())
    bad, good = (Version(number, f"recorded:{number}") for number in (case.bad, case.good))
    level = compute_watch_thresholds(policy, watch)
    looks: list[GateEvaluation] = []
    false_alarms, at = 0, case.opened + watch.every
    while at <= case.until:
        failed: Verdict | None = None
        for question in build_watch_evidence_requests(policy, watch, bad, good, at, ("", "", case.opened)):
            sums = records.blocks.paired_sums(narrow_gate_type(question.gate, PairedGate), question.since, at)
            verdict = judge(question.gate, sums, level)
            looks.append(GateEvaluation(at, Stage.PROMOTED, 100.0, verdict))
            failed = failed or (verdict if verdict.outcome is Outcome.FAIL else None)
        if failed is not None and at >= case.onset:
            requests = _answered(case, records.requests, at)
            return CaseResult(at, failed.gate, _WATCH, failed.reason, requests, false_alarms, tuple(looks))
        false_alarms += failed is not None
        at += watch.every
    why = "no gate of the standing watch fails before the records end"
    return CaseResult(None, "", _WATCH, why, _answered(case, records.requests), false_alarms, tuple(looks))


def _answered(case: IncidentCase, records: RecordedRequests, until: float = math.inf) -> int:
    """Requests that the champion answered from the onset on [count]."""
    sql = 'SELECT count(DISTINCT request) FROM pairs WHERE candidate_error IS NULL AND "at" > $1 AND "at" <= $2'
    ((found,),) = records.query_rows("", sql, (case.onset, until))
    return int(str(found))
