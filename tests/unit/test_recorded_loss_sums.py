"""Sums by block that are kept between looks are those of a window that is read at once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.adapters.replay.recorded_answers import RecordedAnswers
from surefoot.backtest.recorded_loss_sums import RecordedLossSums
from surefoot.core.domain import EvidenceKind, Version
from surefoot.core.judging.evidence import PairedSums
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.parse import parse_gate
from surefoot.core.policy.policy_types import PairedGate, narrow_gate_type

HOUR = 3600.0
ROWS = 600
GATES: dict[str, dict[str, Any]] = {
    "loss": {"metric": "brier", "margin": 0.01, "labels": {"maturity": "2h"}, "block": "6h"},
    "slices": {"metric": "brier", "margin": 0.01, "labels": {"maturity": "30m"}, "block": "1h", "by": ["place"]},
    "wrong": {"metric": "zero_one", "margin": 0.01, "labels": {"maturity": "2h"}, "block": "none"},
}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedRequests]:
    """Probabilities of two classes; requests on the hour, labels that come late, twice or never."""
    draw = np.random.default_rng(3)
    at = np.sort(draw.choice(np.arange(0.0, 60 * HOUR, 600.0), ROWS))
    sides = []
    for arm, version in (("champion", "1"), ("candidate", "2")):
        yes = draw.random(ROWS)
        given: list[list[float] | None] = [[1.0 - one, one] for one in yes.tolist()]
        given[7 if version == "1" else 11] = None
        shared = {"request": [f"r{n}" for n in range(ROWS)], "at": at, "place": draw.choice(["a", "b"], ROWS)}
        error = ["no" if one is None else None for one in given]
        sides.append(pd.DataFrame({**shared, "arm": arm, "version": version, "prediction": given, "error": error}))
    sides[1]["place"] = sides[0]["place"]
    named = draw.choice(ROWS, ROWS)
    came = at[named] + draw.choice([60.0, 1.9 * HOUR, 3.0 * HOUR], ROWS)
    told = pd.DataFrame({"request": [f"r{n}" for n in named], "label": draw.integers(0, 2, ROWS), "at": came})
    folder = tmp_path_factory.mktemp("records")
    pd.concat(sides).to_parquet(folder / "records.parquet")
    told.to_parquet(folder / "labels.parquet")
    made = RecordedRequests(folder / "records.parquet", folder / "labels.parquet")
    yield made
    made.close()


@pytest.mark.parametrize("name", GATES)
def test_the_sums_of_each_look_are_those_of_its_window(records: RecordedRequests, name: str) -> None:
    """Whatever the looks before, each look has the blocks, requests and labels of a window that is read at once."""
    gate = narrow_gate_type(parse_gate(name, GATES[name]), PairedGate)
    blocks, answers = RecordedLossSums(records), RecordedAnswers(records)
    seen = 0
    for until in (9.0, 24.0, 24.0 + 1 / 60, 31.5, 48.0, 70.0):
        since = (until - 20.0) * HOUR
        question = EvidenceRequest(
            "m", gate, EvidenceKind.BAKE, "", "", Version("1", "a"), Version("2", "b"), since, until * HOUR, 0.0
        )
        found, read = blocks.paired_sums(gate, since, until * HOUR), answers.paired_loss_evidence(question)
        assert isinstance(read, PairedSums)
        assert found.slices == read.slices
        assert (found.requests, found.labelled, found.unscored) == (read.requests, read.labelled, read.unscored)
        assert (found.compared, found.same) == (read.compared, read.same)
        seen += found.labelled
    assert seen > ROWS / 6
