"""Tables follow a rollback after traffic and registry, as the policy says; nothing of theirs holds a rollback up."""

from typing import Any

import pytest

from surefoot.core.domain import Split, Stage
from surefoot.core.errors import (
    DataUnavailable,
    InvariantBroken,
    NotFound,
    RegistryUnavailable,
    Rejected,
    SurefootError,
    TableNotReachable,
    TransitionIllegal,
)
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import decode_event
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.policy.parse import examine_policy, parse_policy
from surefoot.core.policy.recovery.data_layer import OnRollback, data_source_to_json, parse_data_source
from surefoot.core.tables.tables_to_restore import checkpoints_in_use
from surefoot.rollout import (
    check_due_checkpoints,
    checkpoints_to_check,
    describe_table_problems,
    drive_rollout,
    leave_table_unrestored,
    list_pending_restores,
    open_promotion,
    open_rollback,
    restore_due_tables,
    retry_table_restore,
)
from surefoot.rollout.recovery.table_restores import CHECKPOINT_CHECK_INTERVAL_S
from tests.fakes import POLICY, WITH_TABLES, Faults, Scenario
from tests.scripted import FAIL, at, events, scenario, started

NEVER = dict.fromkeys(range(1, 10_000), "refused")


def down() -> Faults:
    """Faults of a port that does not answer."""
    return Faults(dict(NEVER))


def kinds(env: Scenario, name: str) -> list[str]:
    """Events about one table, in order."""
    return [e.kind for e in env.journal.entries if e.kind.startswith("Data") and e.data["name"] == name]


def promoted() -> Scenario:
    """Version 2 is promoted and has written to every table."""
    env = scenario(WITH_TABLES)
    started(env)
    for rows in env.data_layer.tables.values():
        rows.append("2")
    return env


def rolled_back(env: Scenario) -> Ledger:
    """An operator takes the promoted version back."""
    open_rollback(env.ports(), "m", "operator")
    return drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)


def test_tables_are_checkpointed_before_the_alias_moves() -> None:
    """Every table is kept before alias champion moves, and what is to be restored was proved restorable."""
    env = scenario(WITH_TABLES)
    ledger = started(env)
    moved = next(
        e.seq
        for e in env.journal.entries
        if e.kind == "EffectIntended" and e.data["effect"].get("alias") == "champion"  # type: ignore[attr-defined]
    )
    kept = {one.event.name: one for one in ledger.data.checkpoints}
    assert all(one.seq < moved for one in kept.values())
    assert {name: one.event.proved for name, one in kept.items()} == {
        "predictions": True,
        "stream": False,
        "scratch": False,
    }
    assert fold_entries("m", env.journal.entries) == ledger


def test_a_table_that_cannot_be_restored_stops_its_promotion() -> None:
    """A checkpoint that fails its proof ends the rollout before the promotion; one that is only left does not."""
    env = scenario(WITH_TABLES)
    env.data_layer.damaged = {"predictions"}
    ledger = started(env)
    assert [e["sink"] for e in events(env, "RolloutEnded")] == ["Aborted"]
    assert "table predictions could not be restored" in next(iter(ledger.rollouts.values())).reason
    assert env.registry.aliases["champion"] == "1"
    assert env.traffic.split is not None
    assert (env.traffic.split.champion.number, env.traffic.split.candidate) == ("1", None)
    assert not ledger.data.due
    env = scenario(WITH_TABLES)
    env.data_layer.damaged = {"scratch", "stream"}
    started(env)
    assert [e["sink"] for e in events(env, "RolloutEnded")] == ["Promoted"]


@pytest.mark.parametrize("how", ["operator", "bake"])
def test_tables_follow_a_rollback(how: str) -> None:
    """After a rollback from the bake and after it, each table is restored or left once, after traffic and registry."""
    if how == "operator":
        env = promoted()
        ledger = rolled_back(env)
    else:
        env = scenario(WITH_TABLES, lambda q: FAIL if q.kind == "bake" else None)
        open_promotion(env.ports(), env.request())
        drive_rollout(env.ports(), "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.ending))
        for rows in env.data_layer.tables.values():
            rows.append("2")
        ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert {due.name: due.versions for due in list_pending_restores(ledger)} == dict.fromkeys(
        ("predictions", "stream", "scratch"), ("2",)
    )
    ledger = restore_due_tables(env.ports(), "m")
    assert env.data_layer.tables == {"predictions": ["1"], "stream": ["1", "2"], "scratch": ["1", "2"]}
    assert kinds(env, "predictions")[-2:] == ["DataRestoreRequested", "DataRestored"]
    assert [(one["name"], one["on_rollback"]) for one in events(env, "DataLeft")] == [
        ("stream", "correct"),
        ("scratch", "leave"),
    ]
    head = ledger.head
    assert restore_due_tables(env.ports(), "m").head == head
    (done,) = events(env, "DataRestored")
    assert (done["before"], done["after"], done["already"]) == ("rows 1,2", "rows 1", False)
    assert all(describe_event(decode_event(entry.kind, entry.data)) for entry in env.journal.entries)


def test_tables_that_do_not_answer_hold_no_rollback_up() -> None:
    """With registry and tables down traffic goes back at once; registry, then tables, catch up, each once."""
    env = promoted()
    calm, env.registry.faults, env.data_layer.faults = env.registry.faults, down(), down()
    open_rollback(env.ports(), "m", "operator")
    with pytest.raises(RegistryUnavailable):
        drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open, patience=5.0)
    assert env.traffic.split is not None
    assert env.traffic.split.champion.number == "1"
    env.registry.faults = calm
    ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert env.registry.aliases == {"champion": "1"}
    for _ in range(3):
        with pytest.raises(SurefootError, match="planned"):
            restore_due_tables(env.ports(), "m")
    assert "still to be restored" in describe_table_problems(env.ports().ledger("m"))[0]
    env.data_layer.faults = calm
    ledger = restore_due_tables(env.ports(), "m")
    assert not describe_table_problems(ledger)
    assert [name for name, _ in env.data_layer.restores] == ["predictions"]
    assert len(events(env, "DataRestored")) == len(events(env, "DataRestoreRequested")) == 1


def test_a_process_that_lacks_something_leaves_the_table_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell without the URL or the library refuses nothing for good: the next process restores the table."""
    env = promoted()
    rolled_back(env)

    def unequipped(*_: object) -> object:
        raise TableNotReachable("PREDICTIONS_URL is not set here")

    with monkeypatch.context() as shell:
        shell.setattr(env.data_layer, "restore", unequipped)
        shell.setattr(env.data_layer, "verify_restorable", unequipped)
        with pytest.raises(TableNotReachable):
            restore_due_tables(env.ports(), "m")
    assert list_pending_restores(env.ports().ledger("m"))
    assert not describe_table_problems(restore_due_tables(env.ports(), "m"))
    assert env.data_layer.tables["predictions"] == ["1"]


def test_a_newer_write_is_refused_and_a_person_decides() -> None:
    """A refusal stays in the status until a person has it tried again, or leaves the table as it is."""
    env = promoted()
    env.data_layer.tables["predictions"].append("1")
    rolled_back(env)
    ledger = restore_due_tables(env.ports(), "m")
    assert env.data_layer.tables["predictions"] == ["1", "2", "1"]
    (problem,) = describe_table_problems(ledger)
    assert "version 1 has written since" in problem
    assert not list_pending_restores(ledger)
    assert restore_due_tables(env.ports(), "m").head == ledger.head
    retry_table_restore(env.ports(), "m", "predictions", "looked at it")
    ledger = restore_due_tables(env.ports(), "m")
    assert len(events(env, "DataRestoreRefused")) == 2
    env.data_layer.tables["predictions"].pop()
    retry_table_restore(env.ports(), "m", "predictions", "row moved away")
    with pytest.raises(TransitionIllegal, match="was not refused"):
        retry_table_restore(env.ports(), "m", "predictions", "twice")
    assert not describe_table_problems(restore_due_tables(env.ports(), "m"))
    with pytest.raises(NotFound, match="waiting: none"):
        leave_table_unrestored(env.ports(), "m", "predictions", "too late")


def test_a_person_leaves_a_table() -> None:
    """A table that a person leaves is settled, with the reason in the journal."""
    env = promoted()
    env.data_layer.tables["predictions"].append("1")
    rolled_back(env)
    restore_due_tables(env.ports(), "m")
    ledger = leave_table_unrestored(env.ports(), "m", "predictions", "corrected by hand")
    assert not describe_table_problems(ledger)
    assert events(env, "DataLeft")[-1]["reason"] == "corrected by hand"


def test_a_new_promotion_waits_for_the_restore() -> None:
    """A table that still waits for its restore is restored before the next promotion checkpoints it."""
    env = promoted()
    rolled_back(env)
    open_promotion(env.ports(), env.request("3"))
    ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert kinds(env, "predictions")[2:6] == [
        "DataRestoreRequested",
        "DataRestored",
        "DataCheckpointRequested",
        "DataCheckpointed",
    ]
    assert checkpoints_in_use(ledger)[0].event.checkpoint.content.digest == "rows 1"


def test_going_further_back_undoes_every_version_since() -> None:
    """A rollback to an older version restores what that one left, and undoes all versions after it."""
    env = promoted()
    open_promotion(env.ports(), env.request("3"))
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    env.data_layer.tables["predictions"].append("3")
    open_rollback(env.ports(), "m", "operator", "1")
    ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert ledger.data.due["predictions"].versions == ("2", "3")
    restore_due_tables(env.ports(), "m")
    assert env.data_layer.tables["predictions"] == ["1"]


@pytest.mark.parametrize("point", ["in the bake", "promoted"])
def test_tables_go_where_traffic_goes(point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback whose target cannot be served goes further back, and the tables go to what that version left."""
    env = promoted()
    open_promotion(env.ports(), env.request("3"))
    until = at(Stage.BAKING) if point == "in the bake" else lambda ledger: not ledger.open
    drive_rollout(env.ports(), "m", until=until)
    env.data_layer.tables["predictions"].append("3")
    shift = env.traffic.shift

    def refusing(model: str, split: Split) -> None:
        if split.champion.number == "2":
            raise Rejected("it needs torch")
        shift(model, split)

    monkeypatch.setattr(env.traffic, "shift", refusing)
    ledger = rolled_back(env)
    assert env.traffic.split is not None
    assert env.traffic.split.champion.number == "1"
    assert ledger.data.due["predictions"].versions == ("2", "3")
    restore_due_tables(env.ports(), "m")
    assert env.data_layer.tables["predictions"] == ["1"]


def test_a_checkpoint_is_proved_once_a_day() -> None:
    """What a rollback would restore is tried each day; a failure is told until a later try works."""
    env = promoted()
    ledger = env.ports().ledger("m")
    assert not checkpoints_to_check(ledger, env.clock.now())
    for damaged, said in ((set(), 0), ({"predictions"}, 1), (set(), 0)):
        env.clock.time += CHECKPOINT_CHECK_INTERVAL_S
        env.data_layer.damaged = damaged
        assert [one.event.name for one in checkpoints_to_check(env.ports().ledger("m"), env.clock.now())] == [
            "predictions"
        ]
        ledger = check_due_checkpoints(env.ports(), "m")
        assert len(describe_table_problems(ledger)) == said
        assert check_due_checkpoints(env.ports(), "m").head == ledger.head
    assert len(events(env, "DataProved")) == 3
    rolled_back(env)
    restore_due_tables(env.ports(), "m")
    env.clock.time += CHECKPOINT_CHECK_INTERVAL_S
    assert not checkpoints_to_check(env.ports().ledger("m"), env.clock.now())  # nothing would go back to it any more


def test_a_bake_can_be_undone_with_its_tables() -> None:
    """While a version bakes, the checkpoints of its own promotion are those in use."""
    env = scenario(WITH_TABLES)
    ledger = started(env, at(Stage.BAKING))
    assert [one.event.name for one in checkpoints_in_use(ledger)] == ["predictions", "stream", "scratch"]
    assert [one.event.name for one in checkpoints_to_check(ledger, env.clock.now() + CHECKPOINT_CHECK_INTERVAL_S)] == [
        "predictions"
    ]


def test_ports_without_tables_say_so() -> None:
    """A caller that has opened no data layer is told, before anything is journalled as done."""
    env = scenario(WITH_TABLES)
    env.data_layer = None  # type: ignore[assignment]
    with pytest.raises(InvariantBroken, match="without a data layer"):
        started(env)


def test_another_writer_of_the_journal_does_not_repeat_a_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a table is restored the journal may grow, and another process may settle the table: each is done once."""
    env = promoted()
    rolled_back(env)
    whole, depth = env.data_layer.restore, [0]

    def restore(*said: Any) -> object:
        depth[0] += 1
        if depth[0] == 1:
            restore_due_tables(env.ports("other"), "m")
        return whole(*said)

    monkeypatch.setattr(env.data_layer, "restore", restore)
    restore_due_tables(env.ports(), "m")
    assert len(events(env, "DataRestored")) == len(events(env, "DataRestoreRequested")) == 1
    assert len(env.data_layer.restores) == 1


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"name": "t", "kind": "parquet", "path": "p"}, OnRollback.RESTORE),
        ({"name": "t", "kind": "delta", "path": "p"}, OnRollback.RESTORE),
        ({"name": "t", "kind": "delta", "path": "p", "consumers": ["billing"]}, OnRollback.CORRECT),
        ({"name": "t", "kind": "delta", "path": "p", "consumers": "b", "on_rollback": "restore"}, OnRollback.RESTORE),
        (
            {"name": "t", "kind": "sql", "url_variable": "U", "table": "a.b", "valid_from": "v", "version_column": "w"},
            OnRollback.RESTORE,
        ),
    ],
)
def test_what_a_policy_says_of_a_table(table: dict[str, object], said: OnRollback) -> None:
    """A table is restored unless the policy says otherwise, or streaming readers would take that for new data."""
    (source,) = parse_policy({**POLICY, "data_layer": [table]}).data_layer
    assert source.on_rollback is said
    assert parse_data_source(data_source_to_json(source)) == source


@pytest.mark.parametrize(
    ("table", "path", "said"),
    [
        ({"name": "t", "kind": "iceberg", "path": "p"}, (0, "kind"), "kind"),
        ({"name": "t", "kind": "parquet"}, (0, "path"), "is missing"),
        ({"name": "t", "kind": "parquet", "path": "p", "on_rollback": "undo"}, (0, "on_rollback"), "undo"),
        ({"name": "t", "kind": "sql", "url": "postgresql://u:secret@h/d"}, (0, "url"), "unknown"),
    ],
)
def test_what_a_policy_may_not_say_of_a_table(table: dict[str, object], path: tuple[object, ...], said: str) -> None:
    """Each mistake is named with the keys that lead to it."""
    broken = examine_policy({**POLICY, "data_layer": [table]}).broken
    assert any(said in f"{one.key} {one.rule}" or said in str(one) for one in broken), [str(one) for one in broken]


def test_two_tables_of_one_name_are_refused() -> None:
    """The journal knows tables by name, so each name is used once."""
    table = {"name": "t", "kind": "parquet", "path": "p"}
    (broken,) = examine_policy({**POLICY, "data_layer": [table, table]}).broken
    assert "two tables are named 't'" in broken.rule


def test_an_unavailable_table_delays_only_the_promotion() -> None:
    """A table that does not answer keeps the candidate where it is; an operator can still take it back at once."""
    env = scenario(WITH_TABLES)
    env.data_layer.faults = down()
    open_promotion(env.ports(), env.request())
    with pytest.raises(SurefootError, match="planned"):
        drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open, patience=5.0)
    assert env.registry.aliases["champion"] == "1"
    open_rollback(env.ports(), "m", "operator")
    ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert [e["sink"] for e in events(env, "RolloutEnded")] == ["RolledBack"]
    assert not ledger.data.requested
    assert not ledger.data.due
    assert DataUnavailable.retryable
