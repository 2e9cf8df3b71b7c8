"""Evidence that is added up from kept parts is the evidence of one pass over the log, however the log was cut."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.incremental_replay import IncrementalReplay
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.core.judging.evidence import BadEventCounts, Evidence, PairedSums
from surefoot.core.policy.policy_types import Gate, Metric
from tests.gates import changed, make_gate
from tests.sweeps import EVERYTHING
from tests.unit.test_replay import ASKED, DAY, QUALITY, Model, label, record

GATES: tuple[Gate, ...] = (
    changed(QUALITY, by=("origin",)),
    make_gate("plain", Metric.BRIER, maturity=100.0, coverage=0.9, block=0.0),
    make_gate("apart", Metric.DISAGREEMENT, limit=0.01, block=0.0),
    make_gate("bins", Metric.ECE, limit=0.1, maturity=3600.0, coverage=0.5, block=DAY),
    make_gate("errors", Metric.ERROR_RATE, margin=0.02),
    make_gate("shift", Metric.PREDICTION_SHIFT, limit=0.5, against="champion"),
)
REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 25),  # few ids, so that some come twice
        st.integers(0, 1),
        st.floats(DAY, 9 * DAY),
        st.sampled_from(["JFK", "LGA", 7, None]),
        st.sampled_from(["0", "1", "2"]),
    ),
    max_size=30,
)
LABELS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 1), st.floats(0.0, 12 * DAY), st.sampled_from([0, 1, "x"])),
    max_size=30,
)
CUTS = st.lists(st.tuples(st.booleans(), REQUESTS, LABELS), min_size=1, max_size=5)


def models() -> dict[str, Model]:
    """A version that answers everything, and one that cannot answer some rows."""

    def some(row: object) -> object:
        if row["i"] % 7 == 3:  # type: ignore[index] # a mapping
            raise ZeroDivisionError
        return (row["i"] % 5) / 5.0  # type: ignore[index] # same

    return {"sha256:1": Model(lambda row: 0.25 + (row["i"] % 2) / 2.0), "sha256:2": Model(some)}  # type: ignore[operator] # numbers


def append(
    root: Path,
    number: int,
    requests: list[tuple[int, int, float, object, str]],
    labels: list[tuple[int, int, float, object]],
) -> None:
    """Write one more file of requests and one of labels."""
    folder = root / "m"
    folder.mkdir(exist_ok=True, parents=True)
    rows = [
        {**record(i, at, features={"i": i, "origin": origin}, version=by, answered_by=by), "row": row}
        for i, row, at, origin, by in requests
    ]
    told = [{**label(i, value, at), "row": row} for i, row, at, value in labels]
    for kind, some in (("predictions", rows), ("labels", told)):
        text = "".join(json.dumps(item) + "\n" for item in some)
        (folder / f"{kind}-{number}-1.jsonl").write_text(text)


def plain(found: Evidence) -> Evidence:
    """Evidence without what it was made of."""
    return replace(found, kept="") if isinstance(found, PairedSums | BadEventCounts) else found


@settings(max_examples=20 if EVERYTHING else 6, deadline=None)
@given(CUTS, st.sampled_from([0.0, 0.0, 3 * DAY]), st.sampled_from([12 * DAY, 12 * DAY, 6 * DAY]), st.booleans())
def test_stored_evidence_is_that_of_one_pass(
    cuts: list[tuple[bool, list[tuple[int, int, float, object, str]], list[tuple[int, int, float, object]]]],
    since: float,
    until: float,
    together: bool,
) -> None:
    """Whatever comes, is compacted and is asked in whatever order: all evidence is that of one pass over the window."""
    with tempfile.TemporaryDirectory() as home:
        root, store = Path(home) / "log", Path(home) / "evidence"
        log = PredictionLog(root)
        for number, (compacted, requests, labels) in enumerate(cuts):
            append(root, number, requests, labels)
            if compacted:
                compact_log(root, "m")
            loaded = models()
            once = OfflineReplay(log, lambda _m, version, loaded=loaded: loaded[version.digest])  # type: ignore[misc]
            kept = IncrementalReplay(log, lambda _m, version, loaded=loaded: loaded[version.digest], store)  # type: ignore[misc]
            for gate in GATES:
                question = replace(ASKED, gate=gate, since=since, until=until, look_gates=GATES if together else ())
                whole, parts = (
                    PredictionLogEvidence(log, replay, lambda *_: None).gather(question)  # type: ignore[arg-type]
                    for replay in (once, kept)
                )
                assert plain(parts) == plain(whole), gate.name
            once.close()
            kept.close()
