"""`surefoot scorecard` prints the ML Test Score of a model with what each point rests on."""

import json
from pathlib import Path

import pytest

from tests.integration.served_stack import Stack


def test_a_scorecard_names_the_evidence_of_each_test(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """28 tests with points and evidence, the weakest section as the score, the same as JSON; no journal is one line."""
    stack = Stack(tmp_path / "home")
    assert stack.command("scorecard", "m") == 2
    assert "the journal holds nothing of m: promote a version first" in capfd.readouterr().err
    stack.history()
    assert stack.command("scorecard", "m", "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert len(found["tests"]) == 28
    assert found["score"] == min(found["sections"].values())
    points = {(test["section"], test["number"]): test["points"] for test in found["tests"]}
    assert points["infrastructure", 7] == 0.5  # a version was taken back, and no drill has passed
    assert stack.command("scorecard", "m") == 0
    said = capfd.readouterr().out
    assert f"m: {found['score']:g} of 7" in said
    assert "what the points rest on" in said
