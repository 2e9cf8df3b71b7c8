"""Write reports of incidents, determine their causes, and hold their evidence so that it does not expire."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from surefoot import wiring
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.served_answers.answers_over_time import (
    count_failed,
    count_traffic,
    measure_impact,
    read_answered_period,
)
from surefoot.adapters.served_answers.decision_costs import find_cost_gate, measure_decision_costs
from surefoot.adapters.served_answers.served_answer_counts import find_primary_loss_gate
from surefoot.adapters.served_answers.triage.request_traces import RequestTracer
from surefoot.adapters.served_answers.triage.trace_file import encode_traces, read_traces
from surefoot.adapters.served_answers.triage.triage_facts import TriageQuery, measure_triage_facts
from surefoot.core.domain import Outcome, RolloutKind, Verdict, Version
from surefoot.core.errors import EvidenceUnavailable
from surefoot.core.incidents.incident_events import EvidenceHeld, IncidentReported, IncidentTriaged
from surefoot.core.incidents.incident_report import Action, GateEvaluationRow, Impact, IncidentReport, VersionTraffic
from surefoot.core.incidents.incident_state import Incident
from surefoot.core.incidents.timeline import Moment, Timeline, build_timeline
from surefoot.core.journal.chain import Entry, canonical_digest
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import (
    EffectDone,
    EffectIntended,
    EndDecided,
    Event,
    GateJudged,
    RolloutOpened,
    StageEntered,
    as_json,
    decode_event,
)
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.journal.served_version_events import ExposureListed
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched, IncidentOpened
from surefoot.core.naming.model_names import model_file_name
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Metric
from surefoot.core.policy.recovery.playbook import NO_PLAYBOOK, Playbook
from surefoot.core.triage.triage import decide_cause
from surefoot.incidents.message_drafts import draft_messages, due_drafts
from surefoot.reports.incident_page import render_incident_html, render_incident_markdown
from surefoot.rollout import Ports, find_incident, open_due_incidents, retry_on_conflict
from surefoot.settings import Settings

_SPEED_METRICS = frozenset({Metric.LATENCY.value, Metric.RESOURCE.value})
"""Metrics of gates that speak of time, and not of answers."""
_MEMORY_METRICS = frozenset({Metric.GAUGE.value})
"""Metrics of gates on what a process holds, such as its memory."""
_BEFORE_S = 86400.0
"""How much of the prediction log before the onset is held [seconds]: what the version was like when it was well."""
_COMPARED_S = 14 * 86400.0
"""How much of the time before the onset is compared with the time after it [seconds]."""
_SHORTEST_PAD_S = 600.0
_PAD = 0.25
"""What plots show before the onset and after the restoration [share of the time between]."""
_QUIET = (EffectIntended, EffectDone, GateJudged, StageEntered, ChampionJudged, ChampionWatched, IncidentReported)
"""Events that are not listed as actions: measurements and intermediate states."""


def update_incident_reports(config: Settings, ports: Ports, model: str, playbook: Playbook | None = None) -> list[str]:
    """Open the incidents that are due, hold their evidence, write every report that is out of date, draft messages.

    Args:
        config: Where everything is.
        ports: Journal and clock.
        model: Registered model.
        playbook: Who is told; by default what the policy says now.

    Returns:
        What was done, one line each.

    Raises:
        SurefootError: The journal or the prediction log cannot be read, or a report cannot be written.
    """
    if playbook is None:
        policy = wiring.read_policies(config).get(model)
        playbook = policy.playbook if policy is not None else NO_PLAYBOOK
    done = [f"incident {name} is open" for name in open_due_incidents(ports, model)]
    for incident in ports.ledger(model).incidents.known.values():
        if incident.held is None and not incident.lifted and incident.rollback:
            hold_evidence(ports, model, incident.name)
            done.append(f"the evidence of incident {incident.name} is held")
        done += _brought_up_to_date(config, ports, model, incident.name, playbook)
    return done


def _brought_up_to_date(config: Settings, ports: Ports, model: str, name: str, playbook: Playbook) -> list[str]:
    """Write the report where it is out of date, look for the cause, draft messages, and report that too."""
    done = []
    for _ in range(2):
        if ports.ledger(model).incidents.known[name].report_due:
            done.append(f"incident {name} is reported: {write_report(config, ports, model, name).file}")
        if ports.ledger(model).incidents.known[name].triage_due:
            done.append(f"incident {name} is triaged: {triage_incident(config, ports, model, name).cause}")
        drafted = due_drafts(ports.ledger(model), name, playbook)
        if drafted:
            report = build_report(config, ports.journal.read(model), model, name)
            draft_messages(config.project, ports, report, playbook, drafted)
        done += [f"incident {name}: messages to {', '.join(drafted)} are drafted"] if drafted else []
    return done


def describe_incident_work(ledger: Ledger, playbook: Playbook = NO_PLAYBOOK) -> str:
    """What `update_incident_reports` would do, in words; empty for nothing.

    Args:
        ledger: State of the model.
        playbook: Who is told, as the policy says now.
    """
    if ledger.incidents.due(ledger.now) or ledger.drift.due_incidents(ledger.drifts, ledger.now):
        return "an incident is to be opened"
    for one in ledger.incidents.known.values():
        if one.report_due:
            return f"incident {one.name} is to be reported"
        if one.triage_due:
            return f"incident {one.name} is to be triaged"
        if due_drafts(ledger, one.name, playbook):
            return f"messages about incident {one.name} are to be drafted"
    return ""


def triage_incident(config: Settings, ports: Ports, model: str, name: str) -> IncidentTriaged:
    """Measure what may have caused an incident, decide the cause, and journal it; an unknown cause is one as well.

    Both versions are asked again, each in a process of its own, about requests from before and after the onset.

    Raises:
        NotFound: The journal knows no such incident.
        EvidenceUnavailable: The prediction log cannot be read.
    """
    entries = ports.journal.read(model)
    ledger = fold_entries(model, entries)
    incident = find_incident(ledger, name)
    events = [(entry, decode_event(entry.kind, entry.data)) for entry in entries]
    exposed = _exposed(config, events, incident)
    answered = read_answered_period(exposed) if exposed else None
    line = build_timeline(entries, incident, answered)
    onset = line.at(Moment.ONSET) or incident.at
    own = ledger.rollouts.get(incident.opened.rollout) or ledger.rollouts.get(incident.rollback)
    policy = parse_policy(own.opened.policy) if own is not None and own.opened.policy else None
    rollback = ledger.rollouts.get(incident.rollback)
    query = TriageQuery(
        model=model,
        version=incident.version,
        good=_good_version(ledger, incident),
        trial=rollback is not None and rollback.opened.kind == RolloutKind.PROMOTION,
        before=onset - _COMPARED_S,
        onset=onset,
        # A version that fails everything gives its last answer long before it is taken back.
        until=max(answered.last, line.at(Moment.DECIDED) or 0.0) if answered else incident.at,
        now=ports.clock.now(),
        gate=find_primary_loss_gate(policy),
        too_slow=_deciding_metric(events, incident) in _SPEED_METRICS,
        too_large=_deciding_metric(events, incident) in _MEMORY_METRICS,
    )
    versions, tracer = wiring.make_version_processes(config), RequestTracer()
    found = decide_cause(measure_triage_facts(PredictionLog(config.log), versions, query, tracer))
    traces = ""
    if traced := tracer.traces():
        encoded = encode_traces(model, traced)
        _replace(trace_file(config, model, name), encoded)
        traces = "sha256:" + hashlib.sha256(encoded).hexdigest()
    event = IncidentTriaged(
        name, found.cause, found.column, found.sentence, found.evidence, found.would_tell, found.detail, traces
    )
    retry_on_conflict(lambda: ports.append(ports.ledger(model), event))
    return event


def report_files(config: Settings, model: str, incident: str) -> tuple[Path, Path]:
    """Where the HTML page and the Markdown text of a report are."""
    folder = config.home / "incidents" / model_file_name(model)
    return folder / f"{incident}.html", folder / f"{incident}.md"


def trace_file(config: Settings, model: str, incident: str) -> Path:
    """Where the traces of a few requests are, in the JSON form of OpenTelemetry's protocol."""
    return config.home / "incidents" / model_file_name(model) / f"{incident}.traces.json"


def hold_evidence(ports: Ports, model: str, name: str) -> None:
    """Journal what an incident rests on; from then on it does not expire until a person lifts the hold."""

    def hold() -> Ledger:
        entries = ports.journal.read(model)
        ledger = fold_entries(model, entries)
        incident = ledger.incidents.known[name]
        line = build_timeline(entries, incident)
        onset = line.at(Moment.ONSET) or incident.at
        rollout = ledger.rollouts.get(incident.opened.rollout) or ledger.rollouts.get(incident.rollback)
        digests = {f"version {incident.version.number}": incident.version.digest}
        if (good := _good_version(ledger, incident)) is not None:
            digests[f"version {good.number}"] = good.digest
        missing = {}
        if rollout is not None and rollout.opened.policy:
            digests["policy"] = rollout.opened.policy_digest
            digests["expectation suite"] = rollout.opened.suite_digest
        else:
            missing["policy"] = "the journal holds none for the version's promotion"
        if ledger.split is not None:
            digests["routes"] = canonical_digest(as_json(ledger.split))
        digests[f"journal up to entry {entries[-1].seq}"] = f"sha256:{entries[-1].hash}"
        known = {what: digest for what, digest in digests.items() if digest}
        return ports.append(ledger, EvidenceHeld(name, onset - _BEFORE_S, ports.clock.now(), known, missing))

    retry_on_conflict(hold)


def write_report(config: Settings, ports: Ports, model: str, name: str) -> IncidentReported:
    """Write the report of an incident as it stands, as HTML and as Markdown, and journal that.

    Raises:
        NotFound: The journal knows no such incident.
        EvidenceUnavailable: The prediction log cannot be read, or the report cannot be written.
    """
    report = build_report(config, ports.journal.read(model), model, name)
    page, text = report_files(config, model, name)
    rendered = render_incident_html(report).encode()
    _replace(text, render_incident_markdown(report).encode())
    _replace(page, rendered)
    event = IncidentReported(
        name,
        report.upto,
        str(page.relative_to(config.home)),
        "sha256:" + hashlib.sha256(rendered).hexdigest(),
        report.impact.requests if report.impact else None,
        report.impact.units if report.impact else None,
        report.timeline.time_to_detect,
        report.timeline.time_to_restore,
    )
    retry_on_conflict(lambda: ports.append(ports.ledger(model), event))
    return event


def _replace(file: Path, content: bytes) -> None:
    """Write a file that is whole at every instant; as private as the prediction log.

    Raises:
        EvidenceUnavailable: The disk is full, or refuses something else.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{secrets.token_hex(8)}.tmp")
        fresh.write_bytes(content)
        fresh.chmod(0o640)
        fresh.replace(file)
    except OSError as error:
        raise EvidenceUnavailable(f"the report {file.name} cannot be written: {error}") from error


def build_report(config: Settings, entries: Sequence[Entry], model: str, name: str) -> IncidentReport:
    """Everything that the report of an incident shows.

    Args:
        config: Where everything is.
        entries: The whole journal of the model.
        model: Registered model.
        name: Id of the incident.

    Raises:
        EvidenceUnavailable: The prediction log cannot be read.
    """
    ledger = fold_entries(model, entries)
    incident, good = ledger.incidents.known[name], _good_version(ledger, ledger.incidents.known[name])
    log, events = PredictionLog(config.log), [(entry, decode_event(entry.kind, entry.data)) for entry in entries]
    exposed = _exposed(config, events, incident)
    answered = read_answered_period(exposed) if exposed else None
    line = build_timeline(entries, incident, answered)
    onset = line.at(Moment.ONSET) or incident.at
    impact: Impact | None = None
    if exposed is not None:
        until = answered.last if answered else onset
        impact = measure_impact(exposed, onset, count_failed(log, model, incident.version.number, onset, until))
    own = ledger.rollouts.get(incident.opened.rollout) or ledger.rollouts.get(incident.rollback)
    gate = find_cost_gate(parse_policy(own.opened.policy) if own is not None and own.opened.policy else None)
    if exposed is not None and impact is not None and gate is not None:
        costs = measure_decision_costs(log, model, exposed, gate, onset)
        impact = replace(impact, costs=costs)
    verdicts, looks = _judged(events, incident, line)
    return IncidentReport(
        model=model,
        incident=incident,
        good=good,
        timeline=line,
        impact=impact,
        verdicts=verdicts,
        looks=looks,
        traffic=_traffic(log, model, incident, good, line),
        actions=tuple(_action(entry, event) for entry, event in events if _is_action(event, incident)),
        policy_digest=own.opened.policy_digest if own else "",
        upto=ledger.head,
        pending=tuple(_pending(ledger, incident, impact)),
        traces=read_traces(trace_file(config, model, name)),
    )


def _good_version(ledger: Ledger, incident: Incident) -> Version | None:
    """The version that serves in place of the one that was taken back."""
    rollout = ledger.rollouts.get(incident.rollback)
    return rollout.rollback_target if rollout else None


def _exposed(config: Settings, events: Sequence[tuple[Entry, Event]], incident: Incident) -> Path | None:
    """The list of the answers of the version; None while it is not written."""
    listed = [e for _, e in events if isinstance(e, ExposureListed) and e.rollout and e.rollout == incident.rollback]
    file = config.home / listed[-1].file if listed else None
    return file if file is not None and file.is_file() else None


def _judged(
    events: Sequence[tuple[Entry, Event]], incident: Incident, line: Timeline
) -> tuple[tuple[Verdict, ...], tuple[GateEvaluationRow, ...]]:
    """The last verdict of each gate before the decision, and all looks of the gate that decided."""
    decided = next((row.seq for row in line.rows if row.moment is Moment.DECIDED), None)
    last: dict[str, Verdict] = {}
    looks: list[GateEvaluationRow] = []
    for entry, event in events:
        if decided is not None and entry.seq > decided:
            break
        ours = isinstance(event, GateJudged) and event.rollout == incident.rollback
        watched = isinstance(event, ChampionJudged) and event.champion.digest == incident.version.digest
        if isinstance(event, GateJudged | ChampionJudged) and (ours or watched):
            last[event.verdict.gate] = event.verdict
            looks.append(GateEvaluationRow(entry.at, event.verdict))
    gate = _deciding_gate(events, incident) or next((v.gate for v in last.values() if v.outcome is Outcome.FAIL), "")
    verdicts = sorted(last.values(), key=lambda verdict: (verdict.outcome is not Outcome.FAIL, verdict.gate))
    return tuple(verdicts), tuple(look for look in looks if look.verdict.gate == gate)


def _deciding_gate(events: Sequence[tuple[Entry, Event]], incident: Incident) -> str:
    ended = (e for _, e in events if isinstance(e, EndDecided) and e.rollout and e.rollout == incident.rollback)
    return next((event.gate for event in ended), "")


def _deciding_metric(events: Sequence[tuple[Entry, Event]], incident: Incident) -> str:
    """Metric of the gate that decided; empty where none did."""
    gate = _deciding_gate(events, incident)
    judged = (e.verdict.metric for _, e in events if isinstance(e, GateJudged) and e.verdict.gate == gate)
    return next(judged, "")


def _traffic(
    log: PredictionLog, model: str, incident: Incident, good: Version | None, line: Timeline
) -> tuple[VersionTraffic, ...]:
    """What both versions did from before the onset until after the restoration."""
    began = line.at(Moment.ONSET) or incident.at
    ended = max((row.at for row in line.rows), default=began)
    pad = max(_PAD * (ended - began), _SHORTEST_PAD_S)
    versions = {incident.version.number, *((good.number,) if good else ())}
    return count_traffic(log, model, versions, began - pad, ended + pad)


def _is_action(event: Event, incident: Incident) -> bool:
    """Whether an event is an action of a person or a flow about the incident."""
    if isinstance(event, _QUIET):
        return False
    named = getattr(event, "incident", "") == incident.name
    rollout = bool(incident.rollback) and getattr(event, "rollout", "") == incident.rollback
    corrected = getattr(event, "number", "") == incident.version.number and hasattr(event, "corrected")
    ours = isinstance(event, IncidentOpened | RolloutOpened) and incident.rollback == getattr(event, "rollback", "")
    return named or rollout or corrected or (ours and bool(incident.rollback))


def _action(entry: Entry, event: Event) -> Action:
    return Action(entry.at, entry.actor, describe_event(event))


def _pending(ledger: Ledger, incident: Incident, impact: Impact | None) -> list[str]:
    """What is still to be done, each as a sentence."""
    found = []
    if incident.rollback and incident.rollback == ledger.open:
        rollout = ledger.rollouts[ledger.open]
        found.append(f"The rollback is under way ({rollout.stage}): {rollout.reason}")
    found += [f"{what} should be {drift.expected}: {drift.seen}" for what, drift in ledger.drifts.items()]
    tables = (due.name for due in ledger.data.due.values() if due.rollout == incident.rollback)
    found += [f"Table {name} is to be restored." for name in tables]
    if incident.rollback and impact is None:
        found.append(f"The answers of version {incident.version.number} are not listed yet.")
    if incident.closed is None and incident.rollback != ledger.open:
        found.append(f"A person judges the cause and closes it: surefoot incident close {incident.name}")
    return found
