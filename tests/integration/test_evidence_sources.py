"""Predictions and labels that others record give the verdicts of the local log, from each kind of source."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.settings import Settings
from tests.integration.provided_rollout import COLUMNS, LABEL_COLUMNS, ProvidedRollout, later

LEVEL = DecisionThresholds()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> ProvidedRollout:
    """One rollout, and what was recorded of it."""
    return ProvidedRollout(tmp_path_factory.mktemp("rollout"))


@pytest.fixture(scope="module")
def local(played: ProvidedRollout) -> dict[str, Any]:
    """The evidence that the local log gives."""
    config = played.home("local")
    played.write_local_log(config)
    return dict(played.ask(config))


def in_parquet(played: ProvidedRollout, folder: Path) -> dict[str, Any]:
    """Write the records as Parquet files of several days in folders; the policy's section."""
    predictions, labels = played.foreign_predictions(), played.foreign_labels()
    for part in range(3):
        target = folder / "predictions" / f"part={part}"
        target.mkdir(parents=True)
        size = -(-len(predictions) // 3)
        pq.write_table(predictions.slice(part * size, size), target / "rows.parquet")
    (folder / "labels").mkdir()
    pq.write_table(labels, folder / "labels" / "all.parquet")
    return {
        "predictions": {"source": "parquet", "path": str(folder / "predictions"), "columns": COLUMNS},
        "labels": {"source": "parquet", "path": str(folder / "labels" / "*.parquet"), "columns": LABEL_COLUMNS},
    }


FORMS: dict[str, Callable[[ProvidedRollout, Path], Mapping[str, Any]]] = {"parquet": in_parquet}


@pytest.mark.parametrize("form", FORMS)
def test_a_source_gives_the_verdicts_of_the_local_log(
    form: str, played: ProvidedRollout, local: dict[str, Any], tmp_path: Path
) -> None:
    """Evidence and verdict of each gate are those of the local log, also when rows are read again at the next look."""
    config = played.home(f"from-{form}-{tmp_path.name}")
    section = FORMS[form](played, tmp_path)
    found = played.ask(config, section)
    for question in played.questions(section):
        name = question.gate.name
        assert not isinstance(local[name], MissingEvidence)
        assert found[name] == local[name], name
        assert judge(question.gate, found[name], LEVEL) == judge(question.gate, local[name], LEVEL)
    rows = counted(config)
    assert rows == (len(played.records), len(played.labels))
    source = played.source(config)
    again = [source.gather(later(question, 1.0)) for question in played.questions(section)]
    assert not any(isinstance(one, MissingEvidence) for one in again)
    assert counted(config) == rows


def counted(config: Settings) -> tuple[int, int]:
    """Rows of the log, and labels in it."""
    log = PredictionLog(config.log)
    found = log.query_rows("m", "SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM labels)")[0]
    return int(str(found[0])), int(str(found[1]))
