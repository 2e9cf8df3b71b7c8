"""Simulate how soon a bad candidate is rolled back and a good one promoted (table rows 6 to 12 and 18)."""

import math

import numpy as np

from bench.judging import advance, rivals
from bench.judging.table import RIVAL_NAMES, Row, SimulationPlan, quantile
from bench.judging.traffic import EVEN_SPLIT, RAMP, Scene, simulate_requests
from bench.judging.wrong_verdicts import find_fail_verdicts
from surefoot.core.stats.power import detection_chance_by_events

_SHORT = ((0.5, 60_000),)
"""An even split, long enough for what is looked for."""
_NEEDED_EVENTS = 6_000
"""Bad events within which every ratio of row 10 is found half of the time."""


def _promoted(scene: Scene, rng: np.random.Generator) -> dict[str, float]:
    """Request of the promotion; a rival promotes at the end of the ramp what it raised no alarm for."""
    quiet = {
        name: float(scene.length) if math.isinf(at) else math.inf
        for name, at in rivals.find_rival_alarms(scene, simulate_requests(scene, rng)).items()
        if name != "SPRT"
    }
    done, back = advance.simulate_rollout(scene, rng)
    return {"ours": done, "back": back, **quiet}


def _wald(ratio: float, share: float, level: float = 0.01) -> float:
    """Events until a test that knows the ratio is done, on average [count].

    Source: Wald (1945), Annals of Mathematical Statistics 16(2): ln(1/level) over the divergence of an event.
    """
    null, true = share, share * ratio / (share * ratio + 1.0 - share)
    nats = true * math.log(true / null) + (1.0 - true) * math.log((1.0 - true) / (1.0 - null))
    return math.log(1.0 / level) / nats


def _median_events(ratio: float, share: float, level: float = 0.01) -> int:
    """Events by which half of the rollouts are rolled back, exactly."""
    low, high = 1, _NEEDED_EVENTS
    while low < high:
        middle = (low + high) // 2
        if detection_chance_by_events(share, ratio, middle, level) >= 0.5:
            high = middle
        else:
            low = middle + 1
    return low


def _times(plan: SimulationPlan) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """Rows 6 to 9, and the medians of every method by scene."""
    made = []
    medians: dict[str, dict[str, float]] = {}
    scenes = (
        (6, "twice the errors, 50/50, 2 %", Scene(EVEN_SPLIT, 0.02, 2.0), 3_200),
        (7, "twice the errors, ramp, 2 %", Scene(RAMP, 0.02, 2.0), 65_000),
        (8, "five times the errors, 50/50, 2 %", Scene(EVEN_SPLIT, 0.02, 5.0), 400),
        (8, "five times the errors, ramp, 2 %", Scene(RAMP, 0.02, 5.0), 8_000),
        (9, "1.5 times the errors, 50/50, 2 %", Scene(EVEN_SPLIT, 0.02, 1.5), 11_500),
        (9, "twice the errors, 50/50, 0.5 %", Scene(EVEN_SPLIT, 0.005, 2.0), 13_000),
        (9, "twice the errors, 50/50, 10 %", Scene(_SHORT, 0.1, 2.0), 650),
    )
    for number, name, scene, most in scenes:
        found = plan.each(name, find_fail_verdicts, scene, 1000, 80)
        made.append(plan.quantile(number, f"{name}: until the verdict, median", found, most))
        if number == 6:
            made.append(plan.quantile(6, f"{name}: until the verdict, nine of ten", found, 6_500, q=0.9))
        if number == 7:
            alone = [{"exposed": one["exposed"]} for one in found]
            made.append(plan.quantile(7, f"{name}: requests of the candidate until then", alone, 750, key="exposed"))
        medians[name] = {key: quantile([one[key] for one in found]) for key in ("ours", *RIVAL_NAMES)}
    return made, medians


def _ratios(plan: SimulationPlan, medians: dict[str, dict[str, float]]) -> list[Row]:
    """Rows 10 and 11."""
    made = []
    for ratio in (1.2, 1.5, 2.0, 5.0):
        plan.seen(f"exact chances at {ratio} times the rate")
        value = _median_events(ratio, 0.5) / _wald(ratio, 0.5)
        made.append(
            Row(10, f"events, median over Wald's mean bound, {ratio:g} times", "ratio", value, "<= 1.25", value <= 1.25)
        )
    for name, least in (("twice the errors, ramp, 2 %", 1.5), ("twice the errors, 50/50, 2 %", 3.0)):
        ratio = medians[name]["Kayenta"] / medians[name]["ours"]
        made.append(Row(11, f"Kayenta's median over ours, {name}", "ratio", ratio, f">= {least}", ratio >= least))
    return made


def rows(plan: SimulationPlan) -> list[Row]:
    """Every row of this kind."""
    made, medians = _times(plan)
    made += _ratios(plan, medians)
    for number, what, scene, most in (
        (12, "an equal candidate, 2 % errors by day and night", Scene(RAMP, 0.02, shape="day"), 75_000),
        (18, "an equal candidate, one error in 100,000", Scene(RAMP, 1e-5), 55_000),
    ):
        found = plan.each(what, _promoted, scene, 1000 if number == 12 else 300, 100)
        if number == 12:
            made.append(plan.rate(number, f"{what}: promoted within 240,000 requests", found, least=0.98))
        made.append(plan.quantile(number, f"{what}: until promoted, median", found, most))
    return made
