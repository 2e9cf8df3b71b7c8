"""The log keeps of a request what its policy lets it keep, and callers and versions do not notice."""

from pathlib import Path

import pytest

from surefoot.core.domain import LogPolicy
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.violations import Violation
from surefoot.gateway.log.redaction import LogRedactor
from tests.fakes import POLICY
from tests.integration.gateway_harness import BETTER, GOOD, listening
from tests.integration.gateway_process import Models


def test_hashed_and_dropped_columns_are_not_in_the_log(tmp_path: Path, models: Models) -> None:
    """A hashed unit is the same digest in every record, a dropped column is nowhere, and the file holds no value."""
    kept = {"flights": LogPolicy(hashed=("unit",), dropped=("note",))}
    with listening(tmp_path, models, kept=kept) as gateway:
        gateway.shift(50)
        for _ in range(2):
            assert gateway.ask(unit="N14228-secret", note="call me").status_code == 200
        first, second = gateway.records()
        assert first["unit"] == second["unit"] != "N14228-secret"
        assert first["features"] == {"unit": first["unit"], "x": 1.0, "y": 2.0}
        written = b"".join(path.read_bytes() for path in (tmp_path / "log" / "flights").glob("*.jsonl"))
        assert b"secret" not in written
        assert b"call me" not in written


def test_hashing_the_unit_moves_no_unit(tmp_path: Path, models: Models) -> None:
    """The arm of a unit is the same, whether the log hides it or not."""
    seen = []
    for number, kept in enumerate(({}, {"flights": LogPolicy(hashed=("unit",))})):
        with listening(tmp_path / str(number), models, kept=kept) as gateway:
            gateway.shift(50)
            seen.append([gateway.ask(unit=f"u{unit}").headers["x-model-version"] for unit in range(30)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {GOOD, BETTER}


def test_a_share_of_the_features_is_kept_by_request(tmp_path: Path, models: Models) -> None:
    """About the wanted share keeps its features, all rows of a request alike; every answer is recorded."""
    with listening(tmp_path, models, kept={"flights": LogPolicy(share=30.0)}) as gateway:
        gateway.shift(0, None)
        rows = {"dataframe_records": [{"unit": "u", "x": 1.0, "y": 2.0}] * 2}
        for _ in range(200):
            gateway.post(rows)
        records = gateway.records()
        assert len(records) == 400
        assert all(record["prediction"] is not None for record in records)
        whole = {record["request"] for record in records if record["features"] is not None}
        assert 30 <= len(whole) <= 90
        assert sum(record["features"] is not None for record in records) == 2 * len(whole)


def test_digests_need_the_key() -> None:
    """Another installation's digests differ, and equal values have one digest in every spelling."""
    one, other = (LogRedactor(LogPolicy(hashed=("a",)), secret, None) for secret in ("s", "t"))
    assert one.keyed_digest("x") == one.keyed_digest("x") != other.keyed_digest("x")
    assert one.keyed_digest(1) == one.keyed_digest("1") == one.keyed_digest(1.0) != one.keyed_digest("01")
    assert one.redact_row({"a": None, "b": 1}) == {"a": None, "b": 1}


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ({"hash": ["a"], "drop": ["a"]}, "dropped as well"),
        ({"share": 0}, "share"),
        ({"keep": ["a"]}, "keep"),
    ],
)
def test_contradictions_are_refused(log: dict[str, object], says: str) -> None:
    """A policy that says two things at once, or something unknown, is refused with its key."""
    with pytest.raises(Violation) as caught:
        parse_policy({**POLICY, "log": log})
    assert says in f"{caught.value} {caught.value.path}"


def test_a_gate_needs_its_columns() -> None:
    """A column that a gate makes slices of may be hashed, but not dropped."""
    gates = {**POLICY["gates"], "errors": {"metric": "error_rate", "margin": "1pp", "by": ["carrier"]}}
    parse_policy({**POLICY, "gates": gates, "log": {"hash": ["carrier"]}})
    with pytest.raises(Violation, match="hash it, or keep it"):
        parse_policy({**POLICY, "gates": gates, "log": {"drop": ["carrier"]}})
