"""Incidents in the fold of the journal, and the timeline that is read from it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.domain import Outcome, Role, RolloutKind, Stage, Verdict, Version
from surefoot.core.errors import NotFound, Rejected
from surefoot.core.incidents.incident_events import IncidentClosed, IncidentNoted, IncidentReported, NoteKind
from surefoot.core.incidents.incident_statistics import compute_incident_statistics
from surefoot.core.incidents.report_deadlines import DAY_S, report_deadlines
from surefoot.core.incidents.timeline import AnsweredPeriod, Moment, build_timeline
from surefoot.core.journal.events import (
    ChampionAdopted,
    EffectDone,
    EffectIntended,
    EndDecided,
    Event,
    RolloutEnded,
    RolloutOpened,
    SetAlias,
    SetSplit,
    StageEntered,
)
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched, IncidentOpened
from surefoot.core.tables.data_events import DataRestored
from surefoot.reports.incident_statistics_plot import draw_incident_statistics_png
from surefoot.rollout import add_incident_note, close_incident, find_incident, lift_evidence_hold, open_due_incidents
from tests.fakes import Scenario

ONE, TWO = Version("1", "sha256:" + "1" * 64), Version("2", "sha256:" + "2" * 64)


class Told:
    """A journal to which a test appends what it needs."""

    def __init__(self) -> None:
        self.scenario = Scenario()
        self.ports = self.scenario.ports()

    def at(self, time: float, *events: Event) -> int:
        """Journal events at a time; the sequence of the last one."""
        self.scenario.clock.time = time
        for event in events:
            self.ports.append(self.ports.ledger("m"), event)
        return self.ports.ledger("m").head

    def split(self, time: float, rollout: str, effect: SetSplit | SetAlias) -> None:
        """Journal a change that is made at once."""
        seq = self.at(time, EffectIntended(rollout, effect))
        self.at(time, EffectDone(rollout, seq, False, 4.0))

    def promote(self, time: float, end: Stage = Stage.PROMOTED, *, traffic: bool = True) -> None:
        """Version 2 is tried against version 1, and the rollout ends so."""
        self.at(time, ChampionAdopted(ONE))
        self.at(time, RolloutOpened("r1", RolloutKind.PROMOTION, TWO, ONE, {}, "", "", "s", 1, "try"))
        self.at(time, StageEntered("r1", Stage.RAMPING, 0, "go"))
        if traffic:
            self.split(time, "r1", SetSplit(ONE, TWO, 20.0))
        if end is Stage.PROMOTED:
            self.split(time, "r1", SetSplit(TWO, None, 0.0))
        else:
            self.at(time + 60.0, EndDecided("r1", end, "errors", "errors is FAIL"))
        self.at(time + 60.0, RolloutEnded("r1", end, "over"))

    def roll_back(self, time: float) -> None:
        """Version 2 is taken back after its promotion."""
        self.at(time, RolloutOpened("r2", RolloutKind.ROLLBACK, ONE, TWO, {}, "", "", "s", 1, "alerts doubled"))
        self.split(time + 1.0, "r2", SetSplit(ONE, None, 0.0))
        self.split(time + 3.0, "r2", SetAlias("champion", "1", "2"))
        self.at(time + 4.0, RolloutEnded("r2", Stage.FAST_ROLLED_BACK, "back"))

    @property
    def incidents(self) -> list[str]:
        """Ids of all incidents."""
        return list(self.ports.ledger("m").incidents.known)


@pytest.mark.parametrize(
    ("end", "traffic", "opened"),
    [
        (Stage.ROLLED_BACK, True, 1),
        (Stage.ABORTED, True, 1),
        (Stage.ABORTED, False, 0),
        (Stage.REJECTED, False, 0),
        (Stage.WITHDRAWN, True, 0),
        (Stage.SUPERSEDED, True, 0),
        (Stage.PROMOTED, True, 0),
    ],
)
def test_a_version_that_callers_lost_has_one_incident(end: Stage, traffic: bool, opened: int) -> None:
    """An incident is opened for a version that is taken back from callers, and for no other one; once."""
    told = Told()
    told.promote(100.0, end, traffic=traffic)
    assert len(open_due_incidents(told.ports, "m")) == opened
    assert open_due_incidents(told.ports, "m") == ()
    assert len(told.incidents) == opened


def test_an_incident_is_open_while_its_rollback_is_under_way() -> None:
    """It is opened once the end is decided, and cannot be closed before traffic, registry and rollout are back."""
    told = Told()
    told.at(0.0, ChampionAdopted(ONE))
    told.at(1.0, RolloutOpened("r1", RolloutKind.PROMOTION, TWO, ONE, {}, "", "", "s", 1, "try"))
    told.split(2.0, "r1", SetSplit(ONE, TWO, 20.0))
    assert open_due_incidents(told.ports, "m") == ()
    told.at(3.0, EndDecided("r1", Stage.ROLLED_BACK, "errors", "errors is FAIL"))
    (name,) = open_due_incidents(told.ports, "m")
    with pytest.raises(Rejected, match="under way"):
        close_incident(told.ports, "m", IncidentClosed(name, "", "all is well"))
    told.at(4.0, RolloutEnded("r1", Stage.ROLLED_BACK, "over"))
    close_incident(told.ports, "m", IncidentClosed(name, "", "all is well"))
    with pytest.raises(Rejected, match="closed before"):
        close_incident(told.ports, "m", IncidentClosed(name, "", "all is well"))


def test_the_rollback_of_a_watched_champion_belongs_to_its_incident() -> None:
    """A rollback that the standing watch's incident led to opens no second incident; a later one opens its own."""
    told = Told()
    told.promote(100.0)
    told.at(1000.0, IncidentOpened("abc", "r1", TWO, "worse than before by loss", "gate loss fails"))
    told.roll_back(1001.0)
    assert open_due_incidents(told.ports, "m") == ()
    assert told.incidents == ["abc"]
    assert told.ports.ledger("m").incidents.known["abc"].rollback == "r2"


def test_a_closed_incident_takes_no_later_rollback() -> None:
    """Once a person has closed the incident of a version, the rollback of the same version is another incident."""
    told = Told()
    told.promote(100.0)
    told.at(1000.0, IncidentOpened("abc", "r1", TWO, "base rate", "the base rate has doubled"))
    close_incident(told.ports, "m", IncidentClosed("abc", "season", "as every winter", false_alarm=True))
    told.roll_back(2000.0)
    (name,) = open_due_incidents(told.ports, "m")
    assert told.ports.ledger("m").incidents.known[name].opened.reason == "alerts doubled"


def test_what_was_taken_back_long_ago_gets_no_incident() -> None:
    """A journal of a release without incidents does not open one for each rollback of the past after an upgrade."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    told.scenario.clock.time = 200.0 + 29 * DAY_S
    assert open_due_incidents(told.ports, "m") == ()
    told.scenario.clock.time = 200.0 + 27 * DAY_S
    assert len(open_due_incidents(told.ports, "m")) == 1


def test_the_timeline_of_a_canary_begins_with_its_first_answer() -> None:
    """A version on trial counts as bad from its first answer on; detection is its first FAIL."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    (name,) = open_due_incidents(told.ports, "m")
    incident = told.ports.ledger("m").incidents.known[name]
    line = build_timeline(told.ports.journal.read("m"), incident, AnsweredPeriod(107.0, 158.0))
    assert (line.at(Moment.ONSET), line.at(Moment.LAST_ANSWER)) == (107.0, 158.0)
    assert line.at(Moment.DETECTED) == line.at(Moment.DECIDED) == 160.0
    assert line.time_to_detect == 53.0
    assert line.time_to_restore is None
    unknown = build_timeline(told.ports.journal.read("m"), incident)
    assert unknown.at(Moment.ONSET) == 100.0


def test_the_timeline_of_a_champion_begins_with_the_last_clean_look() -> None:
    """Onset, first sign, detection, decision, traffic, registry and data are each found in the journal."""
    told = Told()
    told.promote(100.0)
    # A drift becomes the past that it is compared with: that the last look sees nothing does not make it well again.
    found: list[tuple[str, ...]] = [(), (), ("pressure has moved",), ()]
    watched = [ChampionWatched("r1", TWO, (), early, (), (), 300.0) for early in found]
    for time, look in zip((1000.0, 2000.0, 3000.0, 4000.0), watched, strict=True):
        told.at(time, look)
    verdict = Verdict("loss", "brier", Outcome.FAIL, Role.GUARDRAIL, "0.3 instead of 0.2", 500, 0.1, 0.05, 0.15, 0.02)
    told.at(5000.0, ChampionWatched("r1", TWO, (), (), (), (), 300.0))
    told.at(5000.0, ChampionJudged("r1", TWO, ONE, verdict))
    told.at(5000.0, IncidentOpened("abc", "r1", TWO, "worse than before by loss", "gate loss fails"))
    told.roll_back(5001.0)
    told.at(5010.0, DataRestored("r2", "predictions", 1, "sha256:b", "sha256:a", False))
    incident = told.ports.ledger("m").incidents.known["abc"]
    line = build_timeline(told.ports.journal.read("m"), incident, AnsweredPeriod(101.0, 5001.5))
    moments = {row.moment: row.at for row in line.rows}
    assert moments == {
        Moment.ONSET: 1700.0,
        Moment.FIRST_SIGN: 3000.0,
        Moment.DETECTED: 5000.0,
        Moment.DECIDED: 5001.0,
        Moment.LAST_ANSWER: 5001.5,
        Moment.TRAFFIC_BACK: 5002.0,
        Moment.REGISTRY_RESTORED: 5004.0,
        Moment.ENDED: 5005.0,
        Moment.DATA_RESTORED: 5010.0,
    }
    assert (line.time_to_detect, line.time_to_restore) == (3300.0, 2.0)


@pytest.mark.parametrize(("days", "onset"), [(35.0, 1.0), (60.0, 62.0)])
def test_a_sign_belongs_to_an_incident_that_is_detected_late(days: float, onset: float) -> None:
    """A sign somewhat older than the window of the watch is the first sign; one of long ago is not."""
    told = Told()
    told.promote(100.0)
    looks: list[tuple[float, tuple[str, ...]]] = [(1.0, ()), (2.0, ("pressure has moved",)), (days + 2.0, ())]
    for day, early in looks:
        told.at(day * DAY_S, ChampionWatched("r1", TWO, (), early, (), (), 0.0))
    told.at((days + 2.1) * DAY_S, IncidentOpened("abc", "r1", TWO, "worse than before by loss", "gate loss fails"))
    incident = told.ports.ledger("m").incidents.known["abc"]
    line = build_timeline(told.ports.journal.read("m"), incident, None)
    assert line.at(Moment.ONSET) == onset * DAY_S


def test_a_rollback_by_hand_is_detected_by_its_person() -> None:
    """Without a gate that failed, the detection is the decision, and the timeline says who it was."""
    told = Told()
    told.promote(100.0)
    told.roll_back(900.0)
    (name,) = open_due_incidents(told.ports, "m")
    line = build_timeline(told.ports.journal.read("m"), told.ports.ledger("m").incidents.known[name])
    detected = next(row for row in line.rows if row.moment is Moment.DETECTED)
    assert (detected.at, detected.seq > 0) == (900.0, True)
    assert "not by a gate: alerts doubled" in detected.text
    assert line.at(Moment.ONSET) == 160.0


def test_a_report_is_due_after_each_change_and_not_after_itself() -> None:
    """A note, and the end of the rollback, make the report due again."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    (name,) = open_due_incidents(told.ports, "m")
    assert told.ports.ledger("m").incidents.known[name].report_due
    with pytest.raises(Rejected, match="needs a text"):
        add_incident_note(told.ports, "m", IncidentNoted(name, NoteKind.NOTE, " "))
    with pytest.raises(NotFound, match="known"):
        add_incident_note(told.ports, "m", IncidentNoted("nothing", NoteKind.NOTE, "text"))
    with pytest.raises(Rejected, match="not held"):
        lift_evidence_hold(told.ports, "m", name, "why not")
    ledger = add_incident_note(told.ports, "m", IncidentNoted(name, NoteKind.NOTE, "the feed has changed"))
    assert [note.event.text for note in find_incident(ledger).notes] == ["the feed has changed"]


@given(st.lists(st.integers(0, 30), max_size=3))
def test_folding_in_parts_gives_the_same_incidents(cuts: list[int]) -> None:
    """Law: the incidents of a journal do not depend on where its fold was interrupted."""
    told = Told()
    told.promote(100.0)
    told.roll_back(900.0)
    open_due_incidents(told.ports, "m")
    entries = told.ports.journal.read("m")
    ledger = None
    places = [0, *sorted(min(cut, len(entries)) for cut in cuts), len(entries)]
    for first, last in itertools.pairwise(places):
        ledger = fold_entries("m", entries[first:last], ledger)
    assert ledger is not None
    assert ledger.incidents == fold_entries("m", entries).incidents


def test_the_periods_of_the_law_count_from_awareness() -> None:
    """Reports would be due 2, 10 and 15 days after the provider became aware."""
    assert [(clock.days, clock.due) for clock in report_deadlines(1000.0)] == [
        (days, 1000.0 + days * DAY_S) for days in (2, 10, 15)
    ]


def test_statistics_count_what_the_reports_say() -> None:
    """Medians and longest times are those of the reports; a false alarm is a false rollback and no time to detect."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    (name,) = open_due_incidents(told.ports, "m")
    told.at(300.0, IncidentReported(name, 9, "a.html", "sha256:a", 10, 3, 60.0, 2.0))
    told.at(400.0, IncidentOpened("b", "r9", ONE, "base rate", "the base rate has doubled", rollback="r9"))
    told.at(500.0, IncidentReported("b", 12, "b.html", "sha256:b", 10, 3, 120.0, 4.0))
    told.at(600.0, IncidentOpened("c", "r10", ONE, "base rate", "the base rate has doubled", rollback="r10"))
    told.at(700.0, IncidentReported("c", 14, "c.html", "sha256:c", 10, 3, 9999.0, 9999.0))
    close_incident(told.ports, "m", IncidentClosed("c", "", "a holiday", false_alarm=True))
    found = compute_incident_statistics("m", told.ports.ledger("m").incidents.known.values())
    assert (found.incidents, found.still_open, found.rollbacks) == (3, 2, 3)
    assert (found.false_rollbacks, found.judged_rollbacks) == (1, 1)
    assert (found.time_to_detect, found.longest_to_detect) == (90.0, 120.0)
    assert (found.time_to_restore, found.longest_to_restore) == (3.0, 4.0)
    assert compute_incident_statistics("m", ()).time_to_detect is None


def test_the_plot_of_incidents_shows_each_that_has_a_report() -> None:
    """A plot is drawn with reports, and one that says so without any; equal incidents give equal bytes."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    (name,) = open_due_incidents(told.ports, "m")
    empty = draw_incident_statistics_png({"m": tuple(told.ports.ledger("m").incidents.known.values())})
    told.at(300.0, IncidentReported(name, 9, "a.html", "sha256:a", 10, 3, 60.0, 0.0))
    known = {"m": tuple(told.ports.ledger("m").incidents.known.values())}
    drawn = draw_incident_statistics_png(known)
    assert drawn == draw_incident_statistics_png(known)
    assert drawn != empty
    assert drawn.startswith(b"\x89PNG")
