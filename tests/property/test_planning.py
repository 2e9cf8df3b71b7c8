"""What a plan promises comes true: its chances against simulated rollouts through the judge."""

import itertools

import numpy as np
import pytest

from surefoot.core.domain import Outcome
from surefoot.core.gates.bad_event_rate import MAX_EPOCHS
from surefoot.core.judging.evidence import BadEventCounts, BadEventStratum
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds, choose_margin_multiple
from surefoot.core.planning import plan_policy
from surefoot.core.planning.alpha_per_gate import compute_alpha_per_guardrail
from surefoot.core.policy.parse import parse_policy
from tests.fakes import POLICY
from tests.sweeps import EVERYTHING, in_turns

RUNS = 150 if EVERYTHING else 75
LOOKS = 12


def ramp(rate: float, minutes: int) -> dict[str, object]:
    """A policy of two weights."""
    return {
        **POLICY,
        "unit": "user",
        "gates": {"errors": {"metric": "error_rate", "margin": "0.5pp", "expect": {"rate": 0.02}}},
        "traffic": {"requests_per_minute": rate},
        "steps": [
            {"weight": 5, "hold": {"for": f"{minutes}m", "gates": ["errors"]}},
            {"weight": 50, "hold": {"for": f"{minutes}m", "gates": ["errors"]}},
        ],
        "bake": {"for": "1d", "gates": ["errors"]},
    }


def ends(value: dict[str, object], times: float, seed: int) -> tuple[float, float]:
    """Share of simulated rollouts that fail by the end of the ramp, and share that pass at its end."""
    policy, random = parse_policy(value), np.random.default_rng(seed)
    gate, alpha = policy.gates["errors"], compute_alpha_per_guardrail(policy, ["errors"])
    n = round(policy.requests_per_minute * policy.ramp[0].hold / 60.0 / LOOKS)
    failed = passed = 0
    for _ in range(RUNS):
        strata: list[BadEventStratum] = []
        for look, (step, _at) in enumerate(itertools.product(policy.ramp, range(LOOKS))):
            share = step.weight / 100.0
            mine = int(random.binomial(n, share))
            bad, old = int(random.binomial(mine, 0.02 * times)), int(random.binomial(n - mine, 0.02))
            epoch = look * MAX_EPOCHS // (2 * LOOKS)
            strata.append(BadEventStratum(share, bad, mine - bad, old, n - mine - old, epoch))
            level = DecisionThresholds(alpha, allowance=choose_margin_multiple(step.weight))
            verdict = judge(gate, BadEventCounts(tuple(strata), 0.02, "unit", 10**6), level)
            if verdict.outcome is Outcome.FAIL:
                failed += 1
                break
        else:
            passed += verdict.outcome is Outcome.PASS
    return failed / RUNS, passed / RUNS


def test_the_smallest_harm_is_found_about_as_often_as_promised() -> None:
    """A candidate of just the smallest harm that is found with 80 % fails in 65 % to 95 % of simulated ramps."""
    value = ramp(600.0, 30)
    promised = next(s for s in plan_policy(parse_policy(value)) if s.step == "weight 50 %")
    assert promised.effect is not None
    found, _ = ends(value, promised.effect, seed=3)
    assert 0.65 <= found <= 0.95


@pytest.mark.parametrize("minutes", in_turns([30, 90], lambda minutes: minutes == 30))
def test_an_equal_candidate_passes_about_as_often_as_promised(minutes: int) -> None:
    """The chance to pass by the end of the ramp is that of simulated ramps, within 15 points."""
    value = ramp(600.0, minutes)
    promised = next(s for s in plan_policy(parse_policy(value)) if s.step == "weight 50 %")
    assert promised.passes is not None
    failed, passed = ends(value, 1.0, seed=4)
    assert passed == pytest.approx(promised.passes, abs=0.15)
    assert failed <= 0.04
