"""A rollout behind HAProxy that followed a script, its own log, and the same records as another program keeps them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from surefoot.adapters.clock import build_clock
from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.core.actions import JudgeGates
from surefoot.core.domain import EvidenceKind, Stage
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import Evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_policy
from surefoot.rollout.evidence_requests import evidence_requests
from surefoot.settings import Settings
from surefoot.wiring.foreign_evidence.evidence_import import EvidenceImporter
from surefoot.wiring.foreign_evidence.imported_evidence import ImportedEvidence
from tests.scripted import at, scenario, started
from tests.unit.test_replay import Model
from tests.unit.test_serving_engines import HAPROXY

GATES: dict[str, Any] = {
    "errors": {"metric": "error_rate", "margin": "1pp"},
    "latency": {"metric": "latency", "quantile": 0.9, "margin": "20%"},
    "quality": {"metric": "brier", "margin": "5%", "labels": {"maturity": "2m"}, "block": "2m"},
    "labels": {"metric": "missing_label", "margin": "2pp", "labels": {"maturity": "2m"}},
    "places": {"metric": "error_rate", "margin": "5pp", "by": "place", "min_per_slice": 50},
}
HELD = ["errors", "latency", "quality", "labels", "places"]
COLUMNS = {
    "request": "id",
    "at": "ts",
    "version": "model_version",
    "answer": "score",
    "error": "failure",
    "latency_ms": "took_ms",
}
LABEL_COLUMNS = {"request": "id", "label": "late", "at": "known"}
ELSEWHERE = {"predictions": {"source": "parquet", "path": "nowhere", "columns": COLUMNS}}
STEP_S = 600.0


def policy_of(evidence: Mapping[str, Any] | None, gates: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The policy of a model behind HAProxy."""
    chosen = GATES if gates is None else gates
    names = [name for name in HELD if name in chosen]
    return {
        **HAPROXY,
        "gates": chosen,
        "steps": [
            {"weight": 5, "hold": {"for": "10m", "gates": names}},
            {"weight": 50, "hold": {"for": "10m", "gates": names}},
        ],
        "bake": {"for": "1h", "gates": ["errors"]},
        **({"evidence": dict(evidence)} if evidence else {}),
    }


@dataclass
class ProvidedRollout:
    """A journal that stands in the second step of the ramp, and every request of it.

    Attributes:
        root: Folder of everything.
        records: Lines that the local log would have.
        labels: Lines of its labels.
        begins: When each split with two versions came into force [Unix seconds].
    """

    root: Path
    records: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)
    begins: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Play the script, and make traffic under each split that was in force."""
        # The gates of the script are not those that are asked here: the journal is about its splits.
        world = scenario(policy_of(None, {"errors": GATES["errors"]}))
        ledger = started(world, at(Stage.RAMPING, 1, 2))
        self.entries = tuple(world.journal.entries)
        assert ledger.rollout is not None
        self.rollout = ledger.rollout
        moves = [one for one in self.entries if one.kind == "EffectDone"][-2:]
        splits = [one for one in world.traffic.changes if one.weight > 0.0]
        assert len(moves) == len(splits) == 2
        begins = self.begins = [one.at for one in moves]
        self.now = begins[1] + STEP_S
        draw = np.random.default_rng(7)
        self._serve(draw, begins[0] - 3000.0, begins[0], 4_000, 0.0, "", 0)
        self._serve(draw, begins[0], begins[1], 3_000, 5.0, ledger.open, splits[0].generation)
        self._serve(draw, begins[1], self.now, 3_000, 50.0, ledger.open, splits[1].generation)

    def _serve(
        self, draw: Any, since: float, until: float, count: int, weight: float, rollout: str, generation: int
    ) -> None:
        """Requests under one split."""
        for step in range(count):
            number = len(self.records)
            at_ = since + (until - since) * (step + 1) / (count + 1)
            arm = "candidate" if draw.random() * 100.0 < weight else "champion"
            version = "2" if arm == "candidate" else "1"
            error = "HTTP 500" if draw.random() < (0.08 if arm == "candidate" else 0.02) else None
            x = float(draw.random())
            self.records.append(
                {
                    "v": 1,
                    "request": f"q{number:06d}",
                    "row": 0,
                    "model": "m",
                    "at": round(at_, 3),
                    "unit": None,
                    "arm": arm,
                    "version": version,
                    "answered_by": None if error else version,
                    "weight": weight,
                    "generation": generation,
                    "rollout": rollout,
                    "latency_ms": round(float(draw.lognormal(3.0 + 0.1 * (arm == "candidate"), 0.4)), 4),
                    "error": error,
                    "prediction": None if error else round(x, 6),
                    "features": {"x": x, "place": ("LGA", "JFK")[number % 2], "stop": number % 5 or None},
                }
            )
            if draw.random() < 0.98 and at_ + 60.0 < self.now:
                told = {"request": f"q{number:06d}", "row": 0, "label": int(draw.random() < x)}
                self.labels.append({"v": 1, **told, "at": round(at_, 3) + 60.0, "received": 0.0})

    def home(self, name: str) -> Settings:
        """A state folder with the journal, and no log yet."""
        home = self.root / name
        config = Settings(home, self.root / "project", "", "", "", "token")
        home.mkdir(parents=True)
        journal = SqlJournal(config.journal_url, build_clock("system"))
        for one in self.entries:
            journal.append("m", one.seq - 1, one.at, one.actor, one.kind, dict(one.data))
        journal.close()
        return config

    def write_local_log(self, config: Settings) -> None:
        """The log that an engine which records each request would have left."""
        folder = config.log / "m"
        folder.mkdir(parents=True)
        for kind, lines in (("predictions", self.records), ("labels", self.labels)):
            (folder / f"{kind}-1-1.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))

    def foreign_predictions(self) -> pa.Table:
        """The requests in the words of another program: nothing of splits, arms and rollouts is known to it."""
        rows = [
            {
                "id": one["request"],
                "ts": datetime.fromtimestamp(one["at"], UTC),
                "model_version": int(one["version"]),
                "score": one["prediction"],
                "failure": one["error"],
                "took_ms": one["latency_ms"],
                **one["features"],
            }
            for one in self.records
        ]
        return pa.Table.from_pylist(rows)

    def foreign_labels(self) -> pa.Table:
        """The labels in the words of another program."""
        rows = [
            {"id": one["request"], "late": one["label"], "known": datetime.fromtimestamp(one["at"], UTC)}
            for one in self.labels
        ]
        return pa.Table.from_pylist(rows)

    def questions(self, evidence: Mapping[str, Any] | None = None) -> list[EvidenceRequest]:
        """What the look at the second step asks; of the local log without sources."""
        policy = parse_policy(policy_of(evidence or ELSEWHERE))
        gates = tuple(policy.gates[name] for name in HELD)
        look = JudgeGates(EvidenceKind.LIVE, gates, 1, self.rollout.entered_at, DecisionThresholds())
        asked = evidence_requests("m", self.rollout, policy, look, self.now)
        return [one if evidence else replace(one, origin=None) for one in asked]

    def counter_questions(self, evidence: Mapping[str, Any]) -> list[EvidenceRequest]:
        """What the look at the second step asks of counters."""
        names = ("errors", "latency")
        policy = parse_policy(policy_of(evidence, {name: GATES[name] for name in names}))
        gates = tuple(policy.gates[name] for name in names)
        look = JudgeGates(EvidenceKind.LIVE, gates, 1, self.rollout.entered_at, DecisionThresholds())
        return list(evidence_requests("m", self.rollout, policy, look, self.now))

    def ask(self, config: Settings, evidence: Mapping[str, Any] | None = None) -> dict[str, Evidence]:
        """The evidence of each gate."""
        source = self.source(config)
        return {one.gate.name: source.gather(one) for one in self.questions(evidence)}

    def source(self, config: Settings) -> ImportedEvidence:
        """The port of evidence over a state folder, with two versions that are functions."""
        log = PredictionLog(config.log)
        models = {"1": Model(lambda row: row["x"]), "2": Model(lambda row: min(float(str(row["x"])) + 0.02, 1.0))}
        replay = OfflineReplay(log, lambda _model, version: models[version.number])
        own = PredictionLogEvidence(log, replay, lambda suite, table, _name: ValidationResult(suite, len(table), 1, ()))
        return ImportedEvidence(log, EvidenceImporter(config), own)


def later(question: EvidenceRequest, seconds: float) -> EvidenceRequest:
    """The same question, asked later."""
    return replace(question, until=question.until + seconds)
