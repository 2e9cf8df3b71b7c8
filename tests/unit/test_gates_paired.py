"""Gates on the same requests, on shifts, on golden rows and on what is foreseen: what each answers, and why."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from surefoot.adapters.evidence.paired.score_bins import score_bin_totals
from surefoot.core.domain import Outcome, Role
from surefoot.core.gates.expected_loss import MIN_LABELLED_PAST_REQUESTS, compute_expected_brier, compute_observed_brier
from surefoot.core.judging.evidence import (
    MILLIONTHS_PER_UNIT,
    DistributionShift,
    FeatureShift,
    GoldenRows,
    PairedBlock,
    PairedSums,
    ScoreBins,
)
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_gate
from surefoot.core.policy.policy_types import Metric
from surefoot.core.policy.violations import Violation
from surefoot.core.stats.block_metrics import SCORE_BINS
from surefoot.core.verdicts.quantities import as_percent
from tests.gates import changed, make_gate
from tests.unit.test_gates import LEVEL, figure, judged

GOLDEN = make_gate("golden", Metric.GOLDEN)
FORESEEN = make_gate("foreseen", Metric.EXPECTED_LOSS, Role.SIGNAL, margin=None, limit=0.2)
APART = make_gate("apart", Metric.DISAGREEMENT, margin=None, limit=0.1)
FED = make_gate("fed", Metric.INPUT_SHIFT, against="champion", limit=0.01)
MOVED = make_gate("moved", Metric.PREDICTION_SHIFT, limit=0.1)
ECE = make_gate("ece", Metric.ECE, margin=None, limit=0.1)
AUC = make_gate("auc", Metric.AUC, margin=0.02)
GAP = make_gate("fair", Metric.TPR_GAP, margin=0.05, by=("sex",), min_per_slice=300)


def test_golden_rows_answered_as_written_pass() -> None:
    """Not a single row may be answered otherwise, and a version without rows has no data."""
    verdict = judged(GOLDEN, GoldenRows(7, 0))
    assert (verdict.outcome, verdict.reason, verdict.n) == (
        Outcome.PASS,
        "all 7 golden rows are answered as written",
        7,
    )
    assert judged(GOLDEN, GoldenRows(0, 0)).outcome is Outcome.NO_DATA


def test_golden_rows_answered_otherwise_are_shown() -> None:
    """A failed row is shown as it is, or as text where it holds NaN, and can be journalled either way."""
    samples = ({"row": {"x": 1}, "answered": 0.5}, {"row": {"x": math.nan}, "answered": None}, math.inf, 10**400)
    verdict = judged(GOLDEN, GoldenRows(1000, 4, 0.25, samples))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason.startswith("4 of its 1000 golden rows are answered otherwise than their author saw (by up to")
    assert [row["row"] for row in verdict.details[:2]] == [samples[0], "{'row': {'x': nan}, 'answered': None}"]
    assert len(verdict.details) == 4


@pytest.mark.parametrize("broken", [math.nan, math.inf, -1, 10**400, 2**60, -1e308])
@pytest.mark.parametrize("field", ["rows", "wrong", "worst"])
def test_golden_rows_that_cannot_be_counted_are_an_error(field: str, broken: float) -> None:
    """No broken count of golden rows, and no more wrong ones than there are, passes or fails."""
    if field == "worst" and broken == -1:
        return  # a number like any other
    assert judged(GOLDEN, replace(GoldenRows(5, 1, 0.5), **{field: broken})).outcome is Outcome.ERROR  # type: ignore[arg-type]
    assert judged(GOLDEN, GoldenRows(5, 6)).outcome is Outcome.ERROR


def scored(*cells: tuple[int, float, float]) -> tuple[tuple[int, int, int], ...]:
    """Requests by score bin: so many at a score, of which a share came true."""
    made = [(0, 0, 0)] * SCORE_BINS
    for n, score, rate in cells:
        made[int(score * SCORE_BINS)] = (n, round(n * rate), round(n * score * MILLIONTHS_PER_UNIT))
    return tuple(made)


FAIR = scored((1000, 0.205, 0.205), (1000, 0.805, 0.805))


@pytest.mark.parametrize(
    ("past", "checked", "now", "outcome"),
    [
        (FAIR, FAIR, scored((500, 0.205, 0.0)), Outcome.PASS),
        (FAIR, FAIR, scored((500, 0.505, 0.0)), Outcome.FAIL),  # nothing is known of such scores but themselves
        (FAIR, scored((1000, 0.205, 0.6)), scored((500, 0.205, 0.0)), Outcome.INCONCLUSIVE),
        (FAIR, scored((1000, 0.205, 0.6)), scored((500, 0.505, 0.0)), Outcome.INCONCLUSIVE),
        (FAIR, FAIR, scored(), Outcome.NO_DATA),
        (scored((MIN_LABELLED_PAST_REQUESTS - 1, 0.205, 0.2)), FAIR, scored((500, 0.205, 0.0)), Outcome.NO_DATA),
        (FAIR, scored((MIN_LABELLED_PAST_REQUESTS - 1, 0.205, 0.2)), scored((500, 0.205, 0.0)), Outcome.NO_DATA),
    ],
)
def test_foreseen_loss_is_no_surer_than_it_was(
    past: tuple[tuple[int, int, int], ...],
    checked: tuple[tuple[int, int, int], ...],
    now: tuple[tuple[int, int, int], ...],
    outcome: Outcome,
) -> None:
    """An expectation decides as far as its own past error lets it, and not at all without a past."""
    verdict = judged(FORESEEN, ScoreBins(past, checked, now))
    assert verdict.outcome is outcome, verdict.reason
    if outcome is Outcome.INCONCLUSIVE:
        assert verdict.lower is not None
        assert verdict.upper is not None
        assert verdict.lower <= 0.2 < verdict.upper
        assert abs(figure(verdict, "past error of this estimate")) > 0.1
    if past is not FAIR or checked[20][0] == MIN_LABELLED_PAST_REQUESTS - 1:
        assert "only 499 labelled requests to learn from; 500 are needed" in verdict.reason


def test_foreseen_margin_is_what_the_owner_wrote() -> None:
    """Points are added to the loss before, a share is one of it, and with a limit beside it the lower one counts."""
    evidence, before = ScoreBins(FAIR, FAIR, scored((500, 0.205, 0.0))), compute_observed_brier(FAIR)
    accepted = [
        judged(changed(FORESEEN, margin=margin, relative=relative, limit=limit), evidence).margin
        for margin, relative, limit in ((0.1, False, None), (0.1, True, None), (0.1, True, 0.9), (0.1, True, 0.01))
    ]
    assert accepted == pytest.approx([before + 0.1, 1.1 * before, 1.1 * before, 0.01])


def test_foreseen_loss_is_the_one_that_comes() -> None:
    """Scores that are off in the past are put right, so that the loss of other scores is known before their labels."""
    random = np.random.default_rng(5)
    truth = (random.beta(2.0, 5.0, 40_000), random.beta(4.0, 4.0, 40_000))
    scores = [np.sqrt(chance) for chance in truth]  # as sure of itself as no past would bear out
    came = [(random.random(40_000) < chance).astype(float) for chance in truth]
    past, now = score_bin_totals(scores[0], came[0]), score_bin_totals(scores[1], np.zeros(40_000))
    true = float(np.mean(np.square(scores[1] - came[1])))
    assert compute_expected_brier(past, now) == pytest.approx(true, abs=0.005)
    assert abs(float(np.mean(scores[1] * (1.0 - scores[1]))) - true) > 0.02
    assert compute_observed_brier(past) == pytest.approx(float(np.mean(np.square(scores[0] - came[0]))), abs=1e-3)


def test_expectation_is_never_a_guardrail() -> None:
    """A policy whose expected loss would roll back is refused, written or by default."""
    plain = {"metric": "expected_loss", "labels": {"maturity": "1d"}}
    for words in ({}, {"role": "guardrail"}):
        with pytest.raises(Violation, match="it can only be a signal"):
            parse_gate("g", {**plain, **words})
    assert parse_gate("g", {**plain, "role": "signal"}).role is Role.SIGNAL


def by_day(n: int, sides: tuple[float, float], days: int = 20, wave: float = 0.02) -> tuple[PairedBlock, ...]:
    """Days of requests whose loss is a share, which goes a little up and down from day to day."""
    return tuple(
        PairedBlock(
            f"{d:02}",
            n,
            *((round(n * (share + wave * math.sin(d + k)) * MILLIONTHS_PER_UNIT),) for k, share in enumerate(sides)),
        )
        for d in range(days)
    )


@pytest.mark.parametrize(("share", "outcome"), [(0.05, Outcome.PASS), (0.2, Outcome.FAIL), (0.1, Outcome.INCONCLUSIVE)])
def test_disagreement_is_held_against_its_limit(share: float, outcome: Outcome) -> None:
    """Two that decide differently too often fail whatever came true, and the limit is said."""
    verdict = judged(APART, PairedSums({"": by_day(500, (0.0, share))}, 10_000, 10_000))
    assert verdict.outcome is outcome, verdict.reason
    assert "at most 10 % is accepted" in verdict.reason
    assert (verdict.estimate, verdict.margin) == (pytest.approx(share, abs=2e-3), 0.1)


@pytest.mark.parametrize(
    ("differ", "n", "outcome"),
    [
        (0, 2000, Outcome.PASS),
        (0, 100, Outcome.INCONCLUSIVE),
        (15, 1000, Outcome.INCONCLUSIVE),
        (90, 1000, Outcome.FAIL),
    ],
)
def test_share_of_other_inputs_has_an_exact_interval(differ: int, n: int, outcome: Outcome) -> None:
    """What two versions are fed on the same requests is compared row by row, with the interval of a share."""
    evidence = DistributionShift(
        "the champion", (FeatureShift("x", differ / n, n, n), FeatureShift("y", 0.0, n, n)), same=True
    )
    verdict = judged(FED, evidence)
    assert verdict.outcome is outcome, verdict.reason
    assert verdict.reason.startswith("the candidate sees another ")
    assert f"than the champion on {as_percent(differ / n)} of the requests (between " in verdict.reason
    assert "at most 1 % is accepted)" in verdict.reason
    alpha = LEVEL.error_levels(FED.block)[0] / 2.0  # two features share the level
    exact = stats.binomtest(differ, n).proportion_ci(1.0 - alpha, method="exact")
    assert (verdict.lower, verdict.upper) == (pytest.approx(exact.low), pytest.approx(exact.high))
    assert verdict.culprit == ("x" if outcome is Outcome.FAIL else "")


@pytest.mark.parametrize(
    ("distance", "n", "outcome"),
    [(0.02, 20_000, Outcome.PASS), (0.3, 20_000, Outcome.FAIL), (0.3, 100, Outcome.INCONCLUSIVE)],
)
def test_answers_that_moved_are_said(distance: float, n: int, outcome: Outcome) -> None:
    """The distribution of the answers is judged as that of a feature is."""
    evidence = DistributionShift("the champion's answers", (FeatureShift("prediction", distance, n, n),))
    verdict = judged(MOVED, evidence)
    assert verdict.outcome is outcome
    assert verdict.reason.startswith(f"prediction has moved by {distance:.3f} against the champion's answers")
    assert verdict.metric == "prediction_shift"


def by_score(scores: tuple[np.ndarray, np.ndarray], came: np.ndarray, days: int) -> PairedSums:
    """Both versions' scores of the same requests, day by day."""
    blocks = []
    for day, here in enumerate(np.array_split(np.arange(len(came)), days)):
        sides = (score_bin_totals(side[here], came[here]) for side in scores)
        flat = (tuple(cell[part] for part in range(3) for cell in cells) for cells in sides)
        blocks.append(PairedBlock(f"{day:02}", len(here), *flat))
    return PairedSums({"": tuple(blocks)}, len(came), len(came))


CHANCE = np.random.default_rng(8).beta(2.0, 3.0, 6000)
CAME = (np.random.default_rng(9).random(6000) < CHANCE).astype(float)
VAGUE = np.clip(CHANCE + np.random.default_rng(10).normal(0.0, 0.3, 6000), 0.0, 1.0)


@pytest.mark.parametrize(
    ("candidate", "limit", "outcome"),
    [(CHANCE, 0.1, Outcome.PASS), (CHANCE**3, 0.1, Outcome.FAIL), (CHANCE**1.4, 0.1, Outcome.INCONCLUSIVE)],
)
def test_calibration_is_held_against_its_limit(candidate: np.ndarray, limit: float, outcome: Outcome) -> None:
    """Scores that are too low on the whole fail a limit of the candidate's own, whatever the champion's are like."""
    for champion in (CHANCE, CHANCE**3):
        verdict = judged(changed(ECE, limit=limit), by_score((champion, candidate), CAME, 12))
        assert verdict.outcome is outcome, verdict.reason
        assert "at most 0.1000 is accepted" in verdict.reason


@pytest.mark.parametrize(
    ("candidate", "outcome"),
    [
        (CHANCE, Outcome.PASS),
        (CHANCE**3, Outcome.PASS),  # another scale in the same order
        (VAGUE, Outcome.FAIL),
        (np.clip(CHANCE + 0.11 * np.sin(np.arange(6000)), 0.0, 1.0), Outcome.INCONCLUSIVE),
    ],
)
def test_order_of_scores_is_what_an_area_is_about(candidate: np.ndarray, outcome: Outcome) -> None:
    """A candidate that puts requests in a worse order fails; one with another scale does not."""
    verdict = judged(AUC, by_score((CHANCE, candidate), CAME, 12))
    assert verdict.outcome is outcome, verdict.reason
    assert "1 - auc goes from" in verdict.reason


def test_area_of_one_class_alone_is_no_data() -> None:
    """Where nothing came true there is no order to judge, and the reason does not speak of too few days."""
    verdict = judged(AUC, by_score((CHANCE, VAGUE), np.zeros(6000), 12))
    assert (verdict.outcome, verdict.reason) == (
        Outcome.NO_DATA,
        "no 1 - auc can be told: too few requests of one kind, such as those that came true",
    )


def groups(hit: Mapping[str, tuple[float, float]], *, each: int = 100, days: int = 20, came: float = 0.5) -> PairedSums:
    """Groups of requests, half of which came true, with each version's true positive rate by group."""
    slices = {}
    for place, (name, sides) in enumerate(sorted(hit.items())):
        positives, blocks = round(each * came), []
        for d in range(days):
            hits = [round(positives * rate + (1.0 if (d + place + k) % 2 else -1.0)) for k, rate in enumerate(sides)]
            cells = [(max(min(h, positives), 0), 10, positives - max(min(h, positives), 0), 40) for h in hits]
            blocks.append(PairedBlock(f"{d:02}", each, *cells))
        slices[f"sex={name}"] = tuple(blocks)
    n = each * days * len(hit)
    return PairedSums(slices, n, n)


def test_group_that_changed_most_is_named() -> None:
    """A gap that grew fails, and the culprit is the group whose rate moved, wherever it stands in the order."""
    for moved in ("f", "m", "x"):
        rates = {name: (0.6, 0.3 if name == moved else 0.6) for name in ("f", "m", "x")}
        verdict = judged(GAP, groups(rates))
        assert (verdict.outcome, verdict.culprit) == (Outcome.FAIL, f"sex={moved}")
        assert verdict.reason.startswith("gap of true positive rates goes from 0 % to 30 % (+30 points")
        assert verdict.estimate == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("rates", "outcome", "words"),
    [
        ({"f": (0.6, 0.6), "m": (0.6, 0.6)}, Outcome.PASS, "+5 points is accepted"),
        ({"f": (0.6, 0.4), "m": (0.6, 0.6)}, Outcome.FAIL, "+5 points is accepted"),
        ({"f": (0.4, 0.4), "m": (0.6, 0.6)}, Outcome.FAIL, "at most 10 % is accepted"),
        ({"f": (0.4, 0.58), "m": (0.6, 0.6)}, Outcome.PASS, "is accepted"),
        ({"f": (0.5, 0.5), "m": (0.6, 0.6)}, Outcome.INCONCLUSIVE, "at most 10 % is accepted"),
        ({"f": (0.6, 0.55), "m": (0.6, 0.6)}, Outcome.INCONCLUSIVE, "+5 points is accepted"),
    ],
)
def test_gap_must_neither_grow_nor_be_large(
    rates: Mapping[str, tuple[float, float]], outcome: Outcome, words: str
) -> None:
    """With a margin and a limit a gap fails by growing or by its size, and the sentence says by which."""
    verdict = judged(changed(GAP, limit=0.1), groups(rates))
    assert verdict.outcome is outcome, verdict.reason
    assert words in verdict.reason


def test_margin_and_limit_share_the_level_to_fail() -> None:
    """Beside a limit the growth has half of the level to fail, and the whole of the level to pass."""
    evidence = groups({"f": (0.6, 0.55), "m": (0.6, 0.6)})
    alone, both = (judged(changed(GAP, limit=limit), evidence).details[0] for limit in (None, 0.9))
    below = [float(str(row["difference"])) - float(str(row["lower"])) for row in (alone, both)]
    alpha = LEVEL.error_levels(GAP.block)[0]
    assert below[1] / below[0] == pytest.approx(stats.t.isf(alpha / 2.0, 19) / stats.t.isf(alpha, 19))
    assert alone["upper"] == both["upper"]


def test_protected_group_without_data_leaves_no_verdict() -> None:
    """A gap without a group that must be there is NO_DATA and names it, however bad or good the others are."""
    for rate in (0.3, 0.6):
        evidence = groups({"f": (0.6, rate), "m": (0.6, 0.6)})
        few = {**evidence.slices, "sex=x": evidence.slices["sex=f"][:2]}
        for there in (evidence.slices, few):
            verdict = judged(changed(GAP, protected=("sex=x",)), replace(evidence, slices=there))
            assert (verdict.outcome, verdict.culprit) == (Outcome.NO_DATA, "")
            assert verdict.reason == "sex=x is protected and has too little data to be judged"
            assert judged(GAP, replace(evidence, slices=there)).outcome is not Outcome.NO_DATA


def test_group_without_positives_leaves_no_verdict() -> None:
    """Nobody knows the true positive rate of a group in which nothing came true; its selection rate is known."""
    evidence = groups({"f": (0.6, 0.3), "m": (0.6, 0.6)})
    none = tuple(replace(b, champion=(0, 10, 0, 90), candidate=(0, 90, 0, 10)) for b in evidence.slices["sex=m"])
    lonely = replace(evidence, slices={**evidence.slices, "sex=m": none})
    verdict = judged(GAP, lonely)
    assert verdict.outcome is Outcome.NO_DATA
    assert "too few requests of one kind" in verdict.reason
    assert judged(changed(GAP, metric=Metric.SELECTION_GAP), lonely).outcome is Outcome.FAIL


def test_one_group_has_no_gap() -> None:
    """A single group that is large enough leaves nothing to compare, and the reason says what is wanted."""
    verdict = judged(GAP, groups({"f": (0.6, 0.1)}))
    assert verdict.outcome is Outcome.NO_DATA
    assert verdict.reason == "no two groups of sex have 300 requests on 5 blocks"


def test_answers_one_by_one_share_the_level_of_all_stages() -> None:
    """What begins anew in each of ten steps has a tenth of the level in each, as losses by block have."""
    gate = make_gate("accuracy", Metric.ZERO_ONE, margin=0.0, block=0.0)
    evidence = PairedSums({"": (PairedBlock("all", 1000, (20, 10), (42, 10)),)}, 1000, 1000)
    once, often = (judged(gate, evidence, DecisionThresholds(stages=stages)) for stages in (1, 10))
    assert (once.outcome, often.outcome) == (Outcome.FAIL, Outcome.INCONCLUSIVE)
