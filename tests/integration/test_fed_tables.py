"""A suite sees what the model was fed; no request that was answered changes the type of a column."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.expectations.suite import run_suite
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.predictions.validation_table import build_validation_table
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.core.domain import Outcome, Verdict
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.gates.implicit import DATA_GATE
from tests.unit.test_replay import ASKED, DAY, record, write
from tests.unit.test_replay_requests import Model

N = 999
Check = tuple[str, dict[str, object]]
BETWEEN: Check = ("column_values_to_be_between", {"column": "dist", "min_value": 0, "max_value": 1e9, "mostly": 0.95})
BEFORE: Check = ("column_max_to_be_between", {"column": "dist", "max_value": "2027-01-01"})
USUAL: dict[str, tuple[object, Check]] = {
    "double": (5.5, BETWEEN),
    "long": (5, BETWEEN),
    "string": ("AA", ("column_values_to_match_regex", {"column": "dist", "regex": "^[A-Z]+$", "mostly": 0.95})),
    "datetime": ("2026-01-01", BEFORE),
    "boolean": (True, ("column_values_to_be_in_set", {"column": "dist", "value_set": [True, False], "mostly": 0.95})),
}


class Typed(Model):
    """A model with one input of a type."""

    def __init__(self, kind: str) -> None:
        super().__init__(lambda _row: 1.0)
        self.kind = kind

    def signature_fields(self) -> dict[str, object]:
        """Its signature, where it has one."""
        return {"inputs": {"dist": self.kind}} if self.kind else {}


def verdict(root: Path, kind: str, rows: list[object], *checks: Check) -> Verdict:
    """What the gate of the suite says of rows that were answered."""
    write(root, "predictions", [record(i, 100.0 + i, features=row) for i, row in enumerate(rows)])
    suite = root / "suite.json"
    items = [{"type": f"expect_{name}", "kwargs": kwargs} for name, kwargs in checks]
    suite.write_text(json.dumps({"name": "suite", "expectations": items}))

    def validate(_digest: str, frame: pd.DataFrame, _name: str) -> ValidationResult | MissingEvidence:
        return run_suite(suite, frame, lambda _report: "", root / "page.html")

    log = PredictionLog(root)
    replay = OfflineReplay(log, lambda _model, _version: Typed(kind))
    evidence = PredictionLogEvidence(log, replay, validate).gather(
        ASKED.__class__(**{**{f: getattr(ASKED, f) for f in ASKED.__slots__}, "gate": DATA_GATE, "until": DAY})
    )
    return judge(DATA_GATE, evidence, DecisionThresholds())


STRANGE = ["1", "", " ", "nope", True, 7, 2.5, 1795862000, [1], {"a": 1}, "NaN", 1e300, "2026-01-01", None]


@pytest.mark.sweep
@pytest.mark.parametrize("signed", [True, False], ids=["signature", "no signature"])
@pytest.mark.parametrize("kind", USUAL)
def test_no_single_request_blocks_a_promotion(tmp_path: Path, kind: str, *, signed: bool) -> None:
    """One request with a value of any other kind, which was answered, decides nothing about the window."""
    usual, check = USUAL[kind]
    for value in STRANGE:
        rows: list[object] = [{"dist": usual}] * N
        found = verdict(tmp_path, kind if signed else "", [*rows, {"dist": value}], check)
        assert found.outcome is Outcome.PASS, (value, found.reason)


@pytest.mark.parametrize("row", [{"dist": 1.0, "zz": 3}, [5.5], {"dist": 5.5, "0": 1}], ids=str)
def test_no_single_request_adds_a_column(tmp_path: Path, row: object) -> None:
    """A column that the model does not know, or a row without names, is no column of the table."""
    columns: Check = ("table_columns_to_match_set", {"column_set": ["dist"]})
    there: Check = ("column_values_to_not_be_null", {"column": "dist"})
    rows: list[object] = [{"dist": 5.5}] * N
    assert verdict(tmp_path, "double", [*rows, row], columns, there, BETWEEN).outcome is Outcome.PASS


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    """A value that the model's input does not take is counted and its request named; above 1 % it is an ERROR."""
    rows: list[object] = [{"dist": 5.5}] * N
    few = verdict(tmp_path, "double", [*rows, {"dist": "nope"}], BETWEEN)
    assert few.outcome is Outcome.PASS
    assert f"request q{N}" in few.reason
    assert "nope" not in str(few)
    many = verdict(tmp_path, "double", [*rows, *[{"dist": "nope"}] * 20], BETWEEN)
    assert many.outcome is Outcome.ERROR
    none = verdict(tmp_path, "double", [{"dist": "nope"}] * 20, BETWEEN)
    assert none.outcome is Outcome.ERROR
    assert "do not fit" in none.reason


def test_the_suite_sees_the_number_that_the_model_was_fed(tmp_path: Path) -> None:
    """The text "1" in a column of numbers is the number 1 for the model, and so for the suite."""
    check = ("column_min_to_be_between", {"column": "dist", "min_value": 5})
    rows: list[object] = [{"dist": 5.5}] * N
    assert verdict(tmp_path, "double", [*rows, {"dist": "1"}], check).outcome is Outcome.FAIL


CELLS = st.sampled_from(STRANGE) | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from([*USUAL]), cell=CELLS, at=st.integers(0, 100))
def test_a_column_has_the_type_of_its_signature(kind: str, cell: object, at: int) -> None:
    """Whatever one value is, the column's type and all other values are what they are without it."""
    usual = USUAL[kind][0]
    values = [usual] * 100
    plain, _ = build_validation_table(pd.DataFrame({"x": pd.Series(values, dtype=object)}), {"x": kind})
    values.insert(at, cell)
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object, index=[f"q{i}" for i in range(101)])})
    mixed, left = build_validation_table(frame, {"x": kind})
    assert mixed["x"].dtype == plain["x"].dtype
    assert len(mixed) + left.odd == 101
    others = mixed["x"].drop(f"q{at}", errors="ignore")
    assert list(others) == list(plain["x"])
