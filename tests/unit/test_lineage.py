"""OpenLineage events of journals: valid by the published schemas, the same whenever they are made."""

import json
from dataclasses import replace
from typing import Any

import pytest

from surefoot.core.domain import FigureKind, Outcome, Role, RolloutKind, Stage, Verdict, VerdictFigure, Version
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import (
    ChampionAdopted,
    EndDecided,
    GateJudged,
    RolloutEnded,
    RolloutOpened,
    StageEntered,
)
from surefoot.core.telemetry.journal_runs import JournalRuns
from surefoot.core.telemetry.lineage_events import LineageNamespaces, lineage_event
from surefoot.rollout import drive_rollout, end_rollout, open_rollback, restore_due_tables
from tests.fakes import WITH_TABLES, Scenario
from tests.lineage_schema import FACETS, check_event, facets_of
from tests.scripted import at, scenario, started
from tests.unit.test_golden_journals import GOLDEN, entries_of
from tests.unit.test_incidents import ONE, TWO, Told

FLOW = "0190f8a4-52a4-7d5e-9d5a-0123456789ab"


def events_of(entries: list[Entry], names: LineageNamespaces | None = None) -> list[dict[str, Any]]:
    """All events of a journal, as JSON brings them to a receiver."""
    runs = JournalRuns().changes(entries)
    made = [lineage_event(change, names or LineageNamespaces()) for _, changes in runs for change in changes]
    return [json.loads(json.dumps(event)) for event in made if event is not None]


def told(events: list[dict[str, Any]], job: str) -> list[str]:
    """Types of the events of a job, in order."""
    return [event["eventType"] for event in events if event["job"]["name"] == job]


def tabled() -> Scenario:
    """Version 2 is promoted, and an operator takes it back: its tables are restored."""
    env = scenario(WITH_TABLES)
    started(env)
    for rows in env.data_layer.tables.values():
        rows.append("2")
    open_rollback(env.ports(), "m", "operator")
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    restore_due_tables(env.ports(), "m")
    return env


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("*.jsonl")))
def test_the_journals_of_an_earlier_release_give_valid_events(name: str) -> None:
    """Every event is valid, each run starts once and ends once, and making the events again gives the same ones."""
    entries = entries_of(name)
    events = events_of(entries)
    for event in events:
        check_event(event)
    by_run: dict[str, list[str]] = {}
    for event in events:
        by_run.setdefault(event["run"]["runId"], []).append(event["eventType"])
    assert by_run
    for types in by_run.values():
        assert types[0] == "START"
        assert len(types) == 2
        assert types[1] in {"COMPLETE", "FAIL", "ABORT"}
    assert events_of(entries) == events


def test_each_end_of_a_rollout_has_its_type() -> None:
    """A promotion completes, a rejected one fails, a superseded one is aborted; a rollback that went back completes."""
    events = events_of(entries_of("journal-0.1.0-demo.jsonl"))
    assert told(events, "flights-late.promotion") == ["START", "FAIL", "START", "FAIL", "START", "COMPLETE"]
    assert told(events, "flights-late.rollback") == ["START", "COMPLETE"]
    (reason,) = {
        event["run"]["facets"]["errorMessage"]["message"]
        for event in events
        if event["job"]["name"] == "flights-late.promotion.Ramping" and "errorMessage" in event["run"]["facets"]
    }
    assert reason.startswith("RolledBack: errors is FAIL")
    aborted = events_of(entries_of("journal-0.1.0-scripted.jsonl"))
    assert told(aborted, aborted[0]["job"]["name"])[:2] == ["START", "ABORT"]


def test_inputs_and_output_are_named_with_their_digests() -> None:
    """A rollout reads both versions and their training data, and writes the champion, at its end with its digest."""
    history = Told()
    one, two = Version("1", ONE.digest, "sha256:old"), Version("2", TWO.digest, "sha256:new")
    policy = {"owners": ["team", "ada"]}
    history.at(
        1.0,
        ChampionAdopted(one),
        RolloutOpened("r", RolloutKind.PROMOTION, two, one, policy, "", "", "s", 1, "try"),
        StageEntered("r", Stage.PROMOTING, 0, "go"),
        RolloutEnded("r", Stage.PROMOTED, "baked"),
    )
    first, *_, last = events_of(list(history.ports.journal.read("m")))
    versions = {one["name"]: one["facets"]["version"]["datasetVersion"] for one in first["inputs"][:2]}
    assert versions == {"m/1": ONE.digest, "m/2": TWO.digest}
    data = [one["facets"]["version"]["datasetVersion"] for one in first["inputs"][2:]]
    assert data == ["sha256:old", "sha256:new"]
    assert first["outputs"] == [{"namespace": "mlflow", "name": "m@champion", "facets": {}}]
    assert last["outputs"][0]["facets"]["version"]["datasetVersion"] == TWO.digest
    assert [one["name"] for one in last["job"]["facets"]["ownership"]["owners"]] == ["team", "ada"]


def test_what_the_suite_says_of_the_data_is_told_without_values() -> None:
    """Failed expectations are told by kind and column; what was observed and the offending rows are not."""
    history = Told()
    figures = (VerdictFigure(FigureKind.EXPECTATIONS, 9), VerdictFigure(FigureKind.FAILED, 1))
    row: dict[str, object] = {
        "expectation": "expect_column_values_to_not_be_null",
        "column": "income",
        "reason": "3 of 9 are null, such as row secret-41",
        "samples": ["secret-41"],
    }
    verdict = Verdict("data", "", Outcome.FAIL, Role.GUARDRAIL, "1 of 9", 9, figures=figures, details=(row,))
    history.at(
        1.0,
        ChampionAdopted(ONE),
        RolloutOpened("r", RolloutKind.PROMOTION, TWO, ONE, {}, "", "", "s", 1, "try"),
        StageEntered("r", Stage.VALIDATING, 0, "go"),
        GateJudged("r", Stage.VALIDATING, 0, 1, verdict),
        EndDecided("r", Stage.REJECTED, "data", "data is FAIL"),
        RolloutEnded("r", Stage.REJECTED, "data is FAIL"),
    )
    events = events_of(list(history.ports.journal.read("m")))
    (failed,) = [one for one in events if one["job"]["name"] == "m.promotion.Validating" and one["eventType"] == "FAIL"]
    requests = failed["inputs"][-1]
    assert requests["name"] == "m.requests"
    whole, column = requests["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert (whole["success"], whole["actual"]) == (False, "1 of 9 do not hold")
    assert (column["assertion"], column["column"], column["success"]) == (row["expectation"], "income", False)
    assert "secret-41" not in json.dumps(events)
    for event in events:
        check_event(event)


def test_what_a_model_said_stays_here() -> None:
    """The reason of a tripwire, and of a version that could not be loaded, may quote a request: it is not told."""
    for gate, end in (("tripwire", Stage.ROLLED_BACK), ("", Stage.REJECTED)):
        history = Told()
        history.at(
            1.0,
            ChampionAdopted(ONE),
            RolloutOpened("r", RolloutKind.PROMOTION, TWO, ONE, {}, "", "", "s", 1, "try"),
            EndDecided("r", end, gate, "ValueError: secret-41"),
            RolloutEnded("r", end, "ValueError: secret-41"),
        )
        events = events_of(list(history.ports.journal.read("m")))
        assert events[-1]["run"]["facets"]["errorMessage"]["message"] == f"{end}: why: surefoot history m"
        assert "secret-41" not in json.dumps(events)


def test_a_restored_table_is_a_run_of_its_own() -> None:
    """A table that goes back after a rollback starts and completes, as a part of that rollback, with its digest."""
    events = events_of(list(tabled().journal.entries))
    assert told(events, "m.restore.predictions") == ["START", "COMPLETE"]
    (done,) = [e for e in events if e["job"]["name"] == "m.restore.predictions" and e["eventType"] == "COMPLETE"]
    assert done["outputs"][0]["name"] == "m.table.predictions"
    assert done["outputs"][0]["facets"]["version"]["datasetVersion"]
    (rollback,) = [e for e in events if e["job"]["name"] == "m.rollback" and e["eventType"] == "START"]
    assert done["run"]["facets"]["parent"]["run"]["runId"] == rollback["run"]["runId"]
    for event in events:
        check_event(event)


def test_an_aborted_rollout_aborts_its_runs() -> None:
    """What a person calls off ends as ABORT, with his reason."""
    env = scenario()
    started(env, at(Stage.RAMPING))
    end_rollout(env.ports(), "m", Stage.ABORTED, "not today")
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    events = events_of(list(env.journal.entries))
    assert told(events, "m.promotion.Ramping") == ["START", "ABORT"]
    assert told(events, "m.promotion") == ["START", "ABORT"]
    assert "not today" in events[-1]["run"]["facets"]["errorMessage"]["message"]


def test_the_flow_run_is_the_parent_where_it_is_known() -> None:
    """A rollout names the Prefect flow run that opened it; a stage names the rollout, and that run as its root."""
    entries = entries_of("journal-0.1.0-demo.jsonl")
    events = events_of(entries, LineageNamespaces(flow_run=lambda entry: FLOW if "reconcile" in entry.actor else ""))
    (opened,) = {
        event["run"]["facets"]["parent"]["run"]["runId"]
        for event in events
        if event["job"]["name"] == "flights-late.promotion" and "parent" in event["run"]["facets"]
    }
    assert opened == FLOW
    stages = [event for event in events if event["job"]["name"] == "flights-late.promotion.Validating"]
    assert {event["run"]["facets"]["parent"]["root"]["run"]["runId"] for event in stages} == {FLOW}
    assert {event["run"]["facets"]["parent"]["job"]["name"] for event in stages} == {"flights-late.promotion"}
    for event in events:
        check_event(event)


def test_a_rollout_that_no_flow_opened_has_the_one_that_drives_it() -> None:
    """What a webhook or a person has opened names the first flow run that works on it, as soon as there is one."""
    history = Told()
    history.at(
        1.0, ChampionAdopted(ONE), RolloutOpened("r", RolloutKind.PROMOTION, TWO, ONE, {}, "", "", "s", 1, "try")
    )
    history.ports = replace(history.ports, actor="flow:promote/promote m 2")
    history.at(2.0, StageEntered("r", Stage.PROMOTING, 0, "go"), RolloutEnded("r", Stage.PROMOTED, "baked"))
    first, *_, last = events_of(list(history.ports.journal.read("m")), LineageNamespaces(flow_run=lambda _: FLOW))
    assert "parent" not in first["run"]["facets"]
    assert last["run"]["facets"]["parent"]["run"]["runId"] == FLOW
    assert last["run"]["facets"]["parent"]["job"] == {"namespace": "prefect", "name": "promote"}


def test_every_facet_is_made_somewhere() -> None:
    """The schemas that events are checked by are those of all facets that there are."""
    events = events_of(entries_of("journal-0.1.0-demo.jsonl"), LineageNamespaces(flow_run=lambda _: FLOW))
    assert set(facets_of(events)) == set(FACETS)
