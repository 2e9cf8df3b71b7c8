"""What a policy is told about itself before any request has come."""

import math

import pytest

from surefoot.core.planning import Detectability, false_alarms_a_year, plan_policy
from surefoot.core.planning.detectability import find_smallest_detectable_harm
from surefoot.core.planning.distinct_units import distinct_units
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.violations import Violation
from tests.fakes import POLICY

LOSS = {"metric": "brier", "margin": 0.02, "labels": {"maturity": "12h"}, "expect": {"spread": 0.02}}


def policy(
    gates: dict[str, object], *, window: str = "30d", hold: str = "1h", rate: float = 600.0, **more: object
) -> Policy:
    """A policy of one shadow, two weights and a bake, in which every gate is asked wherever it can be."""
    live = [name for name, gate in gates.items() if gate["metric"] != "golden"]  # type: ignore[index]
    served = {"latency", "resource", "value", "missing_label"}
    replayed = [name for name, gate in gates.items() if gate["metric"] not in served]  # type: ignore[index]
    baked = [name for name in live if gates[name]["metric"] != "value"]  # type: ignore[index]
    gates = {**gates, "errors": {"metric": "error_rate", "margin": "1pp", "expect": {"rate": 0.02}}}
    return parse_policy(
        {
            **POLICY,
            "traffic": {"requests_per_minute": rate, **more},
            "gates": gates,
            "steps": [
                {"shadow": {"window": window, "gates": [*replayed, "errors"]}},
                {"weight": 5, "hold": {"for": hold, "gates": [*live, "errors"]}},
                {"weight": 50, "hold": {"for": hold, "gates": [*live, "errors"]}},
            ],
            "bake": {"for": "7d", "gates": [*baked, "errors"]},
        }
    )


def sight(found: tuple[Detectability, ...], step: str, gate: str) -> Detectability:
    """What one gate sees in one step."""
    return next(s for s in found if (s.step, s.gate) == (step, gate))


def test_more_traffic_finds_less_and_passes_sooner() -> None:
    """Ten times the traffic finds a smaller harm, passes more often, and needs a tenth of the time."""
    few, many = (sight(plan_policy(policy({}, rate=rate)), "weight 50 %", "errors") for rate in (60.0, 600.0))
    assert few.effect is not None
    assert many.effect is not None
    assert many.effect < few.effect
    assert few.passes is not None
    assert many.passes is not None
    assert many.passes > few.passes
    assert few.needs is not None
    assert many.needs is not None
    assert many.needs < few.needs


def test_nothing_below_the_margin_is_said_to_be_found() -> None:
    """A FAIL needs an estimate beyond the margin, so no smaller harm is promised, whatever the traffic."""
    found = sight(plan_policy(policy({}, rate=1e7)), "weight 50 %", "errors")
    assert found.effect == pytest.approx(1.5)
    assert found.finds == "3.00% instead of 2.00%"


def test_units_that_come_back_count_once() -> None:
    """Where units stick and few exist, an hour of many requests shows no more than the units there are."""
    found = sight(plan_policy(policy({}, units=500)), "weight 50 %", "errors")
    assert found.counts == "units"
    assert found.n == pytest.approx(500.0, rel=0.01)
    assert distinct_units(1000.0, 0.0) == 1000.0
    assert distinct_units(1000.0, 1e9) == pytest.approx(1000.0, rel=1e-5)


def test_a_step_that_is_too_short_is_warned_of() -> None:
    """A minute at 5 % cannot pass an equal candidate nor wait for it, and the plan says how long it should be."""
    short = sight(plan_policy(policy({}, hold="1m", rate=6.0)), "weight 5 %", "errors")
    assert "cannot fail" in short.warning or "passes in time" in short.warning
    assert short.needs is not None
    assert short.needs > short.lasts


def test_requests_that_never_come_are_warned_of() -> None:
    """A step that demands more requests than the planned traffic brings, even prolonged, is named."""
    value = {**POLICY, "traffic": {"requests_per_minute": 1.0}}
    value["steps"] = [{"weight": 50, "hold": {"for": "10m", "min_requests": 100_000, "gates": ["errors"]}}]
    found = plan_policy(parse_policy(value))
    assert "demands 100,000 requests" in sight(found, "weight 50 %", "errors").warning


def test_a_window_of_too_few_blocks_can_never_decide() -> None:
    """Losses by day in a window of three days are warned of, whatever the traffic."""
    slow = {**LOSS, "block": "7d"}
    assert "can never decide" in sight(plan_policy(policy({"quality": slow})), "shadow", "quality").warning
    assert not sight(plan_policy(policy({"quality": LOSS})), "shadow", "quality").warning


def test_without_a_spread_no_effect_is_promised() -> None:
    """What only the past knows is not guessed for a loss."""
    bare = {key: item for key, item in LOSS.items() if key != "expect"}
    found = sight(plan_policy(policy({"quality": bare})), "shadow", "quality")
    assert found.effect is None
    assert "spread" in found.assumes
    assert found.n == 28


def test_a_margin_of_nothing_asks_for_a_better_candidate() -> None:
    """Where the margin is zero the plan says by how much a candidate must be better to pass."""
    found = sight(plan_policy(policy({"quality": {**LOSS, "margin": 0}})), "shadow", "quality")
    assert "must be better by" in found.assumes
    assert found.passes is None


def test_a_longer_window_finds_less_of_a_loss() -> None:
    """Three times the days show a smaller loss; a window that proves its margin is not warned of."""
    short, long = (sight(plan_policy(policy({"quality": LOSS}, window=w)), "shadow", "quality") for w in ("15d", "45d"))
    assert short.effect is not None
    assert long.effect is not None
    assert long.effect <= short.effect
    assert not long.warning


def test_every_kind_of_gate_has_its_line() -> None:
    """Latencies, values, shifts and limits are planned too; golden rows are exact and need no plan."""
    gates: dict[str, object] = {
        "latency": {"metric": "latency", "quantile": [0.5, 0.99], "margin": "20%"},
        "memory": {"metric": "resource", "column": "rss_mb", "margin": "20%", "expect": {"spread": 0.1}},
        "money": {"metric": "value", "cap": 100, "margin": "5%", "labels": {"maturity": "1h"}, "expect": {"mean": 4}},
        "inputs": {"metric": "input_shift", "against": "champion"},
        "scores": {"metric": "prediction_shift", "max": 0.1},
        "slo": {"metric": "error_rate", "max": 0.05, "expect": {"rate": 0.02}},
        "calibration": {"metric": "ece", "max": 0.1, "labels": {"maturity": "1h"}},
        "golden": {"metric": "golden"},
    }
    found = plan_policy(policy(gates))
    latency, memory = (sight(found, "weight 50 %", name) for name in ("latency", "memory"))
    assert latency.finds.endswith("times the champion's p99")
    assert "assuming a spread" in latency.assumes
    assert memory.assumes == "counting each request as another unit (traffic: {units: ...})"
    assert latency.effect is not None
    assert memory.effect is not None
    assert latency.effect >= 1.2
    assert sight(found, "weight 50 %", "money").finds.endswith("instead of 4")
    assert "another value on" in sight(found, "shadow", "inputs").finds
    assert "a distance of" in sight(found, "shadow", "scores").finds
    assert sight(found, "weight 50 %", "slo").effect == pytest.approx(2.5, rel=0.2)
    assert "limit" in sight(found, "shadow", "calibration").assumes
    assert not [s for s in found if s.gate == "golden"]


def test_a_shift_that_few_requests_cannot_prove_is_warned_of() -> None:
    """A hundred requests cannot show that one in a hundred inputs at most differs."""
    gates: dict[str, object] = {"inputs": {"metric": "input_shift", "against": "champion"}}
    found = sight(plan_policy(policy(gates, window="100m", rate=1.0)), "shadow", "inputs")
    assert "cannot pass" in found.warning


def test_false_rollbacks_a_year_follow_from_budget_and_bake() -> None:
    """Half of a budget of 1 % for a bake of a week is a quarter of a false rollback a year, at most."""
    assert false_alarms_a_year(policy({})) == pytest.approx(0.005 * 365.25 / 7.0)


def test_the_smallest_harm_is_where_the_chance_is_reached() -> None:
    """The search finds the edge, and says infinite where there is none."""
    assert find_smallest_detectable_harm(lambda x: float(x >= 3.0), 1.0, 50.0) == pytest.approx(3.0)
    assert find_smallest_detectable_harm(lambda _: 0.5, 1.0, 50.0) == math.inf


def test_a_value_in_a_bake_is_refused() -> None:
    """In a bake only one version serves, so a policy that compares what both bring in there is wrong."""
    value = {
        **POLICY,
        "gates": {
            **POLICY["gates"],
            "money": {"metric": "value", "cap": 1, "margin": "5%", "labels": {"maturity": "1h"}},
        },
        "bake": {"for": "1d", "gates": ["money"]},
    }
    with pytest.raises(Violation, match="in a bake only one serves"):
        parse_policy(value)


@pytest.mark.parametrize("expect", [{"rate": 0}, {"rate": 1.5}, {"spread": 0.1}, {}])
def test_expectations_that_are_none_are_refused(expect: dict[str, object]) -> None:
    """An expected rate is a probability, and a rate has no spread."""
    with pytest.raises(Violation, match=r"gates\.errors\.expect"):
        parse_policy(
            {
                **POLICY,
                "gates": {**POLICY["gates"], "errors": {"metric": "error_rate", "margin": "1pp", "expect": expect}},
            }
        )
