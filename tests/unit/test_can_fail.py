"""A setting under which nothing can fail is refused."""

import pytest

from surefoot.core.domain import Outcome
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.vacuous_settings import vacuous_settings
from surefoot.core.policy.violations import Violation
from tests.fakes import POLICY
from tests.gates import gate_of

LABELS = {"maturity": "1h"}
IDLE: list[dict[str, object]] = [
    {"metric": "error_rate", "margin": "100pp"},
    {"metric": "missing_label", "margin": 1, "labels": LABELS},
    {"metric": "zero_one", "margin": "100pp", "labels": LABELS},
    {"metric": "brier", "margin": 1.5, "labels": LABELS},
    {"metric": "brier", "margin": 2, "labels": LABELS, "classes": ["a", "b", "c"]},
    {"metric": "auc", "max": 1, "labels": LABELS},
    {"metric": "ece", "max": 1.0, "labels": LABELS},
    {"metric": "tpr_gap", "margin": 1, "labels": LABELS, "by": "sex"},
    {"metric": "disagreement", "max": 1},
    {"metric": "prediction_shift", "max": 1},
    {"metric": "input_shift", "max": 1},
    {"metric": "value", "cap": 10, "floor": -10, "margin": 20, "labels": LABELS},
]
BUSY: list[dict[str, object]] = [
    {"metric": "error_rate", "margin": "500%"},
    {"metric": "error_rate", "margin": "100pp", "max": 0.5},
    {"metric": "brier", "margin": 1.5, "labels": LABELS, "classes": ["a", "b", "c"]},
    {"metric": "auc", "max": 0.99, "labels": LABELS},
    {"metric": "squared_error", "margin": 1e6, "labels": LABELS},
]


def refuse_vacuous(policy: Policy) -> None:
    """Raise the first setting under which nothing can fail."""
    for violation in vacuous_settings(policy.gates.values(), policy.on[Outcome.FAIL]):
        raise violation


def policy(gate: dict[str, object]) -> Policy:
    """A policy with one more gate."""
    stage = {"bake": {"for": "1h", "gates": ["errors", "g"]}}
    if gate["metric"] == "value":
        steps = [{"weight": 5, "hold": {"for": "10m", "gates": ["errors", "g"]}}]
        stage = {"steps": steps}  # type: ignore[dict-item]
    return parse_policy({**POLICY, "gates": {**POLICY["gates"], "g": gate}, **stage})


@pytest.mark.parametrize("idle", IDLE, ids=str)
def test_a_gate_that_no_candidate_could_fail_is_refused(idle: dict[str, object]) -> None:
    """A margin or a limit as large as the metric ever gets is refused by name."""
    with pytest.raises(Violation, match="nothing could fail"):
        refuse_vacuous(policy(idle))


@pytest.mark.parametrize("busy", BUSY, ids=str)
def test_a_wide_gate_is_a_gate(busy: dict[str, object]) -> None:
    """However wide, what some candidate can fail is let pass."""
    refuse_vacuous(policy(busy))


def test_a_fail_that_waits_for_ever_is_refused() -> None:
    """`fail: hold` never acts; a hold with an end does."""
    with pytest.raises(Violation, match="lets nothing fail"):
        refuse_vacuous(parse_policy({**POLICY, "on": {"fail": "hold"}}))
    refuse_vacuous(parse_policy({**POLICY, "on": {"fail": {"hold": "1h", "then": "rollback"}}}))


@pytest.mark.parametrize("metric", ["input_shift", "prediction_shift"])
def test_a_shift_whose_blocks_have_no_length_is_refused(metric: str) -> None:
    """Every look at such a gate is an ERROR: a level for each block needs the length of a block."""
    with pytest.raises(Violation, match=r"gates\.g\.block: must be above 0s"):
        refuse_vacuous(policy({"metric": metric, "max": 0.1, "block": "0s"}))


def test_a_policy_of_an_old_journal_is_still_read() -> None:
    """What was opened before these rules can still be folded, driven and judged again."""
    assert gate_of(policy(IDLE[0]), "g").margin == 1.0
    assert parse_policy({**POLICY, "on": {"fail": "hold"}}).on[Outcome.FAIL]
