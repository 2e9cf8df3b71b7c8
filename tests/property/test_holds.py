"""A hold ends when the policy says, however far away the next look is, and a look comes as often as it says."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.domain import Outcome
from surefoot.core.judging.evidence import Evidence, MissingEvidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.rollout import drive_rollout, open_promotion
from tests.fakes import POLICY, FakeClock, Scenario
from tests.scripted import scenario


class ExactClock(FakeClock):
    """Time passes exactly as long as somebody sleeps."""

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.real += seconds


def _policy(outcome: str, hold: int, every: int, then: str) -> dict[str, object]:
    steps = [
        {"shadow": {"window": "7d", "gates": ["errors"], "every": f"{every}s"}},
        {"weight": 50, "hold": {"for": "10m", "gates": ["errors"], "every": f"{every}s"}},
    ]
    on = {outcome: {"hold": f"{hold}s", "then": then}}
    data = {"suite": "m", "window": "7d", "every": f"{every}s"}
    bake = {"for": "1h", "gates": ["errors"], "every": f"{every}s"}
    return {**POLICY, "steps": steps, "on": on, "data": data, "bake": bake}


def _stuck(kind: str, outcome: Outcome, policy: dict[str, object]) -> Scenario:
    def play(question: EvidenceRequest) -> Evidence | None:
        return MissingEvidence(outcome, "planned") if question.kind == kind else None

    made = scenario(policy, play)
    made.clock = ExactClock()
    return made


@pytest.mark.parametrize("kind", ["data", "shadow", "live"])
@given(
    outcome=st.sampled_from([Outcome.NO_DATA, Outcome.ERROR, Outcome.STALE, Outcome.INCONCLUSIVE]),
    hold=st.integers(1, 4 * 3600),
    every=st.integers(5, 12 * 3600),
)
def test_a_hold_ends_when_it_says(kind: str, outcome: Outcome, hold: int, every: int) -> None:
    """Whatever the interval of looks, a wait of `on:` that is in vain ends the rollout at its end, and never before."""
    seen = _stuck(kind, outcome, _policy(outcome.value.lower(), hold, every, "rollback"))
    ports = seen.ports()
    open_promotion(ports, seen.request())
    drive_rollout(ports, "m", until=lambda ledger: not ledger.open, poll=1e9)
    entered = max(e.at for e in seen.journal.entries if e.kind == "StageEntered")
    live = [e.at for e in seen.journal.entries if e.kind == "EffectDone"][1:2]
    begun = live[0] + 600.0 if kind == "live" else entered
    (decided,) = [e for e in seen.journal.entries if e.kind == "EndDecided"]
    assert decided.at == pytest.approx(begun + hold, abs=0.01)


@given(every=st.integers(5, 12 * 3600))
def test_a_step_ends_when_its_hold_is_over(every: int) -> None:
    """A candidate that passes leaves its step at the end of the hold, not at the first look after it."""
    env = scenario(_policy("no_data", 60, every, "rollback"))
    env.clock = ExactClock()
    ports = env.ports()
    open_promotion(ports, env.request())
    drive_rollout(ports, "m", until=lambda ledger: not ledger.open, poll=1e9)
    entered = {str(e.data["stage"]): e.at for e in env.journal.entries if e.kind == "StageEntered"}
    assert entered["Promoting"] - entered["Ramping"] == pytest.approx(600.0, abs=0.01)
    (ended,) = [e.at for e in env.journal.entries if e.kind == "RolloutEnded"]
    assert ended - entered["Baking"] == pytest.approx(3600.0, abs=0.01)


@given(every=st.integers(5, 600))
def test_looks_come_as_often_as_the_policy_says(every: int) -> None:
    """Between two looks of a stage lies its `every`, but for the one that ends a hold."""
    seen = _stuck("shadow", Outcome.NO_DATA, _policy("no_data", 3600, every, "rollback"))
    ports = seen.ports()
    open_promotion(ports, seen.request())
    drive_rollout(ports, "m", until=lambda ledger: not ledger.open, poll=1e9)
    looks = [e.at for e in seen.journal.entries if e.kind == "GateJudged" and e.data["stage"] == "Shadowing"]
    gaps = [later - sooner for sooner, later in itertools.pairwise(looks)]
    assert gaps
    assert all(gap == pytest.approx(every, abs=0.01) for gap in gaps[:-1])
    assert gaps[-1] <= every + 0.01
