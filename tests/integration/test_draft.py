"""`surefoot draft` writes a policy and a suite that `lint` takes, from data of three kinds, and refuses in one line."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from surefoot import cli
from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.expectations.suite import find_suite_problems
from surefoot.core.policy.policy_types import Metric

ROWS = 1200


def sample() -> pd.DataFrame:
    """Requests of thirty days, with what came true in three ways."""
    rng = np.random.default_rng(3)
    at = 1.38e9 + np.sort(rng.uniform(0.0, 30 * 86400.0, ROWS))
    table = pd.DataFrame(
        {
            "at": at,
            "customer": rng.integers(1, 200, ROWS).astype(str),
            "area": rng.normal(100.0, 20.0, ROWS),
            "rooms": rng.integers(1, 7, ROWS),
            "city": rng.choice(["Bonn", "Köln", "Trier"], ROWS),
            "garden": rng.random(ROWS) < 0.3,
            "note": [None if number % 2 else f"text {number}" for number in range(ROWS)],
            "label_at": at + 7200.0,
        }
    )
    return table.assign(
        price=table.area * 3.0 + rng.normal(0.0, 10.0, ROWS),
        sold=(rng.random(ROWS) < 0.2).astype(int),
        grade=rng.choice(["low", "middle", "high"], ROWS),
    )


def draft(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["surefoot", "draft", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("label", "ending", "metric"),
    [("price", "parquet", Metric.ABSOLUTE_ERROR), ("sold", "csv", Metric.BRIER), ("grade", "parquet", Metric.ZERO_ONE)],
)
def test_a_draft_passes_lint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    label: str,
    ending: str,
    metric: Metric,
) -> None:
    """Regression, yes or no, and three classes: policy and suite have no problem, fit the task, and doubts are said."""
    table = sample()
    table = table.drop(columns={"price", "sold", "grade"} - {label})
    data = tmp_path / f"sample.{ending}"
    if ending == "csv":
        table.to_csv(data, index=False)
    else:
        table.to_parquet(data)
    words = ["house prices", "--data", str(data), "--label", label, "--unit", "customer", "--project", str(tmp_path)]
    assert draft(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    _, policy = read_policy(tmp_path / "configs" / "house prices.yaml")
    assert policy.gates["quality"].metric is metric
    assert policy.unit == "customer"
    assert policy.requests_per_minute == pytest.approx(ROWS / (30 * 24 * 60), rel=0.02)
    suite = tmp_path / "expectations" / "house-prices.json"
    count, problems = find_suite_problems(suite)
    assert (count, problems) == (13, ())
    columns = json.loads(suite.read_text())["expectations"][1]["kwargs"]["column_set"]
    assert columns == ["customer", "area", "rooms", "city", "garden", "note"]
    assert "check: groups are judged by 'city'" in said
    assert "column 'note' is missing in 50% of the rows" in said
    assert "labels are taken to be known" not in said  # label_at tells it
    assert "What each step sees" in said
    assert draft(monkeypatch, *words) == 2
    assert "is there: --force replaces it" in capsys.readouterr().err
    assert draft(monkeypatch, *words, "--force", "--maturity", "3h", "--requests-per-minute", "200") == 0
    _, policy = read_policy(tmp_path / "configs" / "house prices.yaml")
    assert policy.requests_per_minute == 200.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["m", "--data", "none.csv"], "there is no file none.csv"),
        (["m", "--data", "DATA", "--label", "nothing"], "has no column 'nothing' (it has: at, customer, area"),
        (["m", "--data", "DATA", "--unit", "nothing"], "has no feature 'nothing': correct --unit"),
        (["m", "--data", "DATA", "--maturity", "soon"], "'soon' is no length of time: write 30s, 10m, 2h or 7d"),
        (["a/b", "--data", "DATA"], "'a/b' is no name of a registered model"),
        (["m", "--data", "EMPTY"], "has no rows: nothing can be drafted"),
        (["m", "--data", "DATA", "--version", "1", "--version", "2", "--version", "3"], "name one version or two"),
    ],
)
def test_what_cannot_be_drafted_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    """Each mistake is one line that names it and what to do, and nothing is written."""
    sample().to_csv(tmp_path / "data.csv", index=False)
    sample().head(0).to_csv(tmp_path / "empty.csv", index=False)
    files = {"DATA": str(tmp_path / "data.csv"), "EMPTY": str(tmp_path / "empty.csv")}
    assert draft(monkeypatch, *(files.get(word, word) for word in words), "--project", str(tmp_path)) == 2
    told = capsys.readouterr().err.strip()
    assert said in " ".join(told.split())
    assert not (tmp_path / "configs").exists()
