"""Report the demo's rollouts and whether the expected results occurred."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import Outcome, Verdict
from surefoot.core.incidents.incident_events import IncidentReported
from surefoot.core.incidents.incident_state import Incident
from surefoot.core.incidents.review.policy_change_ranking import BacktestedPolicy, IncidentReview
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import (
    EffectDone,
    EffectIntended,
    EndDecided,
    GateJudged,
    RolloutEnded,
    SetSplit,
    StageEntered,
    as_json,
    decode_event,
)
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched
from surefoot.core.serving_engines.engine_abilities import EngineAbilities
from surefoot.core.tables.data_events import DataCheckpointed, DataRestored
from surefoot.demo.model_versions import MODEL_NAME
from surefoot.demo.scenario import DemoCandidate, DemoScenario

_MAX_RESTORE_MS, _MAX_RESTORE_BY_REGISTRY_MS = 1000.0, 5000.0
"""A rollback takes less than this [ms]: by an engine of its own, and where MLflow has to move an alias first."""
_JUNE_REQUESTS = 9000
"""Requests that June alone holds [count]."""


@dataclass(frozen=True, slots=True)
class RolloutSummary:
    """One rollout as the journal tells it.

    Attributes:
        scene: The candidate.
        stages: Stages in order, steps included.
        verdicts: The last verdict of each gate in each stage.
        terminal_stage: How it ended; empty while it has not.
        reason: Why.
        gate: The gate that ended it; empty for a promotion.
        restore_ms: From intent to acknowledgement of the way back, or None.
        detect: From the first request that the candidate failed to the decision [seconds of the replay], or None.
        candidate_errors: Requests that the candidate failed [count].
        late_answers: Requests that reached it although traffic was back [count]; None where that is not known.
    """

    scene: DemoCandidate
    stages: tuple[str, ...]
    verdicts: Mapping[str, Verdict]
    terminal_stage: str
    reason: str
    gate: str
    restore_ms: float | None
    detect: float | None
    candidate_errors: int
    late_answers: int | None = None

    def plain(self) -> dict[str, object]:
        """JSON values."""
        return {
            "story": self.scene.story,
            "title": self.scene.title,
            "version": self.scene.number,
            "rollout": self.scene.rollout,
            "stages": list(self.stages),
            "verdicts": {name: as_json(verdict) for name, verdict in self.verdicts.items()},
            "sink": self.terminal_stage,
            "reason": self.reason,
            "gate": self.gate,
            "restore_ms": self.restore_ms,
            "detect_s": self.detect,
            "candidate_errors": self.candidate_errors,
            "late_answers": self.late_answers,
        }


def summarize_rollouts(story: DemoScenario, entries: Sequence[Entry], log: PredictionLog) -> list[RolloutSummary]:
    """Read every scene's rollout, and the one that took the promoted version back, from the journal."""
    taken_back = [e for e in entries if e.kind == "RolloutOpened" and e.data["kind"] == "rollback"]
    scenes = list(story.scenes)
    scenes += [
        DemoCandidate("d", "the promoted version decays, and the watch takes it back", "", str(e.data["rollout"]))
        for e in taken_back
    ]
    return sorted((_rollout(scene, entries, log) for scene in scenes), key=lambda item: item.scene.story)


def _rollout(scene: DemoCandidate, entries: Sequence[Entry], log: PredictionLog) -> RolloutSummary:
    own = [
        (entry, decode_event(entry.kind, entry.data)) for entry in entries if entry.data.get("rollout") == scene.rollout
    ]
    stages: list[str] = []
    verdicts: dict[str, Verdict] = {}
    splits: dict[int, SetSplit] = {}
    terminal_stage = reason = gate = ""
    restore: float | None = None
    back: float | None = None
    decided: float | None = None
    for entry, event in own:
        if isinstance(event, StageEntered):
            stages.append(
                f"{event.stage.value} {event.step + 1}" if event.stage.value == "Ramping" else event.stage.value
            )
        elif isinstance(event, GateJudged):
            verdicts[f"{stages[-1]}/{event.verdict.gate}"] = event.verdict
        elif isinstance(event, EffectIntended) and isinstance(event.effect, SetSplit):
            splits[entry.seq] = event.effect
        elif isinstance(event, EffectDone) and event.intent in splits:
            if splits[event.intent].candidate is None and (terminal_stage or scene.story == "d"):
                restore, back = event.took_ms, entry.at
        elif isinstance(event, EndDecided):
            terminal_stage, reason, gate = event.terminal_stage.value, event.reason, event.gate
            decided = entry.at
        elif isinstance(event, RolloutEnded):
            terminal_stage, reason = event.terminal_stage.value, event.reason
    # By its version: in the bake it is the champion, where a candidate has all traffic at once.
    failed = """SELECT count(*), min("at") FROM log WHERE rollout = $1 AND version = $2 AND error IS NOT NULL"""
    count, first = log.query_rows(MODEL_NAME, failed, (scene.rollout, scene.number))[0]
    late = """SELECT count(*) FROM log WHERE version = $1 AND "at" > $2"""
    known = back is not None and scene.number
    after = None if not known else int(str(log.query_rows(MODEL_NAME, late, (scene.number, back))[0][0]))
    detect = decided - float(str(first)) if decided is not None and first is not None else None
    told = (scene, tuple(stages), verdicts, terminal_stage, reason, gate, restore, detect, int(str(count)), after)
    return RolloutSummary(*told)


def _ways_in(found: Sequence[RolloutSummary], entries: Sequence[Entry]) -> dict[str, str]:
    """What began each rollout: for a promotion what asked for it, for the rollback the actor."""
    opened = {str(entry.data["rollout"]): entry for entry in entries if entry.kind == "RolloutOpened"}
    ways = {}
    for item in sorted(found, key=lambda one: opened[one.scene.rollout].seq if one.scene.rollout in opened else 0):
        if entry := opened.get(item.scene.rollout):
            rollback = entry.data["kind"] == "rollback"
            ways[item.scene.story] = entry.actor.partition("/")[0] if rollback else str(entry.data["source"])
    return ways


def expected_result_rows(
    story: DemoScenario,
    found: Sequence[RolloutSummary],
    entries: Sequence[Entry],
    incidents: Sequence[Incident],
    able: EngineAbilities,
    extra: Mapping[str, object],
) -> list[dict[str, object]]:
    """One row for each expected result of the demo, and whether it occurred.

    Args:
        story: What was played.
        found: What became of each candidate.
        entries: The journal.
        incidents: The incidents in it.
        able: What the engine can do: one that shares no traffic has no ramp, and one that answers for no candidate
            lets its callers see the candidate's failures.
        extra: Further claims, by name, and whether they hold.
    """
    reports = {one.version.number: one.reported for one in incidents if one.reported}
    causes = {one.version.number: one.triaged for one in incidents if one.triaged}
    events = [decode_event(entry.kind, entry.data) for entry in entries]
    worse = [e.verdict.gate for e in events if isinstance(e, ChampionJudged) and e.verdict.outcome is Outcome.FAIL]
    early = [one for e in events if isinstance(e, ChampionWatched) for one in e.early if "pressure" in one]
    kept = [e.checkpoint.content.digest for e in events if isinstance(e, DataCheckpointed)]
    restored = [e.after for e in events if isinstance(e, DataRestored) and not e.already]
    promoted = next((scene.number for scene in story.scenes if scene.story == "a"), "")
    left = story.table.rows_by_version().get(promoted, 0)
    blamed = causes[promoted].column if promoted in causes else ""
    by = {item.scene.story: item for item in found}
    a, b, c, d = (by.get(letter) for letter in "abcd")
    seen = story.replay.seen
    expected = _expected_stages(able)
    most = _MAX_RESTORE_BY_REGISTRY_MS if able.rollback_needs_registry else _MAX_RESTORE_MS
    first = "Ramping 1" if able.ramps else "Promoting"
    ladder = [stage for stage in expected if a and any(item.startswith(stage) for item in a.stages)]
    average = b.verdicts.get("Shadowing/quality") if b else None
    slice_ = b.verdicts.get("Shadowing/origins") if b else None

    row = _row
    mean = average.estimate if average else None
    ways = _ways_in(found, entries)
    return [
        row(
            "ways in: run in Prefect, stage, alias, schedule",
            ", ".join(f"{scene} {way}" for scene, way in ways.items()),
            "",
            "b hand, c stage, a alias, d flow:watch",
            ways == {"b": "hand", "c": "stage", "a": "alias", "d": "flow:watch"},
        ),
        row(
            "a: the good retrain ends as",
            a and a.terminal_stage,
            "stage",
            "Promoted",
            a and a.terminal_stage == "Promoted",
        ),
        row("a: stages it went through", len(ladder), "stages", str(len(expected)), len(ladder) == len(expected)),
        row(
            "b: the frozen feed ends as",
            b and b.terminal_stage,
            "stage",
            "Rejected",
            b and b.terminal_stage == "Rejected",
        ),
        row("b: its average loss changes by", mean, "Brier", "< 0", mean is not None and mean < 0),
        row(
            "b: the slice that stops it",
            slice_ and slice_.culprit,
            "slice",
            "origin=LGA",
            slice_ and slice_.culprit == "origin=LGA" and b and b.gate == "origins",
        ),
        row(
            "c: the one without imputer ends as",
            c and c.terminal_stage,
            "stage",
            "RolledBack",
            c and c.terminal_stage == "RolledBack",
        ),
        row("c: it passed its shadow", bool(c and first in c.stages), "", "true", c and first in c.stages),
        *_taken_back_in(c, able),
        row("c: requests that it failed", c and c.candidate_errors, "requests", "> 0", c and c.candidate_errors > 0),
        row(
            "c: traffic was back after",
            c and c.restore_ms,
            "ms",
            f"< {most:.0f}",
            c and c.restore_ms is not None and c.restore_ms < most,
        ),
        row(
            "d: the rollback of the decayed champion ends as",
            d and d.terminal_stage,
            "stage",
            "FastRolledBack",
            d and d.terminal_stage == "FastRolledBack",
        ),
        row("d: the version before does better by gate", worse[0] if worse else "", "", "quality", "quality" in worse),
        row("d: looks that saw the feed change before", len(early), "looks", "> 0", early),
        row(
            "d: traffic was back after",
            d and d.restore_ms,
            "ms",
            f"< {most:.0f}",
            d and d.restore_ms is not None and d.restore_ms < most,
        ),
        row(
            "d: its predictions table is what was checkpointed",
            len(restored),
            "restores",
            "1",
            restored == kept[-1:] != [],
        ),
        row("d: rows that it has left in the table", left, "rows", "0", left == 0),
        row("c, d: versions with an incident that reports itself", len(reports), "reports", "2", len(reports) == 2),  # noqa: PLR2004 - two scenes
        row("d: the cause that its report names", blamed, "column", "pressure", blamed == "pressure"),
        row("d: the report counts its requests since the onset", *_requests(reports.get(promoted))),
        row("requests of callers", seen.sent, "requests", ">= 9000", seen.sent >= _JUNE_REQUESTS),
        _failures_of_callers(seen.failed, c.candidate_errors if c else 0, able),
        *(row(name, value, "", "true", value) for name, value in extra.items()),
    ]


def _row(name: str, value: object, unit: str, demand: str, ok: object) -> dict[str, object]:
    """One claim: what was found, what is demanded, and whether it holds."""
    return {"name": name, "value": value, "unit": unit, "demand": demand, "ok": bool(ok)}


def _expected_stages(able: EngineAbilities) -> tuple[str, ...]:
    """Stages that a good version goes through."""
    return ("Validating", "Shadowing", *(("Ramping",) if able.ramps else ()), "Promoting", "Baking")


def _taken_back_in(c: RolloutSummary | None, able: EngineAbilities) -> list[dict[str, object]]:
    """The claim that the version without imputer is found in the bake, of an engine that has no ramp."""
    if able.ramps:
        return []
    last = c.stages[-1] if c and c.stages else ""
    return [_row("c: the stage that it was taken back in", last, "", "Baking", last == "Baking")]


def _failures_of_callers(failed: int, of_c: int, able: EngineAbilities) -> dict[str, object]:
    """The claim on what callers saw fail: nothing, or exactly what the version without imputer failed."""
    name = "requests that callers saw fail"
    if able.answers_for_failing_candidate:
        return _row(name, failed, "requests", "0", failed == 0)
    return _row(name, f"{failed}, {of_c} by (c)", "", "only by (c)", failed == of_c > 0)


def review_result_rows(
    review: IncidentReview | None, again: BacktestedPolicy | None, problem: str
) -> list[dict[str, object]]:
    """Rows of the expected results of an incident's review, and whether they occurred.

    Args:
        review: What the review says; None without one.
        again: What the proposed policy makes of the recorded incident when it is back-tested again.
        problem: Why the proposed policy would not stop the version; empty where it does.
    """
    proposed = review.proposed if review else None
    sooner = review.sooner_s if review else None
    figures = [(one.stopped_at, one.gate, one.where, one.requests) for one in (proposed, again) if one]
    before = review.in_force.requests if review else 0
    answered = f"{before} -> {proposed.requests}" if proposed else "nothing is proposed"
    return [
        {
            "name": "c: its review proposes a policy that stops it sooner by",
            "value": None if sooner is None else sooner / 3600.0,
            "unit": "h",
            "demand": "> 0, or 0 for fewer",
            # A step without callers may stop it at the same time, and has spared them all: the next row counts them.
            "ok": sooner is not None
            and (sooner > 0.0 or (sooner == 0.0 and proposed is not None and proposed.requests < before)),
        },
        {
            "name": "c: requests that it answers then, in the back-test",
            "value": answered,
            "unit": "",
            "demand": "fewer",
            "ok": proposed is not None and proposed.requests < before,
        },
        {
            "name": "c: the back-test repeated gives the review's figures",
            "value": len(set(figures)) == 1,
            "unit": "",
            "demand": "true",
            "ok": len(figures) == 2 and len(set(figures)) == 1,  # noqa: PLR2004 - both
        },
        {
            "name": "c: with the proposal applied, lint --incidents says",
            "value": problem or "stopped",
            "unit": "",
            "demand": "stopped",
            "ok": not problem,
        },
    ]


def _requests(report: IncidentReported | None) -> tuple[object, str, str, bool]:
    """What the report of an incident counts, as the rest of a claim's row."""
    requests = report.requests if report else None
    return requests, "requests", "> 0", bool(requests)
