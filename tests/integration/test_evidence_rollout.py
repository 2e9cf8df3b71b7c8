"""A rollout by alias is judged by what batch jobs write to files of their own: nothing is recorded by hand."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from surefoot import wiring
from surefoot.core.domain import Outcome
from surefoot.rollout import adopt_champion, drive_rollout, open_promotion
from tests.integration.test_alias_engine import AliasStack, baking

COLUMNS = {"request": "request", "at": "at", "version": "version", "answer": "answer", "error": "error"}


class FileStack(AliasStack):
    """A model whose batch jobs leave Parquet files in a folder that the policy names."""

    def __init__(self, root: Path, mlflow_server: str) -> None:
        super().__init__(root, mlflow_server)
        source = {"source": "parquet", "path": "answers", "columns": COLUMNS}
        self.policy["evidence"] = {"predictions": source, "late": "5m"}
        (self.config.configs / f"{self.model}.yaml").write_text(yaml.safe_dump(self.policy))
        (self.config.project / "answers").mkdir()

    def answered(self, name: str, version: str, *, age: float, **columns: Any) -> None:
        """A batch job has written what a version answered."""
        rows = pd.read_parquet(self.batch(name, age=age, answer=0.5, version=version, error=None, **columns))
        rows.to_parquet(self.config.project / "answers" / f"{name}.parquet")


@pytest.fixture
def stack(tmp_path: Path, mlflow_server: str) -> Iterator[FileStack]:
    """A model whose champion has answered a batch."""
    made = FileStack(tmp_path, mlflow_server)
    made.register()
    made.answered("night", "1", age=3600.0)
    with wiring.open_ports(made.config, "test") as ports:
        adopt_champion(ports, made.model)
    yield made
    made.client.delete_registered_model(made.model)


def test_a_version_is_promoted_and_judged_by_foreign_files(stack: FileStack) -> None:
    """Validation, shadow and bake read what the jobs have written, each row once, under the split of its time."""
    with wiring.open_ports(stack.config, "test") as ports:
        rollout = open_promotion(ports, wiring.promotion_request(stack.config, stack.model, "2", "a test"))
        ledger = drive_rollout(ports, stack.model, until=baking, wait=False)
        assert ledger.rollout is not None, ledger.rollouts[rollout].reason
        assert stack.alias() == "2"
        time.sleep(3.0)  # so that these rows are younger than the promotion
        stack.answered("morning", "2", age=0.0)
        ledger = drive_rollout(
            ports, stack.model, until=lambda seen: bool(seen.rollout and seen.rollout.verdicts), wait=False
        )
        assert ledger.rollout is not None
        verdict = ledger.rollout.verdicts["errors"]
    assert verdict.outcome is not Outcome.ERROR, verdict.reason
    assert verdict.n > 0
    records = stack.records()
    assert {(one["version"], one["rollout"]) for one in records} == {("1", ""), ("2", rollout)}
    assert len(records) == len({one["request"] for one in records})
    assert all(len(one["features"]["name"]) == 24 for one in records)


def test_reconcile_imports_what_no_gate_has_asked_for(stack: FileStack) -> None:
    """What a source holds is in the log between two looks; a source that is gone is one line, and nothing is lost."""
    policy = wiring.read_policies(stack.config)[stack.model]
    assert policy.evidence_origin is not None
    assert wiring.is_import_due(stack.config, stack.model, time.time())
    said = wiring.import_evidence(stack.config, stack.model, policy.evidence_origin)
    assert said == "200 rows of parquet answers are in the log"
    assert not wiring.is_import_due(stack.config, stack.model, time.time())
    assert wiring.is_import_due(stack.config, stack.model, time.time() + wiring.IMPORT_INTERVAL_S)
    assert wiring.import_evidence(stack.config, stack.model, policy.evidence_origin) == ""
    (stack.config.project / "answers").rename(stack.config.project / "elsewhere")
    gone = wiring.import_evidence(stack.config, stack.model, policy.evidence_origin)
    assert gone.startswith("source 'parquet' at answers")
    assert len(stack.records()) == 200
