"""`surefoot incident review`, `backtest --case` and `lint --incidents`, on a written journal and prediction log."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from surefoot import wiring
from surefoot.adapters.config.incident_cases import case_folder, read_case
from surefoot.core.domain import Outcome, Role, RolloutKind, Stage, Verdict, Version
from surefoot.core.incidents.review.incident_case import CaseKind
from surefoot.core.journal.events import (
    ChampionAdopted,
    GateJudged,
    RolloutEnded,
    RolloutOpened,
    SetSplit,
    StageEntered,
)
from surefoot.core.journal.watch_events import ChampionWatched, IncidentOpened
from surefoot.rollout import open_due_incidents
from tests.integration.log_writing import label, record, write
from tests.integration.served_stack import HOUR, ONE, TWO, Clock, Stack

DAY = 24 * HOUR
SUITE = """{ "name": "m", "expectations": [
  { "type": "expect_column_values_to_be_between", "kwargs": { "column": "x", "min_value": 0, "max_value": 1000000 } }
] }
"""
POLICY = """\
# Kept as it is.
model: m
traffic: { requests_per_minute: 6, stale_after: 1h }
data: { suite: m }
gates:
  errors: { metric: error_rate, margin: 10pp } # the only one
  quality: { metric: brier, margin: 0.05, labels: { maturity: 1h } }
steps:
  - weight: 20
    hold: { for: 3h, gates: [errors] } # one look in a quarter of an hour
bake: { for: 6h, gates: [errors, quality] }
watch: { every: 1d, window: 14d, gates: [quality], worse: rollback }
"""


class Scorer:
    """A version in this process: version 2 raises where the place is missing, and is wrong where x is large."""

    batchable = True

    def __init__(self, version: Version) -> None:
        self.bad = version.number == "2"

    def predict(self, rows: Sequence[dict[str, Any]], _params: object = None) -> list[object]:
        """Answer, or raise for all rows."""
        if self.bad and any(row["place"] is None for row in rows):
            raise ValueError("no place")
        return [answer(row, bad=self.bad) for row in rows]

    def signature_fields(self) -> dict[str, object]:
        """What it reads."""
        return {"inputs": {"x": "long", "place": "string"}}

    def close(self) -> None:
        """Nothing is open."""


def answer(row: dict[str, Any], *, bad: bool) -> float:
    """What a version says of a row."""
    good = 0.9 if row["x"] % 2 else 0.1
    return 1.0 - good if bad and row["x"] >= 100_000 else good


class Processes:
    """Starts versions; counts how often."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def start_scorer(self, _model: str, version: Version) -> Scorer:
        """One version."""
        self.started.append(version.number)
        return Scorer(version)


def make_stack(home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Stack, Processes]:
    """A project with a policy and a suite; its versions are asked in this process."""
    made, processes = Stack(home), Processes()
    (home / "configs" / "m.yaml").write_text(POLICY, encoding="utf-8")
    (home / "expectations").mkdir()
    (home / "expectations" / "m.json").write_text(SUITE, encoding="utf-8")
    monkeypatch.setattr(wiring.adapters, "build_clock", lambda _kind: Clock())
    monkeypatch.setattr(wiring, "make_version_processes", lambda _config: processes)
    monkeypatch.chdir(home)
    return made, processes


def spoken(stack: Stack, capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What a command prints."""
    capfd.readouterr()
    found = stack.command(*words)
    said = capfd.readouterr()
    assert found == code, said
    return said.out + said.err


def repeated(stack: Stack, capfd: pytest.CaptureFixture[str], command: str) -> dict[str, Any]:
    """What a command of a review prints when a person types it."""
    found: dict[str, Any] = json.loads(spoken(stack, capfd, *command.split()[1:], "--json"))
    return found


def figures(played: dict[str, Any]) -> tuple[object, ...]:
    """The figures of a back-test that a review states."""
    return tuple(played[name] for name in ("stopped_at", "gate", "where", "requests", "reason"))


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """Version 2 has 20 % from hour 10 to 12, fails every second request from hour 11 on, and is taken back."""
    stack, _ = make_stack(tmp_path / "home", monkeypatch)
    failing = Verdict(
        "errors", "error_rate", Outcome.FAIL, Role.GUARDRAIL, "half of them fail", 72, 0.5, 0.3, 0.6, 0.1, "share"
    )
    stack.history(GateJudged("r1", Stage.RAMPING, 0, 1, failing))
    lines = []
    for number in range(3 * 360):
        at, given = 10 * HOUR + number * 10.0, number % 5 == 0 and number < 720
        row = {"x": number, "place": None if number >= 360 and number % 2 else "LGA"}
        error = "ValueError: no place" if given and row["place"] is None else None
        lines.append(
            record(
                number, at, unit=None, features=row, error=error, prediction=answer(row, bad=False),
                arm="candidate" if given else "champion", version="2" if given else "1",
                answered_by="2" if given and not error else "1",
            )
        )  # fmt: skip
    write(stack.config.log, lines)
    open_due_incidents(stack.ports, "m")
    return stack


def test_a_review_proposes_an_earlier_gate_whose_figures_repeat_by_hand(
    trial: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    """The proposal stops the version before a caller meets it; its commands give its figures; the diff applies."""
    found = json.loads(spoken(trial, capfd, "incident", "review", "--draws", "2", "--json"))
    proposed, in_force = found["proposed"], found["in_force"]
    assert (proposed["where"], proposed["requests"], proposed["false_alarms"]) == ("LiveShadowing", 0, 0)
    assert proposed["stopped_at"] <= in_force["stopped_at"]
    assert in_force["requests"] > 0
    assert "live shadow" in proposed["change"]["words"]
    for which, played in (("in_force", in_force), ("proposed", proposed)):
        assert figures(repeated(trial, capfd, found["commands"][which])) == figures(played)
    again = repeated(trial, capfd, found["commands"]["false_alarms"])
    assert (again["rollouts"], again["false_alarms"]) == (2, proposed["false_alarms"])
    text = Path(found["file"]).read_text(encoding="utf-8")
    assert Path(found["file"]).parent == trial.home / "incidents" / "m"
    for command in found["commands"].values():
        assert command in text
    assert found["diff"] in text
    policy = trial.home / "configs" / "m.yaml"
    subprocess.run(["git", "apply", f"{found['folder']}/proposal.patch"], cwd=trial.home, check=True)
    assert policy.read_text(encoding="utf-8").startswith("# Kept as it is.")
    assert "gates: [errors] } # one look in a quarter of an hour" in policy.read_text(encoding="utf-8")
    told = json.loads(spoken(trial, capfd, "lint", "--incidents", "--json"))["policies"][0]["incidents"]
    assert [one["problem"] for one in told] == [""]
    assert "callers got an answer of it to 0 requests" in told[0]["said"]
    policy.write_text(POLICY.replace("margin: 10pp", "margin: 70pp"), encoding="utf-8")
    said = spoken(trial, capfd, "lint", "--incidents", code=2)
    (line,) = (one for one in said.splitlines() if "would not stop" in one)
    assert "configs/m.yaml" in line
    assert found["incident"] in line


def test_a_review_is_applied_once_and_reads_its_case_again(trial: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """`--apply` writes the policy that it shows; a later review of the same incident needs no log and no version."""
    said = spoken(trial, capfd, "incident", "review", "--draws", "1", "--apply")
    (incident,) = trial.ports.ledger("m").incidents.known
    folder = case_folder(trial.home, "m", incident)
    policy = trial.home / "configs" / "m.yaml"
    assert policy.read_bytes() == (folder / "after" / "m.yaml").read_bytes()
    assert "is the proposed policy now" in said
    before = read_case(folder)
    for file in (trial.config.log / "m").iterdir():
        file.unlink()
    again = json.loads(spoken(trial, capfd, "incident", "review", "--draws", "1", "--json"))
    assert read_case(folder) == before
    assert again["in_force"]["where"] == "LiveShadowing"
    (folder / "labels.parquet").unlink()
    assert "has no labels.parquet: commit the whole folder" in spoken(trial, capfd, "lint", "--incidents", code=2)


def test_what_both_versions_answer_is_recorded_once(trial: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """Each request has the answers of both versions: what callers got as it was, all else asked now."""
    spoken(trial, capfd, "incident", "review", "--draws", "1")
    (incident,) = trial.ports.ledger("m").incidents.known
    stored = read_case(case_folder(trial.home, "m", incident))
    found = pd.read_parquet(stored.records)
    counts = [(arm, len(part), int(part["error"].notna().sum())) for arm, part in found.groupby("arm")]
    own = int((found["error"] == "ValueError: no place").sum())
    rows = len([n for n in range(3 * 360) if 10 * HOUR + n * 10.0 <= stored.case.until])
    gaps = len([n for n in range(360, rows) if n % 2])
    assert counts == [("candidate", rows, gaps), ("champion", rows, 0)]
    assert found.groupby("arm")["request"].nunique().tolist() == [rows, rows]
    assert own == len([n for n in range(360, 720) if n % 10 == 5])


def test_what_cannot_be_reviewed_is_one_line(trial: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """Columns that the log hides, and an incident that took nothing back, are named; nothing is written."""
    policy = trial.home / "configs" / "m.yaml"
    policy.write_text(POLICY + "log: { hash: [place] }\n", encoding="utf-8")
    said = spoken(trial, capfd, "incident", "review", code=2)
    assert "reads place, which the log hides" in said
    trial.append(12.5 * HOUR, IncidentOpened("open", "r1", ONE, "base rate", "labels have changed"))
    said = spoken(trial, capfd, "incident", "review", "open", code=2)
    assert "took no version back" in said
    assert not (trial.home / "configs" / "incidents").exists()


def test_a_decayed_champion_is_reviewed_by_the_looks_of_its_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The looks of the watch are repeated: a proposal is sooner, raises no false alarm before, and repeats by hand."""
    stack, processes = make_stack(tmp_path / "home", monkeypatch)
    stack.append(0.0, ChampionAdopted(ONE))
    stack.split(0.0, SetSplit(ONE, None, 0.0))
    opened = RolloutOpened("r1", RolloutKind.PROMOTION, TWO, ONE, stack.policy, "", "", "salt", 1, "try")
    stack.append(DAY, opened, StageEntered("r1", Stage.BAKING, 0, "go"))
    stack.split(DAY, SetSplit(TWO, None, 0.0), "r1")
    stack.append(2 * DAY, RolloutEnded("r1", Stage.PROMOTED, "baked"))
    clean = ChampionWatched("r1", TWO, (), (), (), (), HOUR)
    stack.append(20 * DAY, clean)
    stack.append(30 * DAY, IncidentOpened("feed", "r1", TWO, "worse than before by quality", "quality is worse"))
    back = RolloutOpened("r2", RolloutKind.ROLLBACK, ONE, TWO, {}, "", "", "", 1, "quality is worse")
    stack.append(30 * DAY, back)
    stack.split(30 * DAY + 60.0, SetSplit(ONE, None, 0.0), "r2")
    stack.append(30 * DAY + 120.0, RolloutEnded("r2", Stage.FAST_ROLLED_BACK, "back"))
    lines, labels = [], []
    for number in range(34 * 48):
        at = number * HOUR / 2.0
        row = {"x": number + (100_000 if at > 20 * DAY else 0), "place": "LGA"}
        by = "2" if DAY < at < 30 * DAY else "1"
        served = {"arm": "champion", "version": by, "answered_by": by, "prediction": answer(row, bad=by == "2")}
        lines.append(record(number, at, unit=None, features=row, error=None, **served))
        labels.append(label(number, at + 60.0, number % 2))
    write(stack.config.log, lines)
    write(stack.config.log, labels, "labels")
    found = json.loads(spoken(stack, capfd, "incident", "review", "feed", "--json"))
    assert found["case"]["kind"] == CaseKind.WATCH.value
    assert sorted(processes.started) == ["1", "2"]
    proposed, in_force = found["proposed"], found["in_force"]
    assert 20 * DAY < proposed["stopped_at"] < in_force["stopped_at"] < 30 * DAY
    assert proposed["requests"] < in_force["requests"]
    assert (proposed["false_alarms"], in_force["false_alarms"]) == (0, 0)
    for which, played in (("in_force", in_force), ("proposed", proposed)):
        assert figures(repeated(stack, capfd, found["commands"][which])) == figures(played)
    assert found["commands"]["false_alarms"] is None
    spoken(stack, capfd, "incident", "review", "feed", "--apply")
    assert spoken(stack, capfd, "lint", "--incidents").count("ok") >= 2
    policy = stack.home / "configs" / "m.yaml"
    policy.write_text(POLICY.replace("worse: rollback", "worse: tell"), encoding="utf-8")
    assert "would not stop version 2: watch.worse is 'tell'" in spoken(stack, capfd, "lint", "--incidents", code=2)
