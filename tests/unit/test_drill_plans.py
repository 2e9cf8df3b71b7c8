"""What a drill draws is the same for the same seed, harms enough to be seen, and is judged by its figures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from surefoot.cli.served.drill import _faults, summarise_drill_results
from surefoot.core.drills.drill_events import DrillResult
from surefoot.core.drills.drill_faults import DrillFault
from surefoot.core.errors import Rejected
from surefoot.core.journal.ledger import Ledger
from surefoot.drills.fault_plans import DATA_FAULTS, TrafficFacts, choose_fault_plan
from surefoot.drills.misbehaviour import Misbehaviour, TypicalInputs
from surefoot.drills.tabletop import Tabletop

SAMPLE = pd.DataFrame(
    {
        "hours": np.tile([5.0, 6.0, 7.0, 8.0, 9.0], 40),
        "price": np.tile([10.0, 20.0, 30.0, 40.0, 90.0], 40),
        "shop": np.tile(["a", "b", "c", "a", "b"], 40),
        "kind": np.tile(["x", "y", "z", "x", "y"], 40),
    }
)
USUAL = TypicalInputs(
    {"hours": (5.0, 9.0), "price": (10.0, 40.0)},
    {"shop": ("a", "b", "c"), "kind": ("x", "y", "z")},
    "probability",
    harm={"hours": 0.2, "price": 0.1},
)
FACTS = TrafficFacts(USUAL, SAMPLE, ("shop",), 4)
ROW: dict[str, object] = {"hours": 6.0, "price": 20.0, "shop": "b", "kind": "y"}


@pytest.mark.parametrize("fault", list(DrillFault))
def test_the_same_seed_gives_the_same_plan(fault: DrillFault) -> None:
    """A drill can be played again: fault, stage, onset, size and changed requests depend on the seed alone."""
    one, other = (choose_fault_plan(fault, FACTS, "7 1") for _ in range(2))
    assert (one.stage, one.onset, one.what, one.version) == (other.stage, other.onset, other.what, other.version)
    if one.change is not None and other.change is not None:
        assert [one.change(ROW, number) for number in range(50)] == [other.change(ROW, number) for number in range(50)]


@pytest.mark.parametrize("fault", sorted(DATA_FAULTS))
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_changed_requests_are_far_from_the_usual_ones(fault: DrillFault, seed: str) -> None:
    """A fault of the data moves most rows out of what was usual, so that the faulty version answers them worse."""
    plan = choose_fault_plan(fault, FACTS, seed)
    assert plan.change is not None
    rows = [plan.change({str(key): value for key, value in row.items()}, 1000) for row in SAMPLE.to_dict("records")]
    assert USUAL.distance(SAMPLE).mean() < 0.5
    assert (USUAL.distance(pd.DataFrame(rows)) > 0.5).mean() > 0.4


def test_a_gap_in_a_changed_column_stays_one() -> None:
    """A missing value has no unit: it is sent as missing."""
    plan = choose_fault_plan(DrillFault.WRONG_UNITS, FACTS, "1")
    assert plan.change is not None
    assert plan.change({**ROW, "hours": None, "price": None}, 0) == {**ROW, "hours": None, "price": None}


def test_errors_begin_with_values_that_never_came_together() -> None:
    """The good version knows each value, and the rows that fail are told apart by them."""
    plan = choose_fault_plan(DrillFault.ERRORS, FACTS, "3")
    assert plan.change is not None
    assert set(plan.version.where) == {"shop", "kind"}
    known = set(zip(SAMPLE["shop"], SAMPLE["kind"], strict=True))
    assert (plan.version.where["shop"], plan.version.where["kind"]) not in known
    sent = [plan.change(ROW, number) for number in range(400)]
    share = sum(all(row[name] == value for name, value in plan.version.where.items()) for row in sent) / 400
    assert 0.04 < share < 0.51


def test_what_no_gate_can_see_fails_every_request_while_both_versions_serve() -> None:
    """Without Prefect or a log only the gateway itself sees a fault: that every answer of the candidate fails."""
    for fault in (DrillFault.PREFECT_DOWN, DrillFault.DISK_FULL):
        for seed in range(20):
            plan = choose_fault_plan(fault, FACTS, f"{seed}")
            assert plan.stage < FACTS.stages - 1
            assert plan.change is not None
            assert all(plan.change(ROW, number) != ROW for number in range(20))


def test_a_model_without_columns_is_refused_in_words() -> None:
    """A fault that has no column to hit is a refusal that says which."""
    bare = TrafficFacts(TypicalInputs(), SAMPLE, (), 2)
    for fault in (*DATA_FAULTS, DrillFault.ONE_GROUP):
        with pytest.raises(Rejected):
            choose_fault_plan(fault, bare, "1")


def test_a_misbehaviour_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The file of a fault is whole at every instant, and says what was decided."""
    file = tmp_path / "fault.json"
    wanted = Misbehaviour("raise", {"shop": "a"}, 0.5, 2.0)
    wanted.write(file)
    assert Misbehaviour(**json.loads(file.read_text(encoding="utf-8"))) == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["fault.json"]


def result(fault: DrillFault, *, right: bool | None = True, errors: int = 0, detected: bool = True) -> DrillResult:
    """One result."""
    problem = "callers saw errors" if errors else "" if detected else "no gate took the version back"
    gate = "errors" if detected else ""
    return DrillResult(fault, detected, gate, 10, 60.0, 5.0, "resources", right, errors, problem)


def test_a_row_that_misses_is_not_ok() -> None:
    """Undetected faults, failed requests and, over many runs, wrong causes each make a row miss."""
    good = [result(DrillFault.ERRORS) for _ in range(9)]
    for played, name, every in (
        ([*good, result(DrillFault.NAN, detected=False)], "faults detected", False),
        ([*good, result(DrillFault.NAN, errors=1)], "requests that callers saw fail", False),
        ([*good, result(DrillFault.NAN, right=False), result(DrillFault.NAN, right=None)], "causes named right", True),
    ):
        rows = {row["name"]: row["ok"] for row in summarise_drill_results(played, 1.0, every_cause=every)}
        assert not rows[name]
    assert all(
        row["ok"]
        for row in summarise_drill_results([*good, result(DrillFault.NAN, right=False)], 1.0, every_cause=True)
    )


def test_faults_are_chosen_by_one_option(tmp_path: Path) -> None:
    """One option names the faults; two of them, or an unknown fault, are refused in one line."""

    def chosen(*named: str, runs: int = 0, seed: int = 1, all_: bool = False) -> list[DrillFault]:
        return _faults(named, None, tmp_path, "m", runs=runs, seed=seed, all_=all_)

    assert chosen("nan", "errors") == [DrillFault.NAN, DrillFault.ERRORS]
    assert chosen(all_=True) == list(DrillFault)
    assert chosen(runs=30, seed=4) == chosen(runs=30, seed=4) != chosen(runs=30, seed=5)
    with pytest.raises(Rejected, match="exclude each other"):
        chosen("nan", runs=3)
    with pytest.raises(Rejected, match="'fire' is not a fault"):
        chosen("fire")


def test_a_tabletop_records_decisions_and_times() -> None:
    """What a person types, or that nothing came, is recorded with the time that it took; 'rollback' takes it back."""
    answers, times, shown = iter(["look at  the log\n", "\n", "", "rollback\n"]), iter(range(0, 80, 10)), list[str]()
    person = Tabletop(shown.append, lambda: next(answers), lambda: float(next(times)))
    decided = [person.decide(Ledger("m"), (), "callers: 300 requests, 0 failed") for _ in range(4)]
    assert decided == [False, False, False, True]
    assert [note.partition(": ")[2] for note in person.notes] == [
        "'look at the log' after 10.0 s", "'wait' after 10.0 s", "'wait' after 10.0 s", "'rollback' after 10.0 s",
    ]  # fmt: skip
    assert person.decided_s == [10.0] * 4
    assert sum("300 requests" in line for line in shown) == 4
