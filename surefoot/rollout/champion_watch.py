"""Evaluate a serving champion at intervals (its watch), and react when it has become worse."""

from dataclasses import dataclass
from math import floor

from surefoot.core.champion_watch.day_counts import DAY_S, BoundedLabelValue
from surefoot.core.champion_watch.early_signals import SignalReading, compute_champion_signals
from surefoot.core.domain import EvidenceKind, Outcome, RolloutKind, Stage, Verdict, Version
from surefoot.core.errors import Rejected, StaleLedger
from surefoot.core.journal.chain import canonical_digest
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched, IncidentOpened
from surefoot.core.judging.evidence_json import encode_evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.judge import JUDGE_RULES_VERSION, judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Policy, ValueGate
from surefoot.core.policy.steps import Watch
from surefoot.rollout.ports import Ports
from surefoot.rollout.rollout_commands import open_rollback, retry_on_conflict

_YEAR_S = 365.25 * DAY_S
_REPEAT_S = 28.0 * DAY_S
"""Time for which the same trouble of the same champion opens no second incident [seconds]."""
_APPEND_ATTEMPTS = 20
"""How often a finding is journalled again after another process has written [count]."""
_LEVEL_SHARE = 0.5
"""Share of the false alarms that is for the comparison with the proven-good version; the rest is for the signals."""


@dataclass(frozen=True, slots=True)
class _WatchedChampion:
    """A champion that its policy has watched.

    Attributes:
        rollout: Id of its promotion.
        promotion: Its promotion.
        policy: The policy as it was then.
        watch: What that says of the time after the bake.
    """

    rollout: str
    promotion: Rollout
    policy: Policy
    watch: Watch


def find_watched_champion(ledger: Ledger) -> _WatchedChampion | None:
    """The champion of a model, where it was promoted under a policy that has it watched, and no rollout is open.

    Raises:
        Violation: The policy in the journal cannot be read by this release.
    """
    if ledger.open or ledger.champion is None:
        return None
    for rollout, promotion in reversed(tuple(ledger.rollouts.items())):
        if promotion.opened.kind != RolloutKind.PROMOTION or promotion.opened.candidate != ledger.champion:
            continue
        if promotion.stage not in {Stage.PROMOTED, Stage.FAST_PROMOTED}:
            continue
        policy = parse_policy(promotion.opened.policy)
        return None if policy.watch is None else _WatchedChampion(rollout, promotion, policy, policy.watch)
    return None


def next_evaluation_time(ledger: Ledger) -> float | None:
    """When the champion is to be looked at next [Unix seconds]; None where it is not watched.

    Raises:
        Violation: The policy in the journal cannot be read by this release.
    """
    watched = find_watched_champion(ledger)
    if watched is None:
        return None
    began = ledger.watch.at if ledger.watch.rollout == watched.rollout else watched.promotion.entered_at
    return began + watched.watch.every


def evaluate_champion(ports: Ports, model: str) -> Ledger:
    """Evaluate a champion once, journal the result, and react as its policy says.

    Raises:
        Rejected: The champion is not watched.
    """
    ledger = ports.ledger(model)
    watched = find_watched_champion(ledger)
    if watched is None or ledger.champion is None:
        raise Rejected(
            f"no champion of {model} is watched: its policy had no 'watch' when it was promoted, or a rollout is open"
        )
    now, champion, proven = ports.clock.now(), ledger.champion, ledger.target()
    worse: list[Verdict] = []
    if proven is not None:
        level = compute_watch_thresholds(watched.policy, watched.watch)
        opened = (watched.promotion.opened.suite_digest, watched.rollout, watched.promotion.opened_at)
        for question in build_watch_evidence_requests(watched.policy, watched.watch, champion, proven, now, opened):
            evidence = ports.evidence_source.gather(question)
            verdict = judge(question.gate, evidence, level)
            judged = ChampionJudged(
                watched.rollout, champion, proven, verdict, level, encode_evidence(evidence), JUDGE_RULES_VERSION
            )
            ledger = _append_finding(ports, ledger, judged)
            worse += [verdict] if verdict.outcome is Outcome.FAIL else []
    readings = read_champion_signals(ports, model, watched, champion, now)
    alarms = [one for one in readings if one.outcome is Outcome.FAIL]
    ledger = _append_finding(
        ports,
        ledger,
        ChampionWatched(
            rollout=watched.rollout,
            champion=champion,
            alarms=tuple(one.sentence for one in alarms if not one.early),
            early=tuple(one.sentence for one in alarms if one.early),
            unread=tuple(one.name for one in readings if one.outcome is Outcome.NO_DATA),
            early_signals=tuple(one.name for one in alarms if one.early),
            label_delay=_label_delay(watched),
        ),
    )
    return _react(ports, ledger, watched, worse, [one for one in alarms if not one.early])


def read_champion_signals(
    ports: Ports, model: str, watched: _WatchedChampion, champion: Version, now: float
) -> tuple[SignalReading, ...]:
    """Compare the champion with its own past, as of a moment [Unix seconds]."""
    maturity = _label_delay(watched)
    until, matured = floor(now / DAY_S) - 1, floor((now - maturity) / DAY_S) - 1
    value = _watched_label_value(watched.policy)
    days = ports.count_days(model, champion.number, maturity, watched.watch.ignored, until, value)
    per_year = watched.watch.false_alarms * (1.0 - _LEVEL_SHARE if watched.watch.gates else 1.0)
    return compute_champion_signals(days, until, matured, per_year, value)


def _watched_label_value(policy: Policy) -> BoundedLabelValue | None:
    """The value that the first gate on a value follows; None where a policy has none."""
    for gate in policy.gates.values():
        if isinstance(gate, ValueGate):
            return BoundedLabelValue(gate.column, gate.floor, gate.cap, gate.higher_is_better)
    return None


def _label_delay(watched: _WatchedChampion) -> float:
    """Age at which every gate's labels count [seconds]."""
    return max((gate.maturity for gate in watched.policy.gates.values()), default=0.0)


def build_watch_evidence_requests(
    policy: Policy, watch: Watch, champion: Version, proven: Version, now: float, promotion: tuple[str, str, float]
) -> tuple[EvidenceRequest, ...]:
    """The requests for evidence on the champion, compared with the proven-good version before it.

    Args:
        policy: The policy of the champion's promotion.
        watch: What it says of the time after the bake.
        champion: The champion.
        proven: The proven-good version before.
        now: The time [Unix seconds].
        promotion: Digest of its suite, id of the rollout, and when it was opened [Unix seconds].
    """
    gates = tuple(policy.gates[name] for name in watch.gates)
    suite, rollout, opened = promotion
    return tuple(
        EvidenceRequest(
            model=policy.model,
            gate=gate,
            kind=EvidenceKind.BAKE,
            suite=suite,
            rollout=rollout,
            champion=proven,
            candidate=champion,
            since=now - watch.window - gate.maturity,
            until=now,
            opened=opened,
            stale_after=policy.stale_after,
            look_gates=gates,
            origin=policy.evidence_origin,
        )
        for gate in gates
    )


def compute_watch_thresholds(policy: Policy, watch: Watch) -> DecisionThresholds:
    """Decision thresholds for a watch without an end: at most so many false alarms a year, over all gates."""
    alpha = min(watch.false_alarms * _LEVEL_SHARE, 0.5) / max(len(watch.gates), 1)
    return DecisionThresholds(
        alpha=alpha,
        elapsed=watch.window,
        per_minute=policy.requests_per_minute,
        forever=True,
        lasts=_YEAR_S,
    )


def _react(
    ports: Ports, ledger: Ledger, watched: _WatchedChampion, worse: list[Verdict], alarms: list[SignalReading]
) -> Ledger:
    """Open an incident, and take the champion back, where the policy says so."""
    model, champion = ledger.model, ledger.champion
    if champion is None:
        return ledger
    if worse and watched.watch.worse != "tell":
        reason = f"gate {worse[0].gate}: the version before would do better now: {worse[0].reason}"
        ledger = _open_incident(ports, ledger, watched, f"worse than before by {worse[0].gate}", reason)
        if watched.watch.worse == "rollback":
            try:
                return retry_on_conflict(lambda: _take_back(ports, model, champion, reason))
            except Rejected as refused:
                return _open_incident(ports, ledger, watched, "no rollback", str(refused))
    elif alarms and watched.watch.alarm == "incident":
        ledger = _open_incident(ports, ledger, watched, alarms[0].kind.value, alarms[0].sentence)
    return ledger


def _take_back(ports: Ports, model: str, champion: Version, reason: str) -> Ledger:
    """Open the rollback of a champion; a version or a rollout that has come since the look is left alone."""
    ledger = ports.ledger(model)
    return ledger if ledger.open or ledger.champion != champion else open_rollback(ports, model, reason)


def _append_finding(ports: Ports, ledger: Ledger, event: ChampionJudged | ChampionWatched | IncidentOpened) -> Ledger:
    """Journal what a look has found, also when another process has journalled something else meanwhile.

    A look takes seconds; a table that is tested or requests that are counted in that time change nothing of it.

    Raises:
        StaleLedger: Another version is the champion now, a rollout has been opened, or another process keeps writing.
    """
    champion = ledger.champion
    for _ in range(_APPEND_ATTEMPTS):
        try:
            return ports.append(ledger, event)
        except StaleLedger:
            ledger = ports.ledger(ledger.model)
            if ledger.open or ledger.champion != champion:
                raise
            if isinstance(event, IncidentOpened) and (event.rollout, event.trigger) in _recent(ledger, ports):
                return ledger
    return ports.append(ledger, event)


def _recent(ledger: Ledger, ports: Ports) -> set[tuple[str, str]]:
    """Promotions and triggers whose incident is not old."""
    now = ports.clock.now()
    return {key for key, at in ledger.watch.incidents.items() if now - at < _REPEAT_S}


def _open_incident(ports: Ports, ledger: Ledger, watched: _WatchedChampion, trigger: str, reason: str) -> Ledger:
    """Journal an incident, unless the same trouble of the same champion has one that is not old."""
    champion = ledger.champion
    if champion is None or (watched.rollout, trigger) in _recent(ledger, ports):
        return ledger
    facts = {"model": ledger.model, "rollout": watched.rollout, "trigger": trigger, "seq": ledger.head}
    name = canonical_digest(facts)[7:19]
    opened = IncidentOpened(name, watched.rollout, champion, trigger, reason, watched.watch.retrain or "")
    return _append_finding(ports, ledger, opened)


def find_retraining_to_start(ledger: Ledger) -> tuple[str, str] | None:
    """The deployment that an incident of the champion's promotion wants started, and a key by which it starts once.

    The key is the same for a month, so that trouble that goes on does not train one version after the other.
    """
    if not ledger.watch.rollout or ledger.watch.retrain is None:
        return None
    at, deployment = ledger.watch.retrain
    return deployment, f"surefoot {ledger.model} {ledger.watch.rollout} {floor(at / _REPEAT_S)}"
