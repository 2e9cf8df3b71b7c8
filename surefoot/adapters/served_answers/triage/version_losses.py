"""Measure the prediction losses of champion and candidate around an incident's onset."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.adapters.replay.version_processes import ProcessScorer
from surefoot.adapters.served_answers.triage.answer_contrast import (
    find_confused_codes,
    find_swapped_codes_by_column,
    make_answer_distance,
)
from surefoot.adapters.served_answers.triage.column_reactions import (
    AnswerDistance,
    find_column_correction,
    find_harmed_group,
    measure_reactions,
    values_as_numbers,
)
from surefoot.adapters.served_answers.triage.column_shifts import MIN_ROWS, undo_column_shift
from surefoot.adapters.served_answers.triage.request_traces import RequestTracer
from surefoot.core.answers.losses import compute_losses
from surefoot.core.domain import Version
from surefoot.core.errors import InvariantBroken, SurefootError
from surefoot.core.policy.policy_types import PairedGate
from surefoot.core.triage.triage_facts import (
    CauseDetail,
    ColumnShift,
    FailureCondition,
    LabelFacts,
    TriageFacts,
)
from surefoot.models.child_process_scorer import ScoringAbandoned
from surefoot.models.model_process import ProcessDied, RemoteModelError

_ROWS_ONE_BY_ONE = 150
"""Most rows that are asked of a version that takes one at a time [count]."""
_TRIED = 6
"""Moved columns whose values of before are tried, those that moved furthest first [count]."""
_ERRORS_OF_CHANCE = 3.0
"""Standard errors by which a mean changes by chance at most [count]."""
_VALUES_LOST = frozenset({CauseDetail.FROZEN, CauseDetail.MISSING})
"""Changes of a column after which its values cannot be told any more."""
_RESTORES = 0.5
"""A column whose values of before take away so much of the harm needs no further look [fraction]."""

_Row = dict[str, object]
_Rows = Sequence[LoggedRequest]


@dataclass(frozen=True, slots=True)
class LossQuery:
    """The good version, the gate and the label cut-off for measuring losses.

    Attributes:
        model: Registered model.
        good: The version that serves in place of the bad one; None without one.
        trial: Whether the bad one was on trial.
        gate: How answers are held against labels; None where the policy has no loss.
        now: Labels that came later do not count [Unix seconds].
        tracer: Traces a few requests through the good version while its process runs.
    """

    model: str
    good: Version | None
    trial: bool
    gate: PairedGate | None
    now: float
    tracer: RequestTracer = field(default_factory=RequestTracer)


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Rows with a label that counts by now, and these labels."""

    rows: list[_Row]
    labels: list[object]


@dataclass(frozen=True, slots=True)
class _Answered:
    """What a version answers to labelled rows, and the loss of each answer."""

    answers: list[object]
    losses: "np.ndarray"

    @property
    def mean(self) -> float:
        """Mean loss."""
        return float(np.mean(self.losses))

    @property
    def error(self) -> float:
        """Standard error of the mean loss."""
        return float(np.std(self.losses) / math.sqrt(len(self.losses)))


def ask_version(scorer: ProcessScorer, rows: Sequence[_Row]) -> list[object] | None:
    """Score rows with a version, fewer of them where it takes one row at a time; None where it fails."""
    with suppress(ValueError, RemoteModelError, ProcessDied, ScoringAbandoned):
        if scorer.batchable:
            return scorer.predict(list(rows))
        return [scorer.predict([row])[0] for row in rows[:_ROWS_ONE_BY_ONE]]
    return None


def add_measurement_problem(facts: TriageFacts, problem: str) -> TriageFacts:
    """The facts with one more thing that could not be measured."""
    return replace(facts, problems=(*facts.problems, " ".join(problem.split())[:300]))


def measure_losses(
    scorer: ProcessScorer,
    load: Callable[[str, Version], ProcessScorer],
    query: LossQuery,
    before: _Rows,
    after: _Rows,
    facts: TriageFacts,
) -> TriageFacts:
    """Measure both versions' mean losses before and after the onset, and which column change explains the higher loss.

    Args:
        scorer: The version that was taken back.
        load: Starts the good version.
        query: What is measured of whom.
        before: Requests before the onset.
        after: Requests after it.
        facts: What is known so far.
    """
    gate = query.gate
    if gate is None:
        return add_measurement_problem(facts, "the policy has no loss, so that answers are not held against labels")
    old, new = (_labelled(rows, gate, query.now) for rows in (before, after))
    facts = _label_means(replace(facts, labelled=len(new.rows)), old, new)
    if len(new.rows) < MIN_ROWS:
        return add_measurement_problem(facts, f"only {len(new.rows)} requests after the onset have labels")
    now = _answered(scorer, gate, new)
    if now is None:
        return add_measurement_problem(facts, "the version's answers to the requests after the onset have no loss")
    then = _answered(scorer, gate, old) if len(old.rows) >= MIN_ROWS else None
    spread = now.error**2 + (then.error**2 if then else 0.0)
    facts = replace(
        facts,
        loss_after=now.mean,
        loss_before=then.mean if then else None,
        tolerance=_ERRORS_OF_CHANCE * math.sqrt(spread),
    )
    alone = _Comparison(scorer, None, gate, query.trial, before, old)
    if query.good is None:
        return _look_closer(alone, new, now, add_measurement_problem(facts, "no good version is known to compare with"))
    try:
        good = load(query.model, query.good)
    except SurefootError as error:
        return _look_closer(
            alone, new, now, add_measurement_problem(facts, f"the good version could not be asked: {error}")
        )
    try:
        query.tracer.trace(good, query.good.number)
        good_now = _answered(good, gate, new)
        good_then = _answered(good, gate, old) if len(old.rows) >= MIN_ROWS else None
        facts = replace(
            facts,
            good_after=good_now.mean if good_now else None,
            good_before=good_then.mean if good_then else None,
            labels_before=_label_facts(old, then, good_then),
            labels_after=_label_facts(new, now, good_now),
        )
        paired_with = good_now.losses if good_now is not None and len(good_now.losses) == len(now.losses) else None
        if query.trial and paired_with is not None:
            paired = now.losses - paired_with  # on the same requests: their difference varies less than each of them
            chance = _ERRORS_OF_CHANCE * float(np.std(paired) / math.sqrt(len(paired)))
            facts = replace(facts, tolerance=chance, group=_harmed_group(new, paired, chance))
        facts = _against_good(facts, (then, good_then), (now, good_now))
        return _look_closer(replace(alone, good=good, good_losses=paired_with), new, now, facts)
    finally:
        good.close()


def _against_good(
    facts: TriageFacts, before: tuple[_Answered | None, _Answered | None], after: tuple[_Answered | None, ...]
) -> TriageFacts:
    """By how much the loss beside the good version's has risen, on the same requests of each time."""
    apart = []
    for own, good in (before, after):
        if own is None or good is None or len(own.losses) != len(good.losses):
            return facts
        apart.append(own.losses - good.losses)
    error = math.sqrt(sum(float(np.var(side)) / len(side) for side in apart))
    rise = float(np.mean(apart[1]) - np.mean(apart[0]))
    return replace(facts, against_good=rise, against_tolerance=_ERRORS_OF_CHANCE * error)


def _harmed_group(new: _Labelled, paired: "np.ndarray", chance: float) -> FailureCondition | None:
    """The group that has most of the additional loss, where there is one beyond chance."""
    if float(np.mean(paired)) <= chance:
        return None
    return find_harmed_group(new.rows[: len(paired)], list(paired))


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Both versions, and how their answers are judged."""

    own: ProcessScorer
    good: ProcessScorer | None
    gate: PairedGate
    trial: bool
    before: _Rows
    old: _Labelled
    good_losses: "np.ndarray | None" = None

    def losses(self, rows: Sequence[_Row], labels: Sequence[object]) -> "np.ndarray | None":
        """Losses of the version that was taken back."""
        return self._losses_of(self.own, rows, labels)

    def losses_of_good(self) -> Callable[[Sequence[_Row], Sequence[object]], "np.ndarray | None"] | None:
        """What computes losses of the good version; None of a champion, or without a good version."""
        if self.good is None or not self.trial:
            return None
        return partial(self._losses_of, self.good)

    def _losses_of(self, scorer: ProcessScorer, rows: Sequence[_Row], labels: Sequence[object]) -> "np.ndarray | None":
        found = _answered(scorer, self.gate, _Labelled(list(rows), list(labels)))
        return None if found is None else found.losses


def _look_closer(both: _Comparison, new: _Labelled, now: _Answered, facts: TriageFacts) -> TriageFacts:
    """What takes the additional loss away, such as old values of a moved column; and what answers react to."""
    harm = facts.harm
    facts = replace(facts, shifts=_counterfactuals(both, new, now, facts))
    swaps, distance = _contrast(both, new)
    facts = replace(facts, confused=find_confused_codes(swaps or {}, new.rows))
    # The answers of a version on trial may show a mistake that its losses do not show beyond chance.
    if (harm is None and distance is None) or any(_explains(one) for one in facts.shifts.values()):
        return facts
    more = (
        now.losses - both.good_losses
        if both.trial and both.good_losses is not None
        else np.full(len(now.losses), harm or 0.0)
    )
    tried = _Labelled(new.rows[: len(more)], new.labels[: len(more)])
    repair = find_column_correction(both.losses, tried.rows, tried.labels, more, both.losses_of_good(), swaps, distance)
    facts = replace(facts, repair=repair)
    if not both.trial:
        return facts
    good = both.good
    ask_good = None if good is None else lambda rows: ask_version(good, rows)
    return replace(facts, reactions=measure_reactions(lambda rows: ask_version(both.own, rows), ask_good, new.rows))


def _contrast(both: _Comparison, new: _Labelled) -> tuple[dict[str, dict[str, str]] | None, AnswerDistance | None]:
    """The codes that a version on trial takes for each other, and its distance from the good one; None without one."""
    if both.good is None or not both.trial:
        return None, None
    own, good = (partial(ask_version, scorer) for scorer in (both.own, both.good))
    return find_swapped_codes_by_column(own, good, new.rows), make_answer_distance(own, good)


def _explains(one: ColumnShift) -> bool:
    """Whether a column is to blame already, so that no further look is needed."""
    return (one.is_clear and one.restored is None) or (
        one.restored is not None and one.restored >= _RESTORES and one.gain >= one.chance
    )


def _labelled(rows: _Rows, gate: PairedGate, now: float) -> _Labelled:
    """Rows with a label that counts by now, and these labels."""
    found = [
        (row.features, label)
        for row in rows
        if row.bare is None and not row.params and (not gate.maturity or row.at + gate.maturity <= now)
        if (label := row.label(gate.maturity)) is not None
    ]
    return _Labelled([row for row, _ in found], [label for _, label in found])


def _answered(scorer: ProcessScorer, gate: PairedGate, given: _Labelled) -> _Answered | None:
    """Answers of a version to labelled rows with their losses; None where they cannot be computed."""
    answers = ask_version(scorer, given.rows)
    if not answers:
        return None
    try:
        return _Answered(answers, np.asarray(compute_losses(gate, answers, given.labels[: len(answers)])))
    except InvariantBroken:
        return None


def _label_means(facts: TriageFacts, old: _Labelled, new: _Labelled) -> TriageFacts:
    """Mean labels before and after, where labels are numbers."""
    before, after = (values_as_numbers(given.labels) for given in (old, new))
    if before is None or after is None or min(len(before), len(after)) < MIN_ROWS:
        return facts
    error = math.sqrt(float(np.var(before)) / len(before) + float(np.var(after)) / len(after))
    return replace(
        facts,
        label_before=float(np.mean(before)),
        label_after=float(np.mean(after)),
        label_tolerance=_ERRORS_OF_CHANCE * error,
    )


def _label_facts(given: _Labelled, own: _Answered | None, good: _Answered | None) -> LabelFacts | None:
    """How well the answers of both versions follow the labels; None where labels are no numbers."""
    labels = values_as_numbers(given.labels)
    if labels is None or len(labels) < MIN_ROWS:
        return None
    ranks = [None if side is None else _rank_correlation(side.answers, labels) for side in (own, good)]
    return LabelFacts(ranks[0], ranks[1], len(np.unique(labels)), _ERRORS_OF_CHANCE / math.sqrt(len(labels)))


def _rank_correlation(answers: Sequence[object], labels: "np.ndarray") -> float | None:
    """Spearman's rank correlation of answers and labels; None where either is constant or no number."""
    from scipy.stats import spearmanr  # noqa: PLC0415 - costs every command 1.5 seconds

    numbers = values_as_numbers(answers)
    known = None if numbers is None else labels[: len(numbers)]
    if numbers is None or known is None or np.ptp(numbers) == 0.0 or np.ptp(known) == 0.0:
        return None
    return float(spearmanr(numbers, known).statistic)


def _counterfactuals(both: _Comparison, new: _Labelled, now: _Answered, facts: TriageFacts) -> dict[str, ColumnShift]:
    """Ask the version about the rows after the onset with one moved column's values of before, column by column.

    Where the loss is not too high beyond chance, only columns are tried that have changed as a mistake changes them:
    their own effect is a difference on the same rows, which is much smaller by chance than that of two periods.
    """
    harm, shifts = facts.harm, facts.shifts
    every = harm is not None and (not both.trial or facts.came_with_requests)
    moved = sorted(
        (name for name, one in shifts.items() if one.distance > one.noise and (one.detail or every)),
        key=lambda name: (not shifts[name].detail, -shifts[name].distance),
    )
    tried = dict(shifts)
    for name in moved[:_TRIED]:
        gains = [_paired_gain(now.losses, fresh) for fresh in _with_old_values(both, name, new, shifts[name])]
        if shifts[name].detail in _VALUES_LOST and (repeated := _repeated(both, name, new)) is not None:
            gains.append(repeated)
        if not gains:
            continue
        gain, chance = max(gains)
        restored = None if harm is None else min(max(gain / harm, 0.0), 1.0)
        tried[name] = replace(shifts[name], restored=restored, gain=gain, chance=chance)
    return tried


def _with_old_values(both: _Comparison, name: str, new: _Labelled, shift: ColumnShift) -> Iterator["np.ndarray"]:
    """Losses with each of the ways to give a column its values of before.

    Of a version on trial that part is left out which the good version gains as well on the same rows.
    """
    old = [row.features.get(name) for row in both.before]
    for values in undo_column_shift(old, [row.get(name) for row in new.rows], shift):
        rows = [{**row, name: value} for row, value in zip(new.rows, values, strict=True)]
        if (found := both.losses(rows, new.labels)) is None:
            continue
        if both.trial and both.good is not None and both.good_losses is not None:
            good = _answered(both.good, both.gate, _Labelled(rows, new.labels))
            if good is not None and len(good.losses) == len(both.good_losses) == len(found):
                found = found + both.good_losses - good.losses
        yield found


def _paired_gain(plain: "np.ndarray", changed: "np.ndarray") -> tuple[float, float]:
    """Mean loss that is gone on the same rows, and the largest that chance makes."""
    size = min(len(plain), len(changed))
    apart = plain[:size] - changed[:size]
    return float(np.mean(apart)), _ERRORS_OF_CHANCE * float(np.std(apart) / math.sqrt(max(size, 1)))


def _repeated(both: _Comparison, name: str, new: _Labelled) -> tuple[float, float] | None:
    """By how much the loss before the onset rises with the values that a column has now, and what chance makes of it.

    Values that are lost cannot be given back, but they can be taken away from the requests of before.
    """
    values = [row.get(name) for row in new.rows]
    rows = [{**row, name: values[place % len(values)]} for place, row in enumerate(both.old.rows)]
    plain, found = (both.losses(given, both.old.labels) for given in (both.old.rows, rows))
    return None if plain is None or found is None else _paired_gain(found, plain)
