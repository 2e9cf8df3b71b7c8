"""Corner cases: which synthetic rows are made, what breaks a version on them, and what the gate says."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from surefoot import cli
from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.adapters.replay.corners.corner_rows import (
    ReferenceColumns,
    SyntheticRow,
    build_corners,
    rollout_seed,
    rows_digest,
)
from surefoot.adapters.replay.corners.drawn_changes import draw_changes
from surefoot.adapters.replay.corners.row_answers import MAX_PROCESS_DEATHS, SyntheticRowScorer
from surefoot.adapters.replay.corners.row_shrinking import shrink_row
from surefoot.core.domain import Outcome, Stage, Verdict
from surefoot.core.judging.corner_answers import CornerAnswers, CornerResult
from surefoot.core.judging.evidence import Evidence, MissingEvidence
from surefoot.core.judging.evidence_json import decode_evidence, encode_evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.judge import judge
from surefoot.core.judging.reverify import reverify
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.planning.policy_notes import list_policy_notes
from surefoot.core.policy.corners import ColumnKind, Corners, determine_column_kind
from surefoot.core.policy.gates.implicit import CORNERS_GATE
from surefoot.core.policy.parse import examine_policy, parse_policy
from surefoot.core.policy.policy_types import Metric
from surefoot.models.model_protocols import PredictorLost
from surefoot.settings import Settings
from tests.fakes import POLICY
from tests.scripted import scenario, started
from tests.unit.test_replay import ASKED, Model, house, record, write

WEIGHTS = [{"weight": 50, "hold": {"for": "10m", "gates": ["errors"]}}]
"""Steps without a shadow."""
COLUMNS: dict[str, list[object]] = {
    "carrier": ["UA", "AA", None],
    "distance": [200, 800, 4000],
    "pressure": [1008.5, 1013.25, None],
}
KEYS = {
    "empty": ["carrier"],
    "missing": list(COLUMNS),
    "extremes": ["distance", "pressure"],
    "unseen": ["carrier", "distance"],
}


def corners(**declared: object) -> Corners:
    """What a policy declares."""
    return Corners.model_validate(declared)


def real(number: int) -> LoggedRequest:
    """A recorded request."""
    row = {name: values[number % len(values)] for name, values in COLUMNS.items()}
    return LoggedRequest((f"q{number}", 0), float(number), "1", "champion", 0.5, {**row, "number": number})


REAL = [real(number) for number in range(9)]


@given(
    st.fixed_dictionaries(
        {"rows": st.integers(1, 40)},
        optional={key: st.lists(st.sampled_from(names), unique=True) for key, names in KEYS.items()}
        | {
            "values": st.dictionaries(
                st.sampled_from(sorted(COLUMNS)),
                st.lists(st.text() | st.integers(1 - 2**53, 2**53 - 1) | st.booleans(), min_size=1),
            )
        },
    ).filter(lambda made: any(value for key, value in made.items() if key != "rows")),
    st.lists(st.integers(0, 8), min_size=1, unique=True),
    st.integers(0, 2**32),
)
def test_each_declared_corner_has_its_rows_and_each_row_is_one_real_row(
    declared: dict[str, object], places: list[int], seed: int
) -> None:
    """Law: each corner has at least the stated rows; every column that it does not change is from one real request."""
    wanted, requests = corners(**declared), [REAL[place] for place in places]
    made = build_corners(wanted, requests, ReferenceColumns(requests, {}), seed)
    told = {key: value for key, value in declared.items() if key != "rows"}
    for key, names in told.items():
        for name in names if isinstance(names, (list, dict)) else ():
            assert any(corner.name.startswith(name) for corner in made), (key, name)
    assert len(made) == wanted.count
    for corner in made:
        assert len(corner.rows) >= wanted.rows
        for row in corner.rows:
            assert row.real in requests
            assert row.change
            assert set(row.change) <= set(wanted.columns)
            assert row.features == {**row.real.features, **row.change}
    assert rows_digest(made) == rows_digest(build_corners(wanted, requests, ReferenceColumns(requests, {}), seed))


def test_drawn_values_follow_from_the_seed_alone_and_fit_their_columns() -> None:
    """Hypothesis draws the same rows for the same seed, others for another; each column alone and several at once."""
    wanted, columns = corners(rows=12, drawn=["distance", "carrier", "pressure"]), ReferenceColumns(REAL, {})
    made = build_corners(wanted, REAL, columns, 7)
    assert [corner.name for corner in made] == ["distance drawn", "carrier drawn", "pressure drawn", "several drawn"]
    kinds = {"distance": ColumnKind.WHOLE, "carrier": ColumnKind.TEXT, "pressure": ColumnKind.NUMBER}
    for corner in made:
        assert len(corner.rows) == 12
        for row in corner.rows:
            assert {determine_column_kind([value]) for value in row.change.values()} <= {
                kinds[name] for name in row.change
            }
            assert len(row.change) > 1 or corner.name != "several drawn"
    assert len({json.dumps(dict(row.change)) for row in made[0].rows}) > 6
    again = build_corners(wanted, REAL, columns, 7)
    assert rows_digest(made) == rows_digest(again)
    other = draw_changes(
        [
            {
                "columns": [{"name": "n", "kind": "whole", "low": 0, "high": 999}],
                "count": 9,
                "several": False,
                "seed": seed,
            }
            for seed in (7, 8)
        ]
    )
    assert other[0] != other[1]


def test_what_a_corner_is() -> None:
    """Extremes are recorded values and others beyond, a category is one that no request has, the rest is as written."""
    wanted = corners(
        rows=1,
        empty="carrier",
        missing="pressure",
        extremes="distance",
        unseen="carrier",
        values={"distance": [5, "n/a"]},
    )
    made = build_corners(wanted, REAL, ReferenceColumns(REAL, {"distance": "integer"}), 1)
    values = {corner.name: [next(iter(row.change.values())) for row in corner.rows] for corner in made}
    assert values["carrier empty"] == [""]
    assert values["pressure missing"] == [None]
    assert (values["distance smallest"], values["distance largest"]) == ([200], [4000])
    assert values["distance below the smallest"] == [-3600, -37800, -3799800, -(2**31 - 1)]
    assert values["distance above the largest"] == [7800, 42000, 3804000, 2**31 - 1]
    assert not {"UA", "AA"} & set(values["carrier unseen"])
    assert (values["distance = 5"], values['distance = "n/a"']) == ([5], ["n/a"])


@pytest.mark.parametrize(
    ("declared", "path", "said"),
    [
        ({}, "corners", "declares no corner"),
        ({"rows": 0, "empty": ["a"]}, "corners.rows", "1"),
        ({"empty": ["a", "a"]}, "corners.empty.1", "'a' stands here twice"),
        ({"empty": ["a"], "extremes": ["a"]}, "corners.extremes.0", "a text under 'empty' and a number here"),
        ({"values": {"a": []}}, "corners.values.a", "at least one value"),
        ({"values": {"a": [None]}}, "corners.values.a", "expected texts, numbers or true/false, found nothing"),
        ({"values": {"a": [10**400]}}, "corners.values.a", "is not a number that can be compared"),
        ({"values": {"a": ["\ud800"]}}, "corners.values.a", "half a character"),
        ({"values": {"": 1}}, "corners.values.", "expected text"),
        ({"empty": ["a"], "answers": {}}, "corners.answers", "needs 'min', 'max' or both"),
        ({"empty": ["a"], "answers": {"min": 2, "max": 1}}, "corners.answers.min", "must not be above max (1)"),
        ({"empty": ["a"], "row": 5}, "corners.row", "rows"),
    ],
)
def test_a_mistake_in_the_policy_is_one_line_with_its_place(declared: dict[str, object], path: str, said: str) -> None:
    """Each mistake under `corners` names the key and what to do."""
    (broken,) = examine_policy({**POLICY, "corners": declared}).broken
    assert str(broken).startswith(f"{path}:") or str(broken).startswith("corners:")
    assert said in str(broken)


def test_corners_need_a_replay_and_columns_that_the_log_keeps() -> None:
    """Without a shadow that replays, or on a column that the log drops, corners are refused with what to do."""
    (broken,) = examine_policy({**POLICY, "steps": WEIGHTS, "corners": {"empty": ["a"]}}).broken
    assert "add such a step" in str(broken)
    (broken,) = examine_policy({**POLICY, "corners": {"empty": ["a"]}, "log": {"drop": ["a"]}}).broken
    assert "corners change 'a'" in str(broken)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"empty": ["carier"]}, "empty.0: there is no column 'carier'; columns: carrier, distance, number, pressure"),
        ({"empty": ["distance"]}, "'distance' holds whole numbers, and only a text can be empty"),
        ({"extremes": ["carrier"]}, "'carrier' holds texts, and only numbers have extremes"),
        ({"unseen": ["pressure"]}, "'pressure' holds numbers, and only texts and whole numbers are categories"),
        ({"values": {"wind": 5}}, "values.wind: there is no column 'wind'"),
    ],
)
def test_a_corner_that_does_not_fit_its_column_is_named(declared: dict[str, object], said: str) -> None:
    """A corner of an unknown column, or of a column of another kind, is said with its place and what to do."""
    (broken,) = corners(**declared).problems(ReferenceColumns(REAL, {}).kinds)
    assert said in str(broken)


def logged(root: Path, count: int = 30) -> None:
    """A log of real requests."""
    write(root, "predictions", [record(i, 3600.0 * (i + 1), features=dict(real(i).features)) for i in range(count)])


def asked(root: Path, candidate: Any, champion: Any = None, **declared: object) -> Evidence:
    """What both versions make of corners."""
    return house(root, champion, candidate).corner_answers(
        replace(ASKED, gate=CORNERS_GATE, corners=corners(**declared))
    )


def answers(root: Path, candidate: Any, champion: Any = None, **declared: object) -> CornerAnswers:
    """The same, where it can be had."""
    found = asked(root, candidate, champion, **declared)
    assert isinstance(found, CornerAnswers), found
    return found


def said(found: Evidence) -> Verdict:
    """The verdict."""
    return judge(CORNERS_GATE, found, DecisionThresholds())


def model(answer: Callable[[Mapping[str, Any]], object]) -> Model:
    """A version that answers by a function of the row."""
    return Model(answer)


def raising(breaks: Callable[[Mapping[str, Any]], bool], error: type[BaseException] = KeyError) -> Model:
    """A version that raises at some rows."""

    def answer(row: Mapping[str, Any]) -> float:
        if breaks(row):
            raise error("it does not know that")
        return 0.5

    return model(answer)


def test_a_candidate_that_raises_at_a_corner_fails_with_the_row(tmp_path: Path) -> None:
    """The gate fails and names the request, the value and the error; the whole row stands in its details."""
    logged(tmp_path)
    found = answers(tmp_path, raising(lambda row: row["carrier"] == ""), empty="carrier", missing="pressure", rows=8)
    assert [(one.name, one.rows, one.broken) for one in found.corners] == [
        ("carrier empty", 8, 8),
        ("pressure missing", 8, 0),
    ]
    verdict = said(found)
    assert (verdict.outcome, verdict.culprit) == (Outcome.FAIL, "carrier empty")
    (shown,) = found.samples
    assert verdict.reason.startswith(
        f'request {shown.request} with {{"carrier":""}} instead of {shown.recorded}: KeyError: '
    )
    assert (
        "; the candidate breaks on 8 of 16 synthetic rows that the champion answers, in 1 corner (carrier empty); seed"
        in verdict.reason
    )
    row = json.loads(str(verdict.details[0]["row"]))
    assert row == {**real(int(shown.request[1:])).features, "carrier": ""}
    assert f"seed {rollout_seed('r')}" in verdict.reason


def test_a_row_is_shrunk_towards_the_real_one(tmp_path: Path) -> None:
    """Drawn values that do nothing are undone; a number moves to where the candidate begins to break."""
    logged(tmp_path)
    bad = raising(lambda row: (row["pressure"] or 0.0) > 5_000.0)
    found = answers(tmp_path, bad, values={"pressure": [101_325.0]}, drawn=["pressure", "carrier"], rows=10)
    for shown in found.samples:
        assert list(json.loads(shown.changed)) == ["pressure"]
        assert (
            5_000.0 < json.loads(shown.changed)["pressure"] < 5_200.0 or json.loads(shown.recorded)["pressure"] is None
        )
    assert found.samples[0].corner == "pressure = 101325.0"


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (None, "None"),
        ("high", "it answers with a text, and to recorded requests with a number"),
        ([0.1, 0.9], "it answers with a list of 2 numbers, and to recorded requests with a number"),
        (1.5, "it answers 1.5, and the policy allows 1 at most"),
        (-0.5, "it answers -0.5, and the policy allows 0 at least"),
        (0.95, "0.45 apart, and the policy allows 0.3"),
    ],
)
def test_what_breaking_is(tmp_path: Path, answer: object, what: str) -> None:
    """A missing or infinite answer, another type, or a number outside of bounds or too far from the champion's."""
    logged(tmp_path)
    odd = model(lambda row: answer if row["carrier"] == "" else 0.5)
    found = answers(tmp_path, odd, empty="carrier", rows=5, max_difference=0.3, answers={"min": 0, "max": 1})
    assert found.corners == (CornerResult("carrier empty", 5, 5),)
    assert what in found.samples[0].what
    assert said(found).outcome is Outcome.FAIL


def test_where_the_champion_breaks_as_well_it_is_told_and_stops_no_candidate(tmp_path: Path) -> None:
    """Rows on which both break, or the champion alone, are counted and named, and the gate passes."""
    logged(tmp_path)
    old = raising(lambda row: row["carrier"] == "" or row["pressure"] is None)
    found = answers(
        tmp_path, raising(lambda row: row["carrier"] == ""), old, empty="carrier", missing="distance", rows=6
    )
    verdict = said(found)
    assert verdict.outcome is Outcome.PASS
    assert sum(one.both for one in found.corners) == 6
    assert "both versions break on 6 rows" in verdict.reason
    assert "which stops no candidate" in verdict.reason


class Dying(Model):
    """A version whose process ends at some rows."""

    def predict(self, rows: list[Any], params: object = None) -> list[object]:
        """Answer, or end."""
        if any(row["carrier"] == "" for row in rows):
            raise PredictorLost("its process has ended")
        return super().predict(rows, params)


def test_a_process_that_ends_is_found_and_not_started_again_for_every_row(tmp_path: Path) -> None:
    """A corner that ends the process is a failure after few restarts; the other corners are asked all the same."""
    logged(tmp_path)
    dying = Dying(lambda _row: 0.5)
    found = answers(tmp_path, dying, empty="carrier", missing="pressure", rows=20)
    first, second = found.corners
    assert (first.broken, first.unasked) == (1, 19)
    assert (second.broken, second.unasked) == (0, 0)
    assert said(found).outcome is Outcome.FAIL
    asker = SyntheticRowScorer(dying)
    for _ in range(9):
        asker.ask([SyntheticRow(one, {"carrier": ""}) for one in REAL])
    assert asker.deaths <= MAX_PROCESS_DEATHS


def test_a_champion_whose_process_ends_stops_no_candidate(tmp_path: Path) -> None:
    """Rows that the champion cannot be asked any more count as rows on which it breaks."""
    logged(tmp_path)
    found = answers(tmp_path, model(lambda _row: 0.5), Dying(lambda _row: 0.5), empty="carrier", rows=20)
    assert found.corners == (CornerResult("carrier empty", 20, champion=20),)
    assert said(found).outcome is Outcome.PASS


def test_without_requests_or_with_a_wrong_column_nothing_is_decided(tmp_path: Path) -> None:
    """No recorded request is NO_DATA, an unknown column an ERROR that names the key: neither passes."""
    assert said(asked(tmp_path, None, empty="carrier")).outcome is Outcome.NO_DATA
    logged(tmp_path)
    wrong = asked(tmp_path, None, empty="carier")
    assert isinstance(wrong, MissingEvidence)
    assert wrong.reason.startswith("corners.empty.0: there is no column 'carier'")
    assert said(wrong).outcome is Outcome.ERROR


def test_a_corner_with_too_few_rows_or_none_does_not_pass() -> None:
    """A gate that was not evaluated on every declared corner has not passed."""
    few = CornerAnswers((CornerResult("a empty", 3),), 20, 1, "sha256:")
    assert said(few).outcome is Outcome.INCONCLUSIVE
    assert said(CornerAnswers((), 20, 1, "sha256:")).outcome is Outcome.INCONCLUSIVE
    assert said(replace(few, corners=(CornerResult("a empty", 20, unasked=2),))).outcome is Outcome.INCONCLUSIVE


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_a_shrunk_row_still_breaks(recorded: int, value: int, limit: int) -> None:
    """Law: shrinking gives a row that breaks, changes no more columns, and no value farther from the real one."""
    given_ = SyntheticRow(replace(REAL[0], features={"a": recorded, "b": 1}), {"a": value, "b": 2})

    def breaks(row: SyntheticRow) -> bool:
        found = row.features["a"]
        assert isinstance(found, int)
        return found > limit

    if not breaks(given_):
        return
    found = shrink_row(given_, breaks)
    assert breaks(found)
    assert set(found.change) <= {"a"}
    if "a" in found.change:
        assert found.change["a"] == limit + 1
        assert recorded <= limit
    else:
        assert recorded > limit


def test_a_broken_corner_ends_the_rollout_before_any_traffic_and_is_judged_again_alike(tmp_path: Path) -> None:
    """The shadow asks the corners that the journalled policy declares; a FAIL is a refusal, and `verify` repeats it."""
    logged(tmp_path)
    bad = answers(tmp_path, raising(lambda row: row["carrier"] == ""), empty="carrier", rows=4)
    assert decode_evidence(encode_evidence(bad)) == bad

    def play(question: EvidenceRequest) -> Evidence | None:
        assert (question.corners is None) == (question.kind != "shadow")
        return bad if question.gate.metric is Metric.CORNERS else None

    made = scenario({**POLICY, "corners": {"empty": ["carrier"], "rows": 4}}, play)
    ledger = started(made)
    (rollout,) = ledger.rollouts.values()
    assert rollout.stage is Stage.REJECTED
    assert rollout.reason.startswith("corners is FAIL: request q")
    done = [one for one in reverify(made.journal.entries) if one.gate == "corners"]
    assert done
    assert not any(one.problem or one.skipped for one in done)


def test_a_policy_without_corners_asks_none() -> None:
    """Nothing changes for a policy without the section."""
    assert parse_policy(POLICY).corners is None
    made = scenario(POLICY)
    started(made)
    assert "corners" not in {question.gate.name for question in made.evidence_source.asked}  # type: ignore[attr-defined]


SUITE: list[dict[str, object]] = [
    {"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": ["carrier", "distance", "temp"]}},
    {"type": "expect_column_value_lengths_to_equal", "kwargs": {"column": "carrier", "value": 2}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "temp", "min_value": -3.5, "max_value": 40}},
]


def linted(project: Path, declared: object, expectations: list[dict[str, object]]) -> list[str]:
    """What `lint` says of a policy and a suite."""
    for folder in ("configs", "expectations"):
        (project / folder).mkdir(exist_ok=True)
    file = project / "configs" / "m.yaml"
    file.write_text(yaml.safe_dump({**POLICY, "corners": declared}, sort_keys=False))
    (project / "expectations" / "m.json").write_text(json.dumps({"name": "m", "expectations": expectations}))
    done = CliRunner().invoke(
        cli.build_app("lint"), ["lint", "--project", str(project), "--json"], standalone_mode=False
    )
    assert done.return_value in {0, 2}
    return list(json.loads(done.output)["policies"][0].get("errors", []))


def test_lint_names_file_line_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column that the suite does not know, or that holds something else, is one line with file and line."""
    monkeypatch.setenv("SUREFOOT_HOME", str(tmp_path / "none"))
    declared = {"empty": ["carrier", "temp"], "extremes": ["distance"], "values": {"wind": [1]}}
    first, second = linted(tmp_path, declared, SUITE)
    lines = (tmp_path / "configs" / "m.yaml").read_text().splitlines()
    assert first.endswith(
        f"m.yaml:{lines.index('  - temp') + 1}: corners.empty.1: 'temp' holds numbers, and only a text can be empty:"
        " write it under 'missing' or 'extremes'"
    )
    assert "corners.values.wind: there is no column 'wind'; columns: carrier, distance, temp" in second
    assert len(linted(tmp_path, declared, SUITE[1:])) == 1
    assert linted(tmp_path, {"empty": ["carrier"], "extremes": ["temp"]}, SUITE) == []


def test_lint_asks_the_log_of_the_running_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the stack of the project has logged requests, these say which columns there are."""
    monkeypatch.setenv("SUREFOOT_HOME", str(tmp_path / "home"))
    config = Settings(tmp_path / "home", tmp_path, "http://m", "http://p", "http://g", "t")
    config.save()
    config.log.mkdir(parents=True)
    logged(config.log, 5)
    (wrong,) = linted(tmp_path, {"empty": ["carrier", "number"], "extremes": ["pressure"]}, SUITE[1:])
    assert "'number' holds whole numbers" in wrong


def test_lint_says_what_the_shadow_will_ask() -> None:
    """A valid section is told in words: how many corners and rows, and how far back groups are raised."""
    gates = {**POLICY["gates"], "o": {"metric": "disagreement", "max": 0.1, "by": "origin"}}
    steps = [{"shadow": {"window": "7d", "gates": ["errors", "o"]}}, *POLICY["steps"][1:]]
    declared = {"rows": 9, "empty": "a", "extremes": "b", "drawn": ["b", "c"], "values": {"d": [1, 2]}}
    corners = {**declared, "rare_groups": {"reach": "30d"}}
    told = {"gates": gates, "steps": steps, "corners": corners, "artifacts": {"pickle": "allow"}}
    policy = parse_policy({**POLICY, **told})
    asked_, raised = list_policy_notes(policy)
    assert asked_.startswith("the shadow asks both versions about 9 synthetic rows or more of each of 10 corners; ")
    assert "up to 30 d old" in raised


def test_a_column_without_any_value_has_corners_too() -> None:
    """A column that is null in every request, and that no signature types, has texts that are drawn, and extremes."""
    bare = [replace(one, features={"a": None, "b": 1}) for one in REAL]
    made = build_corners(corners(rows=3, drawn="a", extremes="a"), bare, ReferenceColumns(bare, {}), 1)
    assert {len(corner.rows) >= 3 for corner in made} == {True}
    assert all(isinstance(row.change["a"], str) for corner in made if "drawn" in corner.name for row in corner.rows)
