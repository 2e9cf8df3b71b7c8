"""Review an incident: find the policy change that does best in back-tests, and write it to the policy file."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from surefoot import wiring
from surefoot.adapters.config.incident_cases import StoredCase, case_folder, read_case, write_case
from surefoot.adapters.config.policy_edit import diff_policy_texts, edit_policy_text, read_policy_text
from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.config.policy_folder import find_policy_file
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.served_answers.incident_records import write_incident_records
from surefoot.core.domain import Outcome, RolloutKind, Stage
from surefoot.core.errors import EvidenceUnavailable, Rejected
from surefoot.core.incidents.incident_report import IncidentReport
from surefoot.core.incidents.review.incident_case import CaseKind, IncidentCase
from surefoot.core.incidents.review.policy_change import (
    Detection,
    PolicyChange,
    combine_changes,
    list_added_gate_changes,
    list_policy_changes,
)
from surefoot.core.incidents.review.policy_change_ranking import (
    AFTER,
    BEFORE,
    PATCH,
    BacktestedPolicy,
    IncidentReview,
    choose_policy_change,
    is_within_false_alarm_budget,
    rank_by_detection,
)
from surefoot.core.incidents.timeline import Moment
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import EndDecided, GateJudged, RolloutOpened, StageEntered, decode_event
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.journal.watch_events import ChampionJudged
from surefoot.core.naming.model_names import model_file_name
from surefoot.core.planning import false_alarms_a_year
from surefoot.core.policy.policy_types import Policy
from surefoot.incidents import incident_reports
from surefoot.incidents.incident_cases import CaseBacktester, summarise_backtest
from surefoot.settings import Settings

FALSE_ALARM_TRIALS = 10
"""Rollouts of the good version against itself in which a proposal is tried [count]."""
_LOOKS_AFTER = 3.0
"""Looks after the decision that are recorded: a slower policy is told apart from one that stops nothing [count]."""
_REPLAYED = frozenset({Stage.SUBMITTED, Stage.VALIDATING, Stage.SHADOWING})
"""Stages of a rollout that no live request takes part in."""
_HEALTHY_S = 28 * 86400.0
"""Time before the trouble of a champion in which the looks of its watch are repeated [seconds]."""


def review_incident(
    config: Settings, entries: Sequence[Entry], model: str, name: str, draws: int = FALSE_ALARM_TRIALS
) -> IncidentReview:
    """Record the incident as a case, back-test changes of the policy on it, and choose the best.

    Args:
        config: Where everything is.
        entries: The whole journal of the model.
        model: Registered model.
        name: Id of the incident.
        draws: Rollouts of the good version against itself in which a proposal is tried [count].

    Raises:
        Rejected: The version was not taken back, or nothing of its rollout is known.
        SurefootError: The records cannot be had; the message says why.
    """
    report = incident_reports.build_report(config, entries, model, name)
    file, folder = find_policy_file(config.configs, model), case_folder(config.project, model, name)
    mapping, policy = read_policy(file)
    known = (folder / "case.json").is_file()
    stored = read_case(folder) if known else _record_case(config, entries, report, policy, folder)
    before = _write_policy(folder / BEFORE, model, read_policy_text(file))
    found, budget = _detection(entries, report), policy.false_rollback_budget
    if stored.case.kind is CaseKind.WATCH:
        budget = policy.watch.false_alarms if policy.watch else 0.0
    with CaseBacktester(stored) as player:
        changes = list_policy_changes(policy, mapping, found)
        in_force, tried, refused = _try_changes(player, before, policy, changes, found)
        tried = _with_costs(player, before, tried, in_force, (budget, draws))
    if not known:
        decided = report.timeline.at(Moment.DECIDED) or report.incident.at
        stored = write_case(folder, replace(stored.case, stop_by=max(decided, in_force.stopped_at or decided)))
    proposed = choose_policy_change(in_force, tried, budget)
    diff, after = "", policy
    if proposed is not None and proposed.change is not None:
        text = edit_policy_text(read_policy_text(before), proposed.change.edits)
        _, after = read_policy(_write_policy(folder / AFTER, model, text))
        diff = diff_policy_texts(str(file.relative_to(config.project)), read_policy_text(before), text)
        (folder / PATCH).write_text(diff, encoding="utf-8")
    bounds = (false_alarms_a_year(policy), false_alarms_a_year(after))
    return IncidentReview(
        report,
        stored.case,
        str(folder.relative_to(config.project)),
        found,
        in_force,
        tuple(tried),
        tuple(refused),
        proposed,
        diff,
        budget,
        bounds,
    )


def apply_review(config: Settings, review: IncidentReview) -> Path:
    """Write the proposed policy over the one that is in force.

    Raises:
        Rejected: There is no proposal, or the policy file has changed since the review.
    """
    file = find_policy_file(config.configs, review.case.model)
    if not review.diff:
        raise Rejected(f"the review of {review.case.incident} proposes nothing to apply")
    folder, name = config.project / review.folder, f"{model_file_name(review.case.model)}.yaml"
    if read_policy_text(file) != read_policy_text(folder / BEFORE / name):
        raise Rejected(f"{file} has changed since the review: draft it again")
    file.write_bytes((folder / AFTER / name).read_bytes())
    return file


def _record_case(
    config: Settings, entries: Sequence[Entry], report: IncidentReport, policy: Policy, folder: Path
) -> StoredCase:
    """Write the records of an incident and what must be stopped."""
    ledger, incident = fold_entries(report.model, entries), report.incident
    rollback = ledger.rollouts.get(incident.rollback)
    if rollback is None or report.good is None:
        raise Rejected(f"incident {incident.name} took no version back: there is nothing to stop sooner")
    decided = report.timeline.at(Moment.DECIDED) or incident.at
    onset = report.timeline.at(Moment.ONSET) or decided
    maturity = max((gate.maturity for gate in policy.gates.values()), default=0.0)
    if rollback.opened.kind == RolloutKind.PROMOTION:
        kind, opened = CaseKind.TRIAL, _replayed_at(entries, incident.rollback)
        window = max(policy.shadow.window if policy.shadow else 0.0, policy.suite_window)
        every = max([step.every for step in policy.ramp], default=policy.bake.every)
    else:
        kind = CaseKind.WATCH
        opened = max(_promoted_at(ledger, report), onset - _HEALTHY_S)
        window = policy.watch.window if policy.watch else _HEALTHY_S
        every = policy.watch.every if policy.watch else 86400.0
    until = decided + _LOOKS_AFTER * every
    case = IncidentCase(
        report.model, incident.name, kind, incident.version.number, report.good.number, opened, onset, until, decided,
        " ".join(incident.opened.reason.split()),
    )  # fmt: skip
    stored = StoredCase(folder, case)
    write_incident_records(
        PredictionLog(config.log),
        wiring.make_version_processes(config),
        report.model,
        (report.good, incident.version),
        (opened - window - maturity, until),
        (stored.records, stored.labels),
        frozenset((*policy.log_policy.hashed, *policy.log_policy.dropped)),
    )
    return write_case(folder, case)


def _replayed_at(entries: Sequence[Entry], rollout: str) -> float:
    """When a rollout came to its first stage after the replay, or was opened where it came to none [Unix seconds]."""
    found = 0.0
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, RolloutOpened) and event.rollout == rollout:
            found = entry.at
        if isinstance(event, StageEntered) and event.rollout == rollout and event.stage not in _REPLAYED:
            return entry.at
    return found


def _promoted_at(ledger: Ledger, report: IncidentReport) -> float:
    """When the champion's promotion ended [Unix seconds]; the beginning of time where the journal does not know it."""
    promotion = ledger.rollouts.get(report.incident.opened.rollout)
    return promotion.entered_at if promotion else 0.0


def _detection(entries: Sequence[Entry], report: IncidentReport) -> Detection:
    """The gate that stopped the version, and where it was judged."""
    incident = report.incident
    gate, stage, step, watched = "", Stage.PROMOTED, 0, ""
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        match event:
            case EndDecided() if event.rollout == incident.rollback:
                gate = gate or event.gate
            case GateJudged() if event.rollout == incident.rollback and event.stage is not Stage.ROLLED_BACK:
                stage, step = event.stage, event.step
            case ChampionJudged() if event.champion.digest == incident.version.digest:
                if event.verdict.outcome is Outcome.FAIL:
                    watched = watched or event.verdict.gate
            case _:
                pass
    return Detection(gate or watched, stage, step)


def _write_policy(folder: Path, model: str, text: str) -> Path:
    """Write a policy beside a case.

    Raises:
        EvidenceUnavailable: The disk is full, or refuses something else.
    """
    file = folder / f"{model_file_name(model)}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    except OSError as error:
        raise EvidenceUnavailable(f"{file} cannot be written: {error}") from error
    return file


def _try_changes(
    player: CaseBacktester, before: Path, policy: Policy, changes: Sequence[PolicyChange], found: Detection
) -> tuple[BacktestedPolicy, list[BacktestedPolicy], list[tuple[str, str]]]:
    """Back-test the policy in force and each change; while callers still meet the version, other gates and pairs too.

    Returns:
        What the policy in force makes of the case, what each change does, and changes that make no valid policy.
    """
    in_force = summarise_backtest(None, player.stored.case, player.play(before))
    tried: list[BacktestedPolicy] = []
    refused: list[tuple[str, str]] = []
    for change in changes:
        _try_change(player, before, change, tried, refused)
    ranked = rank_by_detection(in_force, tried)
    if ranked and ranked[0].requests == 0:
        return in_force, tried, refused
    for change in list_added_gate_changes(policy, found):
        _try_change(player, before, change, tried, refused)
    best = [one.change for one in rank_by_detection(in_force, tried) if one.change is not None]
    pair = next((combine_changes(best[0], two) for two in best[1:] if _are_apart(best[0], two)), None)
    if pair is not None:
        _try_change(player, before, pair, tried, refused)
    return in_force, tried, refused


def _are_apart(one: PolicyChange, other: PolicyChange) -> bool:
    """Whether two changes edit different places."""
    return not {edit.path for edit in one.edits} & {edit.path for edit in other.edits}


def _try_change(
    player: CaseBacktester,
    before: Path,
    change: PolicyChange,
    tried: list[BacktestedPolicy],
    refused: list[tuple[str, str]],
) -> None:
    """Back-test one change; what makes no valid policy is said."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            text = edit_policy_text(read_policy_text(before), change.edits)
            file = _write_policy(Path(folder), player.stored.case.model, text)
            tried.append(summarise_backtest(change, player.stored.case, player.play(file)))
    except Rejected as error:
        refused.append((change.words, str(error)))


def _with_costs(
    player: CaseBacktester,
    before: Path,
    tried: Sequence[BacktestedPolicy],
    in_force: BacktestedPolicy,
    cost: tuple[float, int],
) -> list[BacktestedPolicy]:
    """The tried policies; those of a rollout with their false alarms, the best first until one keeps to the budget."""
    made, (budget, draws) = list(tried), cost
    if player.stored.case.kind is CaseKind.WATCH:
        return made
    for one in rank_by_detection(in_force, tried):
        if one.change is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            text = edit_policy_text(read_policy_text(before), one.change.edits)
            alarms = player.backtest_against_itself(_write_policy(Path(folder), player.stored.case.model, text), draws)
        counted = replace(one, false_alarms=alarms, trials=float(draws))
        made[made.index(one)] = counted
        if is_within_false_alarm_budget(counted, budget):
            break
    return made
