"""A rollout mirrors requests to real models behind a real gateway: what is worse live is stopped by its own gate."""

import contextlib
import http.client
import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.evidence.mirrored_answers import MirroredAnswers
from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import EvidenceKind, Stage
from surefoot.core.journal.events import GateJudged, decode_event
from surefoot.core.journal.ledger import Ledger
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import Evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.reverify import reverify
from surefoot.core.policy.policy_types import Metric
from surefoot.rollout import Ports, PromotionRequest, adopt_champion, drive_rollout, end_rollout, open_promotion
from tests.fakes import SAME_SHAPE, FakeRegistry, Faults
from tests.integration.gateway_harness import ROW, Gateway, listening, save_pyfunc
from tests.integration.model_forkserver import ForkedModels, running_forkserver
from tests.integration.waiting import wait_for
from tests.sweeps import in_turns

CHAMPION, EQUAL, WAITS, BURNS, LEAKS, DIFFERS = "41", "42", "43", "44", "45", "46"
NUMBERS = (CHAMPION, EQUAL, WAITS, BURNS, LEAKS, DIFFERS)
SPEED = 60.0
"""How many times as fast as the host's the clock of the gateway and of the rollout goes."""
EASY = "1000%"
"""A margin that a busy host does not reach, and that these candidates do."""
PAST = 80
"""Requests of the champion before any rollout, whose costs are its past [count]."""
POLICY: dict[str, Any] = {
    "model": "flights",
    "unit": "unit",
    "traffic": {"requests_per_minute": 60, "stale_after": "7d"},
    "data": {"suite": "m"},
    "gates": {
        "errors": {"metric": "error_rate", "margin": "20pp"},
        "speed": {"metric": "latency", "margin": EASY, "quantile": 0.9},
        "cpu": {"metric": "resource", "column": "cpu_ms", "margin": EASY, "quantile": 0.9},
        "memory": {"metric": "gauge", "column": "rss_mb", "margin": "30%", "block": "30s"},
        "same": {"metric": "disagreement", "max": 0.2, "block": "60s"},
    },
    "steps": [
        {
            "shadow": {
                "source": "live",
                "share": 60,
                "for": "8m",
                "min_requests": 40,
                "every": "90s",
                "gates": ["errors", "cpu", "speed", "memory", "same"],
            }
        },
        {"weight": 50, "hold": {"for": "1h", "gates": ["errors"]}},
    ],
    "bake": {"for": "1h", "gates": ["errors"]},
    "on": dict.fromkeys(("inconclusive", "no_data", "stale", "error", "baseline_unhealthy"), "hold"),
}
RARE = 20
"""Requests for each time that a model grows: the time of its new pages stays out of the cpu gate's p90 [count]."""
CALLERS_Y = 2.125
"""Value of a column that tells callers' rows from those that a model is warmed with and probed with."""


def candidates() -> dict[str, Callable[[pd.DataFrame], object]]:
    """What each version answers; functions inside a function are saved whole, so no process needs this module."""
    kept: list[bytearray] = []
    asked: list[None] = []

    def is_live(frame: pd.DataFrame) -> bool:
        return bool((frame["y"] == CALLERS_Y).any())

    def waits(frame: pd.DataFrame) -> object:
        if is_live(frame):
            time.sleep(0.08)
        return frame["x"]

    def burns(frame: pd.DataFrame) -> object:
        until = time.process_time() + 0.08 * is_live(frame)
        while time.process_time() < until:
            pass
        return frame["x"]

    def leaks(frame: pd.DataFrame) -> object:
        if is_live(frame) and len(asked) < 240:
            if len(asked) % RARE == 0:
                kept.append(bytearray(b"x") * 40_000_000)
            asked.append(None)
        return frame["x"]

    def equal(frame: pd.DataFrame) -> object:
        return frame["x"]

    def differs(frame: pd.DataFrame) -> object:
        return 1.0 - frame["x"] if is_live(frame) else frame["x"]

    return {CHAMPION: equal, EQUAL: equal, WAITS: waits, BURNS: burns, LEAKS: leaks, DIFFERS: differs}


@dataclass
class FastClock:
    """The host's time, faster."""

    began: float = field(default_factory=time.time)

    def now(self) -> float:
        """Unix seconds, of which SPEED pass in one of the host's."""
        return self.began + (time.time() - self.began) * SPEED

    def monotonic(self) -> float:
        """The host's own [s]."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait so long by the host's clock."""
        time.sleep(min(seconds, 0.2))


@dataclass
class Callers:
    """A caller that asks one request after the other, and what came back.

    Attributes:
        asked: Requests [count].
        wrong: Answers that are no answer of the champion.
    """

    url: str
    asked: int = 0
    wrong: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until it is enough."""
        with contextlib.closing(http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)) as connection:
            while not self.done.wait(0.03):
                x = (self.asked % 2) / 2.0 + 0.25
                body = {"dataframe_records": [{**ROW, "unit": f"u{self.asked}", "x": x, "y": CALLERS_Y}]}
                connection.request("POST", "/models/flights/invocations", json.dumps(body))
                reply = connection.getresponse()
                said = reply.read()
                self.asked += 1
                if reply.status != 200 or json.loads(said) != {"predictions": [x]}:
                    self.wrong.append(f"{reply.status} {said!r}")


class LiveEvidence:
    """The evidence of the log; only the data of the past, which no caller has sent here, is taken as good."""

    def __init__(self, log: PredictionLog) -> None:
        never: Any = None
        self._source = PredictionLogEvidence(log, never, never, MirroredAnswers(log))

    def gather(self, question: EvidenceRequest) -> Evidence:
        """Measure."""
        if question.kind is EvidenceKind.DATA:
            return SAME_SHAPE if question.gate.metric is Metric.ANSWER_SHAPE else ValidationResult("m", 100, 3, ())
        return self._source.gather(question)


@dataclass
class Live:
    """A gateway with a champion that is asked, and the ports of a rollout."""

    gateway: Gateway
    callers: Callers
    ports: Ports

    def promote(self, number: str, until: Callable[[Ledger], bool]) -> Ledger:
        """Promote a version until something holds or the rollout has ended."""
        open_promotion(self.ports, PromotionRequest(POLICY, "sha256:suite", number, "a test asks"))
        return drive_rollout(self.ports, "flights", until=lambda ledger: not ledger.open or until(ledger))

    def verdicts(self, rollout: str) -> dict[str, GateJudged]:
        """The last answer of each gate in the live shadow."""
        events = [decode_event(entry.kind, entry.data) for entry in self.ports.journal.read("flights")]
        judged = [event for event in events if isinstance(event, GateJudged) and event.rollout == rollout]
        return {event.verdict.gate: event for event in judged if event.stage is Stage.LIVE_SHADOWING}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A champion that callers ask, in processes as the gateway starts them."""
    root = tmp_path_factory.mktemp("live")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        for number, model in candidates().items():
            save_pyfunc(root / "models" / number, model)
    clock, registry = FastClock(), FakeRegistry(Faults())
    journal = SqlJournal(f"sqlite:///{root}/journal.db", SystemClock())
    with running_forkserver() as forkserver:
        models = ForkedModels(root / "models", forkserver)
        registry.versions = {number: models.version(number) for number in NUMBERS}
        registry.aliases = {"champion": CHAMPION}
        with listening(root, models, clock=clock) as gateway:
            log = PredictionLog(root / "log")
            ports = Ports(journal, registry, gateway.traffic, LiveEvidence(log), clock, "test")
            adopt_champion(ports, "flights")
            callers = Callers(gateway.url)
            thread = threading.Thread(target=callers.run)
            thread.start()
            try:
                wait_for(lambda: callers.asked >= PAST)
                yield Live(gateway, callers, ports)
            finally:
                callers.done.set()
                thread.join()
                journal.close()


@pytest.mark.parametrize(
    ("number", "gate"),
    in_turns(
        [(WAITS, "speed"), (BURNS, "cpu"), (LEAKS, "memory"), (DIFFERS, "same")], lambda one: one[0] in {WAITS, DIFFERS}
    ),
    ids=["waits", "burns", "leaks", "differs"],
)
def test_what_is_worse_live_is_stopped_by_its_own_gate(live: Live, number: str, gate: str) -> None:
    """A candidate that is fine offline is rejected in its live shadow by the gate for its fault; no caller notices."""
    ledger = live.promote(number, lambda ledger: bool(ledger.rollout and ledger.rollout.stage is Stage.RAMPING))
    rollout = tuple(ledger.rollouts.values())[-1]
    assert (rollout.stage, rollout.ending and rollout.ending.gate) == (Stage.REJECTED, gate), rollout.reason
    served = live.gateway.traffic.live("flights")
    assert served is not None
    assert (served.champion.number, served.candidate, served.mirror) == (CHAMPION, None, 0.0)
    assert live.callers.wrong == []


def test_an_equal_candidate_passes_to_the_next_step(live: Live) -> None:
    """One as good as the champion passes every gate of its live shadow, and its verdicts can be judged again."""
    ledger = live.promote(EQUAL, lambda ledger: bool(ledger.split and ledger.split.weight))
    rollout = tuple(ledger.rollouts.values())[-1]
    assert rollout.stage is Stage.RAMPING, rollout.reason
    found = live.verdicts(rollout.opened.rollout)
    assert {name: str(event.verdict.outcome) for name, event in found.items()} == dict.fromkeys(
        ("errors", "speed", "cpu", "memory", "same", "answer_shape"), "PASS"
    )
    end_rollout(live.ports, "flights", Stage.ABORTED, "the test is over")
    drive_rollout(live.ports, "flights", until=lambda ledger: not ledger.open)
    assert [one for one in reverify(live.ports.journal.read("flights")) if one.problem] == []
    assert live.callers.wrong == []
    assert live.callers.asked > 40
