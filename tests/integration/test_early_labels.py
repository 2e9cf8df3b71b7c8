"""Labels that are in early are not a sample of all: on real flights they move no verdict."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.adapters.replay.recorded_answers import RecordedAnswers
from surefoot.core.domain import EvidenceKind, Version
from surefoot.core.judging.evidence import PairedSums
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate, Metric
from surefoot.demo.flight_requests import build_requests, midnight
from tests.gates import make_gate

DAY, HOUR = 86400.0, 3600.0
NIGHT = midnight("2013-06-24") + 4 * HOUR
"""Midnight in New York."""
GATES = (
    make_gate("quality", Metric.BRIER, margin=0.02, maturity=12 * HOUR),
    make_gate("slices", Metric.BRIER, margin=0.02, maturity=12 * HOUR, by=("origin",)),
    make_gate("ranking", Metric.AUC, margin=0.05, maturity=12 * HOUR),
)


@pytest.fixture(scope="module")
def june(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Every flight of June, with the answers of two versions; the second knows a little more."""
    table = build_requests(tmp_path_factory.mktemp("flights") / "flights.parquet")
    rows = table[(table["at"] >= midnight("2013-06-01")) & (table["at"] < midnight("2013-07-01"))].copy()
    random = np.random.default_rng(1)
    truth = rows["late"].fillna(0.3).to_numpy(float)
    rows["old"] = np.clip(0.3 + 0.1 * (truth - 0.3) + random.normal(0.0, 0.1, len(rows)), 0.01, 0.99)
    rows["new"] = np.clip(0.3 + 0.2 * (truth - 0.3) + random.normal(0.0, 0.1, len(rows)), 0.01, 0.99)
    return rows


def opened(rows: pd.DataFrame, folder: Path) -> RecordedRequests:
    """A record file of both versions."""
    shared = rows[["id", "at", "tailnum", "origin", "late", "label_at"]].rename(
        columns={"id": "request", "tailnum": "unit", "late": "label"}
    )
    both = [
        shared.assign(arm=arm, version=number, prediction=rows[column])
        for arm, number, column in (("champion", "1", "old"), ("candidate", "2", "new"))
    ]
    pd.concat(both).to_parquet(folder / "june.parquet")
    return RecordedRequests(folder / "june.parquet")


@pytest.fixture
def recorded(june: pd.DataFrame, tmp_path: Path) -> Iterator[RecordedAnswers]:
    """All labels as they really came."""
    records = opened(june, tmp_path)
    yield RecordedAnswers(records)
    records.close()


@pytest.fixture
def without(june: pd.DataFrame, tmp_path: Path) -> Iterator[RecordedAnswers]:
    """The same flights, but no label of 24 June ever comes."""
    hidden = june.copy()
    hidden.loc[hidden["at"] >= midnight("2013-06-24"), "late"] = np.nan
    (tmp_path / "hidden").mkdir()
    records = opened(hidden, tmp_path / "hidden")
    yield RecordedAnswers(records)
    records.close()


def asked(gate: Gate, until: float) -> EvidenceRequest:
    """A look at the month so far."""
    since = midnight("2013-06-01") - 1.0
    return EvidenceRequest(
        "m", gate, EvidenceKind.SHADOW, "", "r", Version("1", "a"), Version("2", "b"), since, until, since
    )


def test_labels_that_are_in_early_are_punctual_flights(june: pd.DataFrame) -> None:
    """On 24 June at 14 h 7 % of the labels that are in are late; of the same requests 33 % are in the end."""
    asked_by_then = june[(june["at"] >= NIGHT) & (june["at"] <= NIGHT + 14 * HOUR)].dropna(subset=["late"])
    early = asked_by_then[asked_by_then["label_at"] <= NIGHT + 14 * HOUR]
    assert len(early) / len(asked_by_then) == pytest.approx(0.53, abs=0.03)
    assert early["late"].mean() == pytest.approx(0.07, abs=0.01)
    assert asked_by_then["late"].mean() == pytest.approx(0.33, abs=0.01)


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_early_labels_move_no_verdict(recorded: RecordedAnswers, without: RecordedAnswers, gate: Gate) -> None:
    """At every hour of 24 June the sums and the verdict are those of a world in which its labels have not come."""
    for hour in (10, 14, 17, 20, 23):
        question = asked(gate, NIGHT + hour * HOUR)
        found, blind = recorded.paired_loss_evidence(question), without.paired_loss_evidence(question)
        assert isinstance(found, PairedSums)
        assert isinstance(blind, PairedSums)
        assert found.slices == blind.slices
        assert judge(gate, found, DecisionThresholds()) == judge(gate, blind, DecisionThresholds())


def test_the_same_labels_count_when_they_have_matured(recorded: RecordedAnswers, without: RecordedAnswers) -> None:
    """Two days later the labels of 24 June are in the sums."""
    question = asked(GATES[0], NIGHT + 60 * HOUR)
    found, blind = recorded.paired_loss_evidence(question), without.paired_loss_evidence(question)
    assert isinstance(found, PairedSums)
    assert isinstance(blind, PairedSums)
    assert found.labelled > blind.labelled
    assert found.slices != blind.slices
