"""What the review of an incident tries, proposes and writes: pure decisions, and edits of a policy's text."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.adapters.config.policy_edit import diff_policy_texts, edit_policy_text
from surefoot.adapters.config.policy_file import read_policy
from surefoot.core.domain import Stage, Version
from surefoot.core.errors import Rejected
from surefoot.core.incidents.incident_report import IncidentReport
from surefoot.core.incidents.incident_state import Incident
from surefoot.core.incidents.review.incident_case import CaseKind, IncidentCase, case_from_json, case_to_json
from surefoot.core.incidents.review.policy_change import (
    AddItem,
    Detection,
    PolicyChange,
    SetValue,
    combine_changes,
    list_added_gate_changes,
    list_policy_changes,
)
from surefoot.core.incidents.review.policy_change_ranking import (
    BEFORE,
    BacktestedPolicy,
    IncidentReview,
    choose_policy_change,
    compute_allowed_false_alarms,
    describe_backtest_outcome,
    find_case_problem,
    is_within_false_alarm_budget,
)
from surefoot.core.incidents.timeline import Timeline
from surefoot.core.journal.watch_events import IncidentOpened
from surefoot.reports.incident_review_page import render_incident_review

FLIGHTS = Path(__file__).parents[2] / "configs" / "flights-late.yaml"
CASE = IncidentCase("m", "abc", CaseKind.TRIAL, "2", "1", 0.0, 50.0, 1000.0, 200.0)
CHANGE = PolicyChange("look more often", (SetValue(("watch", "every"), "1h"),))
PLAYED = st.builds(
    BacktestedPolicy,
    st.just(CHANGE),
    st.none() | st.floats(0.0, 1000.0),
    st.just("errors"),
    st.just("Ramping"),
    st.integers(0, 100),
    st.just(""),
    st.integers(0, 3),
    st.sampled_from([0.0, 10.0, 500.0]),
)


@given(in_force=PLAYED, tried=st.lists(PLAYED, max_size=8), budget=st.sampled_from([0.001, 0.01, 0.1]))
def test_a_proposal_is_never_later_and_keeps_to_the_budget(
    in_force: BacktestedPolicy, tried: list[BacktestedPolicy], budget: float
) -> None:
    """What is proposed stops the version no later and after no more requests, within the budget of false alarms."""
    chosen = choose_policy_change(replace(in_force, change=None), tried, budget)
    better = [
        one
        for one in tried
        if one.stopped_at is not None
        and is_within_false_alarm_budget(one, budget)
        and (
            in_force.stopped_at is None
            or (one.stopped_at <= in_force.stopped_at and one.requests < in_force.requests)
            or (one.stopped_at < in_force.stopped_at and one.requests <= in_force.requests)
        )
    ]
    assert (chosen is None) == (not better)
    if chosen is None:
        return
    assert chosen in better
    unseen = [one for one in better if one.requests == 0] or better
    assert chosen.stopped_at is not None
    assert chosen.stopped_at == min(one.stopped_at for one in unseen if one.stopped_at is not None)
    assert chosen.false_alarms <= compute_allowed_false_alarms(budget, chosen.trials)


def test_a_policy_that_stops_nothing_or_too_late_is_named_in_one_line() -> None:
    """A case is met by a stop in time alone; the sentence names the version, and how late it was."""
    played = BacktestedPolicy(None, 150.0, "errors", "Ramping 5 %", 7)
    assert find_case_problem(CASE, played) == ""
    assert "7 requests" in describe_backtest_outcome(CASE, played)
    assert find_case_problem(CASE, replace(played, stopped_at=260.0)).endswith("1 min too late")
    never = replace(played, stopped_at=None, reason="the records end\nwhile it is Baking")
    assert find_case_problem(CASE, never) == "would not stop version 2: the records end while it is Baking"


def test_changes_are_small_and_each_makes_a_valid_policy(tmp_path: Path) -> None:
    """Looks, margins, gates of earlier steps and a live shadow are tried; each edited file reads as a policy."""
    mapping, policy = read_policy(FLIGHTS)
    text = FLIGHTS.read_text(encoding="utf-8")
    trial = list_policy_changes(policy, mapping, Detection("errors", Stage.RAMPING, 0))
    assert [one.words for one in trial] == [
        "look every 1h at weight 5 %",
        "accept 1pp in gate errors",
        "judge errors in a live shadow of 1d before weight 5 %",
        "judge errors in a live shadow of 5d before weight 5 %",
    ]
    assert list_policy_changes(policy, mapping, Detection("errors", Stage.RAMPING, 9))[0].words.endswith("50 %")
    others = list_added_gate_changes(policy, Detection("errors", Stage.RAMPING, 0))
    assert [one.words for one in others] == [
        f"judge {name} at weight 5 % too" for name in ("quality", "origins", "regress")
    ]
    bake = list_policy_changes(policy, mapping, Detection("regress", Stage.BAKING))
    assert {"accept 0.015 in gate regress", "judge regress at weight 50 % too"} <= {one.words for one in bake}
    watch = list_policy_changes(policy, mapping, Detection("quality", Stage.PROMOTED))
    assert {"look every 2h in the standing watch", "judge origins in the standing watch too"} <= {
        o.words for o in watch
    }
    person = list_policy_changes(policy, mapping, Detection("", Stage.RAMPING, 1))
    for change in (*trial, *others, *bake, *watch, *person, combine_changes(trial[2], trial[0])):
        file = tmp_path / FLIGHTS.name
        file.write_text(edit_policy_text(text, change.edits), encoding="utf-8")
        found, read = read_policy(file)
        assert found != mapping, change.words
        assert read.model == policy.model


def test_an_unwatched_champion_gets_a_watch(tmp_path: Path) -> None:
    """Where a policy has no watch, one is proposed with each gate that it could have."""
    text = "".join(
        line for line in FLIGHTS.read_text(encoding="utf-8").splitlines(True) if not line.startswith("watch")
    )
    file = tmp_path / FLIGHTS.name
    file.write_text(text, encoding="utf-8")
    mapping, policy = read_policy(file)
    changes = list_policy_changes(policy, mapping, Detection("", Stage.PROMOTED))
    assert [one.words for one in changes] == [
        f"watch the champion by {name}" for name in ("quality", "origins", "regress")
    ]
    file.write_text(edit_policy_text(text, changes[0].edits), encoding="utf-8")
    watch = read_policy(file)[1].watch
    assert watch is not None
    assert (watch.every, watch.gates) == (86400.0, ("quality",))


def test_edits_keep_comments_and_order_and_the_diff_applies(tmp_path: Path) -> None:
    """Only the edited lines change, and `git apply` makes the same text of the diff."""
    text = FLIGHTS.read_text(encoding="utf-8")
    edits = (
        SetValue(("gates", "quality", "margin"), 0.0075),
        SetValue(("gates", "origins", "min_per_slice"), 100),
        SetValue(("steps", 2, "hold", "every"), "30m"),
        SetValue(("watch", "window"), "14d"),
        AddItem(("bake", "gates"), "quality"),
        AddItem(("steps",), {"shadow": {"source": "live", "share": 100, "for": "1d", "gates": ["errors"]}}, 1),
    )
    made = edit_policy_text(text, edits)
    assert "margin: 0.0075 # of about 0.19" in made
    assert "for: 2d, min_requests: 200, gates: [errors, latency], every: 30m }" in made
    assert "bake: { for: 14d, gates: [errors, regress, quality] }" in made
    assert "worse: rollback, window: 14d } # after the bake" in made
    before, after = (one.splitlines() for one in (text, made))
    assert len(after) == len(before) + 1
    assert sum(one not in before for one in after) == len(edits)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / FLIGHTS.name).write_text(text, encoding="utf-8")
    diff = diff_policy_texts(f"configs/{FLIGHTS.name}", text, made).encode()
    subprocess.run(["git", "apply", "-"], input=diff, cwd=tmp_path, check=True)
    assert (tmp_path / "configs" / FLIGHTS.name).read_text(encoding="utf-8") == made


@pytest.mark.parametrize(
    ("text", "edit", "made"),
    [
        ("a:\n  - x # one\n  - y\nb: 1\n", AddItem(("a",), "z"), "a:\n  - x # one\n  - y\n  - z\nb: 1\n"),
        ("a: [x, y]\n", AddItem(("a",), "z", 0), "a: [z, x, y]\n"),
        ("a: []\n", AddItem(("a",), "2d"), "a: [2d]\n"),
        ("a:\n  b: 1 # why\nc: 2", SetValue(("a", "d"), "true"), 'a:\n  b: 1 # why\n  d: "true"\nc: 2'),
        ("a:\r\n  b: 1\r\n", SetValue(("a", "d"), 2), "a:\r\n  b: 1\r\n  d: 2\r\n"),
        ("c: 2", SetValue(("a",), {"b": [1]}), "c: 2\na: { b: [1] }\n"),
        ("a: {b: 1}\n", SetValue(("a", "b"), 0.5), "a: {b: 0.5}\n"),
    ],
)
def test_an_edit_changes_its_place_alone(text: str, edit: AddItem | SetValue, made: str) -> None:
    """A value is replaced, a key or an item is added, in block and in flow style, with the line ends of the file."""
    assert edit_policy_text(text, [edit]) == made


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("a: 1\n", AddItem(("b",), "x")),
        ("a: 1\n", SetValue(("a", "b"), "x")),
        ("a: [x, # last\n]\n", AddItem(("a",), "z")),
    ],
)
def test_what_cannot_be_edited_is_refused(text: str, edit: AddItem | SetValue) -> None:
    """An edit without a place, or one that would fall into a comment, is refused in one line."""
    with pytest.raises(Rejected, match="the policy"):
        edit_policy_text(text, [edit])


def test_a_case_survives_its_file_and_a_broken_one_is_refused() -> None:
    """A case is read as it was written; a wrong field is named."""
    value = case_to_json(CASE)
    assert case_from_json(value) == CASE
    for field, wrong in (("format", 2), ("kind", "else"), ("stop_by", None), ("onset", float("nan")), ("bad", "")):
        with pytest.raises(Rejected, match=field):
            case_from_json({**value, field: wrong})


def test_a_review_without_a_proposal_says_what_it_tried() -> None:
    """Where nothing is sooner the text says so, lists what was tried, and proposes no command, cost or change."""
    opened = IncidentOpened("abc", "r1", Version("2", "sha256:2"), "gate errors", "errors is FAIL")
    report = IncidentReport(
        "m", Incident(opened, 100.0, 1), Version("1", "sha256:1"), Timeline(()), None, (), (), (), (), "", 1, ()
    )
    in_force = BacktestedPolicy(None, 150.0, "errors", "Ramping 5 %", 7)
    tried = (BacktestedPolicy(CHANGE, 160.0, "errors", "Ramping 5 %", 9),)
    found = Detection("errors", Stage.RAMPING)
    review = IncidentReview(
        report,
        CASE,
        "configs/incidents/m/abc",
        found,
        in_force,
        tried,
        (("x | y", "no <policy>"),),
        None,
        "",
        0.01,
        (1.0, 1.0),
    )
    text = render_incident_review(review)
    assert "No change that was tried stops the version sooner" in text
    assert "| look more often | 1970-01-01 00:02:40 | errors, Ramping 5 % | 9 | not measured |" in text
    assert "no &lt;policy&gt;" in text
    assert review.command(BEFORE) in text
    assert "/after/" not in text
    assert "```diff" not in text
