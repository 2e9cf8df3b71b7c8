"""Versions are scored, and tried before a rollout, in processes of their own."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog
from surefoot.adapters.replay import batch_scoring
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.adapters.replay.version_processes import ProcessScorer, VersionProcesses
from surefoot.core.domain import EvidenceKind, Outcome, Version
from surefoot.core.errors import Rejected
from surefoot.core.judging.evidence import BadEventCounts, PairedSums
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate, Metric
from surefoot.models import child_process_scorer as scores_module
from surefoot.models.rows.independence import RowIndependence
from tests.gates import make_gate
from tests.integration import hosted_models

MEMORY_MB = 6000
DAY = 86400.0


class Cache:
    """Versions that are folders."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def verified(self, version: Version, _model: str) -> Path:
        """The folder of a number."""
        return self.root / version.number


def hosted(root: Path) -> VersionProcesses:
    """Starts versions of these folders."""
    return VersionProcesses(Cache(root), MEMORY_MB)  # type: ignore[arg-type]


def version(root: Path, number: str) -> Version:
    """A version with its digest."""
    return Version(number, directory_digest(root / number))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions with a module of the same name."""
    root = tmp_path_factory.mktemp("prepared")
    hosted_models.save_prepared(root)
    return root


def logged(root: Path, xs: list[float]) -> PredictionLog:
    """A log in which version 0 has answered these rows, labelled with what version 1 answers."""
    folder = root / "m"
    folder.mkdir(parents=True)
    records, labels = [], []
    for i, x in enumerate(xs):
        at = 1000.0 + i * 8 * DAY / len(xs)
        record = {"v": 1, "request": f"q{i}", "row": 0, "model": "m", "at": at, "unit": None, "arm": "champion"}
        record |= {"version": "0", "answered_by": "0", "weight": 0.0, "generation": 1, "rollout": "", "latency_ms": 1.0}
        records.append({**record, "error": None, "prediction": x, "features": {"x": x, "y": 0.0}})
        labels.append({"v": 1, "request": f"q{i}", "row": 0, "label": x, "at": at + 10.0})
    for kind, lines in (("predictions", records), ("labels", labels)):
        (folder / f"{kind}-1-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return PredictionLog(root)


def question(root: Path, gate: Gate, champion: str = "1", candidate: str = "2") -> EvidenceRequest:
    """What the shadow asks."""
    pair = version(root, champion), version(root, candidate)
    return EvidenceRequest("m", gate, EvidenceKind.SHADOW, "", "r", *pair, since=0.0, until=9 * DAY, opened=9 * DAY)


@pytest.mark.parametrize(
    "gate",
    [
        make_gate("error", Metric.ABSOLUTE_ERROR, margin=0.1, maturity=100.0, coverage=0.9, block=DAY),
        make_gate("apart", Metric.DISAGREEMENT, limit=0.01, block=0.0),
    ],
    ids=["absolute_error", "disagreement"],
)
def test_versions_with_a_module_of_the_same_name_share_no_code(prepared: Path, tmp_path: Path, gate: Gate) -> None:
    """A candidate whose own prep.py multiplies by 1,000 fails, for it is not scored with the champion's prep.py."""
    replay = OfflineReplay(logged(tmp_path, [float(i % 97) for i in range(400)]), hosted(prepared).start_scorer)
    evidence = PredictionLogEvidence(PredictionLog(tmp_path), replay, lambda *_: pytest.fail("no data gate")).gather(
        question(prepared, gate)
    )
    assert isinstance(evidence, PairedSums), evidence
    assert judge(gate, evidence, DecisionThresholds(0.05)).outcome is Outcome.FAIL


def test_a_version_with_typed_inputs_is_asked_for_tables(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature that types every input is asked for whole tables; rows are for the sample that is checked alone."""
    tables, rows = [], []
    whole, single = ProcessScorer.predict_table, ProcessScorer.predict

    def by_table(scorer: ProcessScorer, table: bytes, count: int) -> bytes | None:
        tables.append(count)
        return whole(scorer, table, count)

    def by_row(scorer: ProcessScorer, asked: list[dict[str, object]], params: object = None) -> list[object]:
        rows.append(len(asked))
        return single(scorer, asked, params)

    monkeypatch.setattr(ProcessScorer, "predict_table", by_table)
    monkeypatch.setattr(ProcessScorer, "predict", by_row)
    replay = OfflineReplay(logged(tmp_path, [float(i % 97) for i in range(400)]), hosted(prepared).start_scorer)
    asked = question(prepared, make_gate("apart", Metric.DISAGREEMENT, limit=0.01, block=0.0))
    (found,) = replay.score_window(asked, asked.champion)
    replay.close()
    assert (tables, rows) == ([400], [1] * batch_scoring.RECHECKED_ROWS)
    assert found.answered == 400


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions that cannot be had, or end their process, or look at their batch."""
    root = tmp_path_factory.mktemp("odd")
    hosted_models.save(root / "1", hosted_models.Centred())
    hosted_models.save(root / "2", hosted_models.Poisoned())
    hosted_models.save(root / "3", hosted_models.Needs())
    hosted_models.save(root / "4", hosted_models.NeedsLate())
    hosted_models.save(root / "5", hosted_models.Quits())
    hosted_models.save(root / "6", hosted_models.NeedsLate(), pip_requirements=["pandas", "nowhere-to-be-found==1.0"])
    hosted_models.save(root / "7", hosted_models.Poisoned(), pip_requirements=["pandas", "nowhere-to-be-found==1.0"])
    shutil.copytree(root / "2", root / "8")
    (root / "8" / "python_model.pkl").unlink()
    shutil.copytree(root / "2", root / "9")
    (root / "9" / "python_model.pkl").write_bytes(b"not a pickle")
    told = (root / "9" / "MLmodel").read_text(encoding="utf-8")
    (root / "9" / "MLmodel").write_text(told.replace("python_version: 3.", "python_version: 2."), encoding="utf-8")
    return root


def test_a_candidate_that_ends_its_process_fails_the_rows_that_end_it(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that end the process are the candidate's failures; all others are scored, and the run goes on."""
    xs = [666.0 if i in {100, 350} else float(i % 50) for i in range(400)]
    log = logged(tmp_path, xs)
    monkeypatch.setattr(batch_scoring, "SMALL_CHUNK_ROWS", 20)
    asked = question(odd, make_gate("errors", Metric.ERROR_RATE), champion="1", candidate="2")
    replay = OfflineReplay(log, hosted(odd).start_scorer)
    counts = replay.failure_evidence(asked)
    assert isinstance(counts, BadEventCounts)
    (stratum,) = counts.strata
    assert (stratum.candidate_bad, stratum.candidate_good) == (2, 398)
    (found,) = replay.score_window(asked, asked.candidate)
    assert found.tally.problem == "ProcessDied: its process ended with code 7"


def test_a_candidate_that_hangs_fails_the_row_at_which_it_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that gives no answer is ended and started again; the row is the candidate's failure, and says so."""
    hosted_models.save(tmp_path / "1", hosted_models.Hangs())
    monkeypatch.setattr(scores_module, "ANSWER_TIMEOUT_S", 3.0)
    scores = hosted(tmp_path).start_scorer("m", version(tmp_path, "1"))
    rows = [LoggedRequest((str(i), 0), 0.0, "", "", None, {"x": 666.0 if i == 1 else 1.0, "y": 1.0}) for i in range(3)]
    found = batch_scoring.score_requests(scores, rows)
    assert (sorted(found.answers), found.tried) == ([("0", 0), ("2", 0)], 3)
    assert found.problem == "ProcessDied: it gave no answer within 3 s"


def test_a_model_that_looks_at_its_batch_is_scored_one_request_at_a_time(odd: Path, tmp_path: Path) -> None:
    """The shadow gives the answers that callers get: each request by itself, whatever is in its chunk."""
    asked = question(odd, make_gate("errors", Metric.ERROR_RATE), champion="1", candidate="2")
    (found,) = OfflineReplay(logged(tmp_path, [float(i) for i in range(100)]), hosted(odd).start_scorer).score_window(
        asked, asked.champion
    )
    assert set(found.answers.values()) == {1.0}
    assert found.tally.tried == 100


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("3", "it needs the module 'nowhere_to_be_found', which is not installed here"),
        ("4", "No module named 'nowhere_to_be_found'"),
        ("5", "its process ended with code 9 while the model was loaded"),
        ("6", "it needs nowhere-to-be-found==1.0, which is not installed"),
        ("8", "its file python_model.pkl is missing"),
        ("9", "it was saved with Python 2."),
    ],
)
def test_what_cannot_be_served_here_is_said_in_one_line(odd: Path, number: str, said: str) -> None:
    """A missing package, module or file, another Python, and a process that ends are named with the version."""
    problem = hosted(odd).try_loading("m", version(odd, number)).problem
    assert problem.startswith(f"version {number} of m cannot be served here: ")
    assert said in problem
    assert "\n" not in problem


def test_a_version_that_answers_is_not_turned_away(odd: Path) -> None:
    """What its requirements name in vain is told, but a version that answers without it is no problem."""
    good, late = (hosted(odd).try_loading("m", version(odd, number)) for number in ("1", "7"))
    assert (good.problem, late.problem) == ("", "")
    assert good.independence is not None
    assert good.independence.batching is RowIndependence.BATCH_DEPENDENT
    assert late.missing == ("nowhere-to-be-found==1.0",)


@pytest.fixture
def children() -> Iterator[None]:
    """No process of a model is left when the test is over."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [one for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.usefixtures("children")
def test_a_process_ends_with_the_one_that_asks(odd: Path) -> None:
    """When a version's scores are no longer wanted its process is gone."""
    scores = hosted(odd).start_scorer("m", version(odd, "2"))
    assert scores.predict([{"x": 3.0, "y": 1.0}]) == [1.5]
    assert scores.batchable
    assert scores.raw
    assert list(scores.preprocessed([{"x": 3.0, "y": None}]).iloc[0].isna()) == [False, True]
    del scores


def test_bytes_of_another_digest_are_not_scored(odd: Path) -> None:
    """The process itself checks what it loads."""
    wrong = replace(version(odd, "2"), digest="sha256:" + "0" * 64)
    with pytest.raises(Exception, match="is not of the digest") as caught:
        hosted(odd).start_scorer("m", wrong).predict([{"x": 1.0, "y": 1.0}])
    assert not isinstance(caught.value, Rejected)
