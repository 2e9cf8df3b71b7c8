"""A window of any size is read in batches: no batch cuts a request apart, and no sum depends on where they end."""

from dataclasses import replace
from pathlib import Path

import pytest

from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay import replay_window as window_module
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.adapters.replay.replay_window import ReplayWindow
from surefoot.core.judging.evidence import PairedSums
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Metric
from tests.gates import changed, make_gate
from tests.unit.test_replay import ASKED, QUALITY, Model, label, raising, record, write

ROWS = 60
GATES = (
    changed(QUALITY, by=("origin",)),
    make_gate("apart", Metric.DISAGREEMENT, limit=0.01, block=0.0),
    make_gate("bins", Metric.ECE, limit=0.1, maturity=100.0, coverage=0.5, block=86400.0),
)


def written(root: Path) -> PredictionLog:
    """Requests of three rows each, every second one labelled, some labelled twice."""
    rows = [
        {**record(i, 1000.0 * (i + 1), features={"i": i, "origin": "AB"[i % 2]}), "row": row}
        for i in range(ROWS)
        for row in range(3)
    ]
    labels = [{**label(i, i % 2, 1000.0 * (i + 1) + 50.0), "row": row} for i in range(0, ROWS, 2) for row in range(3)]
    labels += [label(i, 1, 1000.0 * (i + 1) + 60.0) for i in range(0, ROWS, 4)]
    write(root, "predictions", rows)
    write(root, "labels", labels)
    return PredictionLog(root)


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_no_batch_cuts_a_request_apart(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a batch would end, it ends with the last row of a request; no row is lost or doubled."""
    monkeypatch.setattr(window_module, "BATCH_ROWS", size)
    window = ReplayWindow(written(tmp_path), "m", 0.0, ASKED.until)
    requests = [batch.column_texts("request").to_pylist() for batch in window.batches()]
    window.close()
    assert sum(map(len, requests)) == 3 * ROWS
    assert not any(set(one) & set(other) for place, one in enumerate(requests) for other in requests[place + 1 :])


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_sums_do_not_depend_on_the_batches(gate: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums, slices and failures of a window are the same for every size of the batches."""
    log = written(tmp_path)
    found = []
    for size in (50_000, 9, 1):
        monkeypatch.setattr(window_module, "BATCH_ROWS", size)
        models = {"sha256:1": Model(lambda _row: [0.4, 0.6]), "sha256:2": raising(lambda row: row["i"] == 7, 0.3)}
        replay = OfflineReplay(log, lambda _model, version, models=models: models[version.digest])  # type: ignore[misc]
        sums = replay.paired_loss_evidence(replace(ASKED, gate=gate))  # type: ignore[arg-type]
        assert isinstance(sums, PairedSums)
        found.append((sums, replay.failure_evidence(ASKED)))
        replay.close()
    assert found[0] == found[1] == found[2]
    assert found[0][0].unscored == 3


def test_no_more_rows_than_wanted_are_replayed_and_the_verdict_says_so(tmp_path: Path) -> None:
    """Whole requests are drawn by their id, the same ones each time, and what was left out is counted."""
    log, asked = written(tmp_path), []
    for most in (100, 100, 60):
        drawn = ReplayWindow(log, "m", 0.0, ASKED.until, most)
        asked.append({key for batch in drawn.batches() for key in batch.column_texts("request").to_pylist()})
        assert (drawn.size, drawn.sampled) == (most // 3 * 3, 3 * ROWS - most // 3 * 3)
        drawn.close()
    assert asked[0] == asked[1] > asked[2]
    models = {"sha256:1": Model(lambda _row: [0.4, 0.6]), "sha256:2": Model(lambda _row: 0.3)}
    replay = OfflineReplay(log, lambda _model, version: models[version.digest])
    evidence = PredictionLogEvidence(log, replay, lambda *_: pytest.fail("no gate asks for a suite"))
    found = evidence.gather(replace(ASKED, max_rows=100))
    assert isinstance(found, PairedSums)
    assert (found.requests, found.left.sampled) == (99, 81)
    assert (
        "81 requests beyond those that are looked at one by one" in judge(QUALITY, found, DecisionThresholds()).reason
    )
    replay.close()
