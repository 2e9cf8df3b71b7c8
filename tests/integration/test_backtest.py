"""`surefoot backtest` over small record files: what it decides, prints and refuses."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from surefoot import cli

DAY = 86400.0
DAYS, REQUESTS = 30, 3000
OPENS = 20.0 * DAY
"""When the rollout opens at the earliest: the records then fill the shadow's window."""
POLICY = """\
model: prices
unit: house
traffic: { requests_per_minute: 0.07, stale_after: 12h }
data: { suite: prices, window: 20d }
gates:
  errors: { metric: error_rate, margin: 10pp }
  accuracy: { metric: absolute_error, margin: 0.1, labels: { maturity: 12h, coverage: 0.8 } }
steps:
  - shadow: { window: 20d, min_requests: 500, gates: [errors, accuracy] }
  - weight: 50
    hold: { for: 1d, min_requests: 50, gates: [errors] }
bake: { for: 2d, gates: [errors] }
"""
SUITE = """\
{ "name": "prices", "expectations": [
  { "type": "expect_column_values_to_be_between", "kwargs": { "column": "area", "min_value": 20, "max_value": 200 } }
] }
"""


def requests(noise: float, failing: float = 0.0) -> pd.DataFrame:
    """Both versions' records: an error of 1 for the champion, of `noise` for the candidate, which breaks on the way."""
    rng = np.random.default_rng(1)
    at = np.sort(rng.random(REQUESTS)) * DAYS * DAY
    area = rng.uniform(30.0, 150.0, REQUESTS)
    price = 3.0 * area + rng.normal(size=REQUESTS)
    houses = rng.integers(100_000, size=REQUESTS).astype(str)
    shared = {"request": np.char.add("r", np.arange(REQUESTS).astype(str)), "at": at, "unit": houses, "area": area}
    labels = {"label": price, "label_at": at + 3600.0}
    broken = (rng.random(REQUESTS) < failing) & (at > OPENS)
    sides = [
        {"arm": "champion", "version": "1", "prediction": price + rng.normal(size=REQUESTS)},
        {"arm": "candidate", "version": "2", "prediction": price + noise * rng.normal(size=REQUESTS)},
    ]
    both = [pd.DataFrame({**shared, **labels, **side}) for side in sides]
    both[1]["error"] = pd.Series(["ValueError: no answer" if each else None for each in broken], dtype="object")
    both[1].loc[broken, "prediction"] = np.nan
    return pd.concat(both, ignore_index=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one policy, its suite, and a folder of three past rollouts."""
    home = tmp_path_factory.mktemp("project")
    for name, content in (("configs/prices.yaml", POLICY), ("expectations/prices.json", SUITE)):
        (home / name).parent.mkdir()
        (home / name).write_text(content)
    (home / "past").mkdir()
    for name, noise, failing in (("better", 0.5, 0.0), ("worse", 2.0, 0.0), ("brittle", 0.5, 0.6)):
        requests(noise, failing).to_parquet(home / "past" / f"{name}.parquet")
    return home


def backtest(project: Path, *words: str) -> str:
    """What the command prints."""
    said = CliRunner().invoke(cli.build_app(), ["backtest", "prices", "--project", str(project), *words])
    assert said.exit_code == 0, said.output
    return said.stdout


@pytest.fixture(scope="module")
def better(project: Path) -> str:
    """The JSON of a rollout of a candidate that is better."""
    return backtest(project, "--log", str(project / "past" / "better.parquet"), "--json")


def test_good_candidate_is_promoted(better: str) -> None:
    """A better candidate passes every gate to the end, and the JSON holds every look with its verdict."""
    found = json.loads(better)
    assert (found["stage"], found["promoted"], found["gate"]) == ("Promoted", True, "")
    assert (found["champion"], found["candidate"], found["requests"]) == ("1", "2", REQUESTS)
    seen = {(look["stage"], look["weight"], look["gate"]) for look in found["looks"] if look["outcome"] == "PASS"}
    assert seen == {
        ("Validating", 0.0, "data"),
        ("Validating", 0.0, "answer_shape"),
        ("Shadowing", 0.0, "errors"),
        ("Shadowing", 0.0, "accuracy"),
        ("Ramping", 50.0, "errors"),
        ("Baking", 100.0, "errors"),
    }
    times = [look["at"] for look in found["looks"]]
    assert times == sorted(times)
    assert times[0] == found["opened"]
    assert all(look["reason"] and look["n"] >= 0 for look in found["looks"])


@pytest.mark.parametrize(("name", "stage"), [("better", "Promoted"), ("brittle", "Rejected")])
def test_a_live_shadow_counts_every_pair_as_mirrored(project: Path, tmp_path: Path, name: str, stage: str) -> None:
    """A policy with a live shadow is replayed too: the file's pairs of that time are its mirrored requests."""
    live = "  - shadow: { source: live, share: 20, for: 2d, min_requests: 50, gates: [errors, same] }\n  - weight: 50"
    gates = "gates:\n  same: { metric: prediction_shift, max: 0.5, against: champion, role: signal }"
    for place, content in (
        ("configs/prices.yaml", POLICY.replace("  - weight: 50", live).replace("gates:", gates, 1)),
        ("expectations/prices.json", SUITE),
    ):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_text(content)
    found = json.loads(backtest(tmp_path, "--log", str(project / "past" / f"{name}.parquet"), "--json"))
    last = {look["gate"]: look["outcome"] for look in found["looks"] if look["stage"] == "LiveShadowing"}
    assert (found["stage"], last["answer_shape"]) == (stage, "PASS"), found["reason"]
    assert (last["errors"], found["gate"]) == (("PASS", "") if stage == "Promoted" else ("FAIL", "errors"))


def test_the_window_opens_when_the_policy_says(better: str) -> None:
    """The rollout opens one window after the first record, not one maturity later, and looks back to that record."""
    first = float(requests(0.5)["at"].min())
    assert json.loads(better)["opened"] == pytest.approx(first + 20.0 * DAY, abs=1.0)


def test_same_file_is_the_same_story(project: Path, better: str) -> None:
    """A second back-test of a file prints the same bytes; another seed splits the same requests in another way."""
    words = ("--log", str(project / "past" / "better.parquet"), "--json")
    assert backtest(project, *words) == better
    other = json.loads(backtest(project, *words, "--seed", "another"))
    assert other["promoted"]
    assert other["looks"] != json.loads(better)["looks"]


def test_worse_candidate_is_rejected(project: Path) -> None:
    """A candidate that is less accurate gets no traffic, and the gate that says so is named."""
    said = backtest(project, "--log", str(project / "past" / "worse.parquet"))
    assert "Ramping" not in said
    assert "ended as Rejected" in said
    assert "stopped by accuracy: accuracy is FAIL" in said.splitlines()[-1]


def test_past_rollouts_are_counted(project: Path) -> None:
    """A folder of rollouts says how many good ones were stopped and how many bad ones were promoted."""
    truth = {"better": "bad", "worse": "good", "brittle": "bad"}
    (project / "past" / "truth.json").write_text(json.dumps(truth))
    found = json.loads(backtest(project, "--rollouts", str(project / "past"), "--json"))
    assert (found["false rollback"], found["miss"]) == (1, 1)
    ended = {row["name"]: (row["stage"], row["gate"], row["said"]) for row in found["rollouts"]}
    assert ended == {
        "better": ("Promoted", "", "miss"),
        "worse": ("Rejected", "accuracy", "false rollback"),
        "brittle": ("RolledBack", "errors", "as it should"),
    }
    said = backtest(project, "--rollouts", str(project / "past"))
    assert said.splitlines()[-1] == "false rollbacks: 1 of 1 good rollouts; misses: 1 of 2 bad ones"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say what to replay: --log FILE for one rollout, --rollouts DIR for many, or --case DIR"),
        (("--log", "past/better.parquet", "--rollouts", "past"), "say what to replay"),
        (("--log", "nothing.parquet"), "there is no file nothing.parquet"),
        (("--log", "configs/prices.yaml"), "configs/prices.yaml cannot be read"),
        (("--log", "past/better.parquet", "--labels", "past/better.parquet", "--policy", "no.yaml"), "no.yaml"),
        (("--rollouts", "configs"), "configs needs record files (*.parquet) and a truth.json"),
        (("--rollouts", "untold"), "untold/truth.json does not say whether a was good or bad"),
        (("--rollouts", "torn"), "torn/truth.json cannot be read"),
        (("--rollouts", "listed"), "listed/truth.json must be an object"),
    ],
)
def test_what_cannot_be_replayed_is_one_line(
    project: Path,
    words: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Wrong words and files that cannot be read exit 2 with one line that says what to do."""
    for name, truth in (("untold", '{"b": "good"}'), ("torn", '{"a": '), ("listed", '["a"]')):
        (project / name).mkdir(exist_ok=True)
        (project / name / "a.parquet").write_bytes(b"")
        (project / name / "truth.json").write_text(truth)
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["surefoot", "backtest", "prices", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    lines = capsys.readouterr().err.strip().splitlines()
    assert left.value.code == 2
    assert len(lines) == 1, lines
    assert said in lines[0]
