"""Simulate verdicts on latency, shadow answers, revenue and late outcomes (rows 14 to 17 of the bench's table)."""

import math

import numpy as np

from bench.judging import ours, rivals, values
from bench.judging.table import Row, SimulationPlan
from bench.judging.traffic import EVEN_SPLIT, RAMP, Scene, simulate_requests

_MATURITY = 10_000
"""Requests after which an outcome is taken to be known."""
SOON, LATE = 200.0, 4_000.0
"""Mean delays of an outcome, and of the candidate's bad ones [requests]."""


def _delayed(scene: Scene, rng: np.random.Generator) -> dict[str, float]:
    """Verdicts on outcomes counted when they mature, and in the order in which they arrive; rivals see the latter."""
    outcomes = simulate_requests(scene, rng)
    delay = rng.exponential(np.where(outcomes == 0, LATE, SOON), scene.length)
    arrived = np.argsort(np.arange(scene.length) + np.minimum(delay, _MATURITY), kind="stable")
    inflow = outcomes[arrived]
    return {
        "fails": ours.find_fail(scene, outcomes) + _MATURITY,
        "passes": ours.find_pass(scene, outcomes, guess=scene.rate) + _MATURITY,
        "passes on arrival": ours.find_pass(scene, inflow, guess=scene.rate),
        **rivals.find_rival_alarms(scene, inflow),
    }


def _first_verdict(one: dict[str, float]) -> dict[str, float]:
    """What is decided first: a candidate that failed does not pass any more, and the other way round."""
    fails, passes = one["fails"], one["passes"]
    early = one["passes on arrival"]
    return {
        **one,
        "fails": fails if fails <= passes else math.inf,
        "passes": passes if passes < fails else math.inf,
        "passes on arrival": early if early < fails else math.inf,
    }


def _delays(plan: SimulationPlan) -> list[Row]:
    what = "1.5 times the errors, which arrive late"
    found = [_first_verdict(one) for one in plan.each(what, _delayed, Scene(EVEN_SPLIT, 0.02, 1.5), 1000, 80)]
    passes = [{name: one[name] for name in ("passes", "passes on arrival")} for one in found]
    return [
        plan.rate(17, f"{what}: pass, counted when they mature", passes, most=0.01, key="passes"),
        plan.rate(17, f"{what}: pass, counted as they arrive", passes, key="passes on arrival"),
        plan.rate(17, f"{what}: fail", found, least=0.99, key="fails"),
    ]


def rows(plan: SimulationPlan) -> list[Row]:
    """Every row of this kind."""
    what = "latency, 50/50: the same"
    made = [plan.rate(14, what, plan.each(what, values.find_latency_alarms, values.LatencyScene(), 600, 60), most=0.01)]
    for what, speed, most in (
        ("latency, 50/50: 10 % slower", values.LatencyScene(1.1, length=40_000), 3_600),
        ("latency, 50/50: 20 % slower", values.LatencyScene(1.2, length=40_000), 1_000),
        ("latency, 50/50: 50 % slower", values.LatencyScene(1.5, length=40_000), 220),
        ("latency, 50/50: 2 % stall", values.LatencyScene(stalls=True, length=40_000), 1_400),
    ):
        made.append(plan.quantile(14, what, plan.each(what, values.find_latency_alarms, speed, 300, 60), most))
    for what, answers, most in (
        ("shadow, 3 % apart: 1 point less accurate", values.AnswerScene(0.01), 8_200),
        ("shadow, 3 % apart: 2 points less accurate", values.AnswerScene(0.02), 2_100),
        ("shadow, 3 % apart: 5 points less accurate", values.AnswerScene(0.05), 460),
    ):
        made.append(
            plan.quantile(15, what, plan.each(what, values.find_answer_alarms, answers, 1000, 200), most, unit="labels")
        )
    what = "shadow, 3 % apart: equally accurate, passes at 1 point"
    alone = [
        {"pass": one["pass"]} for one in plan.each(what, values.find_answer_alarms, values.AnswerScene(), 1000, 200)
    ]
    made.append(plan.quantile(15, what, alone, 4_300, key="pass", unit="labels"))
    what = "revenue, A/A, ramp"
    made.append(plan.rate(16, what, plan.each(what, values.find_revenue_alarms, Scene(RAMP, 0.05), 600, 60), most=0.01))
    return [*made, *_delays(plan)]
