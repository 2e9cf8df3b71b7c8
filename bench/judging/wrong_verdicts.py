"""Simulate how often good candidates are rolled back, and how often bad ones pass."""

import math
from dataclasses import replace

import numpy as np
from scipy import stats

from bench.judging import ours, rivals
from bench.judging.table import Row, SimulationPlan
from bench.judging.traffic import EVEN_SPLIT, RAMP, Scene, simulate_requests

_BASES = (0.005, 0.02, 0.1)
_METRICS = (0.005, 0.01, 0.02, 0.02, 0.05, 0.05, 0.1, 0.3)
"""Rates of bad events of eight metrics of the same requests."""
_BREAK = 190_000
"""Request at which a good candidate breaks."""


def _equal(scene: Scene, rng: np.random.Generator) -> dict[str, float]:
    """Alarms of every method; ours without the estimate that a verdict asks for besides."""
    outcomes = simulate_requests(scene, rng)
    return {"ours": ours.find_fail(scene, outcomes, guarded=False), **rivals.find_rival_alarms(scene, outcomes)}


def find_fail_verdicts(scene: Scene, rng: np.random.Generator) -> dict[str, float]:
    """Verdicts of FAIL and alarms, with how many of the candidate's requests came until then."""
    outcomes = simulate_requests(scene, rng)
    at = ours.find_fail(scene, outcomes)
    mine = float((outcomes[: int(at)] < 2).sum()) if math.isfinite(at) else math.inf
    return {"ours": at, "exposed": mine, **rivals.find_rival_alarms(scene, outcomes)}


def _broken_split(scene: Scene, rng: np.random.Generator) -> dict[str, float]:
    """The same with a split that is not what was asked for: an alarm of the split withholds the verdict."""
    outcomes = simulate_requests(scene, rng)
    at, health = ours.find_fail(scene, outcomes, guarded=False), ours.find_broken_split(scene, outcomes)
    return {"ours": at if at < health else math.inf, "split": health, **rivals.find_rival_alarms(scene, outcomes)}


def _late(scene: Scene, rng: np.random.Generator) -> dict[str, float]:
    """Requests from the break to the verdict; an alarm before the break is none."""
    found = find_fail_verdicts(scene, rng)
    return {name: at - scene.breaks_at if at > scene.breaks_at else math.inf for name, at in found.items()}


def _eight(scene: Scene, rng: np.random.Generator) -> dict[str, float]:
    """The first alarm of eight correlated metrics; ours with an eighth of the budget each."""
    n = scene.length
    mine = rng.random(n) < scene.shares
    common = rng.standard_normal(n)
    made: dict[str, float] = {}
    for rate in _METRICS:
        each = replace(scene, rate=rate)
        draw = math.sqrt(0.5) * common + math.sqrt(0.5) * rng.standard_normal(n)
        good = draw >= stats.norm.ppf(rate)
        outcomes = (2 * ~mine + good).astype(np.intp)
        found = {
            "ours": ours.find_fail(each, outcomes, alpha=ours.ALPHA / len(_METRICS), guarded=False),
            **rivals.find_rival_alarms(each, outcomes),
        }
        made = {name: min(at, made.get(name, math.inf)) for name, at in found.items()}
    return made


def _on_the_limit(case: tuple[Scene, float], rng: np.random.Generator) -> dict[str, float]:
    """Whether a candidate exactly on the limit passes; a rival promotes what it raised no alarm for."""
    scene, guess = case
    outcomes = simulate_requests(scene, rng)
    quiet = {
        name: 0.0 if math.isinf(at) else math.inf for name, at in rivals.find_rival_alarms(scene, outcomes).items()
    }
    return {"ours": ours.find_pass(scene, outcomes, guess=guess), **quiet}


def rows(plan: SimulationPlan) -> list[Row]:
    """Every row of this kind."""
    made = []
    for name, stages in (("ramp", RAMP), ("50/50", EVEN_SPLIT)):
        for rate in _BASES:
            what = f"A/A, {name}, {rate:.1%} errors, looked at after every request"
            found = plan.each(what, _equal, Scene(stages, rate), 2000, 120)
            made.append(plan.rate(1, what, found, most=0.015))
    what = "A/A, eight metrics, correlation 0.5"
    made.append(plan.rate(2, what, plan.each(what, _eight, Scene(RAMP, 0.02), 1000, 30), most=0.01))
    what = "A/A, baseline rising from 0.4 to 1.6 times during the ramp"
    made.append(plan.rate(3, what, plan.each(what, _equal, Scene(RAMP, 0.02, shape="rising"), 1000, 100), most=0.015))
    what = "A/A, the candidate gets 10 % more than configured"
    found = plan.each(what, _broken_split, Scene(RAMP, 0.02, skew=0.1), 600, 60)
    made.append(plan.rate(4, what, found, most=0.015))
    alone = [{"split": one["split"]} for one in found]
    made.append(plan.quantile(4, "the broken split is named", alone, 100_000, key="split"))
    for rate in _BASES:
        line = Scene(EVEN_SPLIT, rate, ours.GROWTH, ours.POINTS)
        for factor in (1.0, 2.0):
            guessed = "" if factor == 1.0 else ", baseline guessed twice too high"
            what = f"exactly on the limit, {rate:.1%} errors, passes{guessed}"
            found = plan.each(what, _on_the_limit, (line, rate * factor), 2000, 100)
            made.append(plan.rate(5, what, found, most=0.05))
    what = "twice the errors from request 190,000 of 240,000 on: until the verdict"
    found = plan.each(what, _late, Scene(RAMP, 0.02, 2.0, breaks_at=_BREAK), 600, 60)
    made.append(plan.quantile(13, what, found, 7_000))
    return made
