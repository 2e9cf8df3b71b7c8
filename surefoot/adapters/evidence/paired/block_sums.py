"""Sum both versions' losses by slice and time block, with all answers interpreted in the same way."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.adapters.evidence.left_out_records import MAX_NAMED_REQUESTS
from surefoot.adapters.evidence.paired.sum_cells import CellRows, IntegerArray, SumCells, group_sums
from surefoot.core.answers.class_reading import NumberReading
from surefoot.core.answers.disagreement import differing_requests
from surefoot.core.answers.losses import NUMBER_LOSSES, compute_losses, labels_as_numbers, positive_class_scores
from surefoot.core.answers.values import Floats, answer_probability
from surefoot.core.canonical_text import canonical_text, canonical_text_of_json, slice_name
from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT
from surefoot.core.judging.evidence_validation import MAX_COUNT
from surefoot.core.policy.policy_types import (
    GROUP_RATE_METRICS,
    SCORE_BIN_METRICS,
    Gate,
    Metric,
    PairedGate,
    gate_classes,
    gate_loss,
    gate_threshold,
)
from surefoot.core.stats.block_statistic import SCORE_BINS

AnswerColumn = Sequence[object] | Floats


@dataclass(frozen=True, slots=True)
class CategoryCodes:
    """Values of one feature as canonical texts, each different one once.

    Attributes:
        codes: Place of each row's text, shape (n,).
        texts: The texts; None for rows without a value.
    """

    codes: NDArray[np.int64]
    texts: tuple[str | None, ...]

    @classmethod
    def from_arrow_json(cls, values: Any) -> "CategoryCodes":
        """Read an Arrow column of JSON texts."""
        found = values.dictionary_encode()
        return cls._coded([*map(canonical_text_of_json, found.dictionary.to_pylist()), None], found.indices)

    @classmethod
    def _coded(cls, texts: list[str | None], indices: Any) -> "CategoryCodes":
        """Give texts that are alike one code; null is the last of the texts."""
        codes = np.asarray(indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False), dtype=np.int64)
        different = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        return cls(np.array([different[text] for text in texts], dtype=np.int64)[codes], tuple(different))

    @classmethod
    def from_values(cls, values: "AnswerColumn") -> "CategoryCodes":
        """Read JSON values, one a row."""
        texts: dict[str | None, int] = {}
        codes = [texts.setdefault(canonical_text(value), len(texts)) for value in values]
        return cls(np.array(codes, dtype=np.int64), tuple(texts))


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Some requests of a window, with everything that is known of them at its end.

    Attributes:
        at: When each was received [Unix seconds], shape (n,).
        champion: The champion's answers; None, or NaN in an array, where it could not answer.
        candidate: The candidate's answers, likewise.
        labels: What came true as far as it is known and counts, likewise.
        late: Which of the requests have a label that came after maturity, shape (n,).
        corrected: How many labels were replaced within maturity [count].
        columns: Values of the features that slices are made of.
        ids: Ids of the requests, to name those whose values cannot be read; empty when nobody knows them.
    """

    at: Floats
    champion: AnswerColumn
    candidate: AnswerColumn
    labels: AnswerColumn
    late: NDArray[np.bool_]
    corrected: int = 0
    columns: Mapping[str, AnswerColumn | CategoryCodes] = field(default_factory=dict)
    ids: Sequence[str] = ()


@dataclass
class BlockSums:
    """Sums so far, and the requests that the metric could not read.

    Law: each request is read by itself, so batches may come in any order and any cut.
    """

    gate: PairedGate
    readings: tuple[NumberReading, NumberReading] = (NumberReading.NAMES, NumberReading.NAMES)
    cells: SumCells = field(default_factory=SumCells)
    compared: int = 0
    same: int = 0
    odd: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, batch: ScoredBatch, chosen: NDArray[np.intp]) -> None:
        """Count some requests of a batch."""
        sums = self._read(batch, chosen)
        if sums is None:
            chosen = self._readable(batch, chosen)
            sums = self._read(batch, chosen) if len(chosen) else None
        if sums is None:
            return
        self._compare(read_both_answers(batch, chosen)[0])
        blocks = np.zeros(len(chosen), dtype=np.int64)
        if self.gate.block:
            blocks = np.floor(batch.at[chosen] / self.gate.block).astype(np.int64)
        elif (
            self.gate.metric not in SCORE_BIN_METRICS
        ):  # right or wrong, one by one: each version's mistakes, and those that both make
            wrong = [side[:, 0] > 0 for side in sums]
            sums = [np.stack([side, wrong[0] & wrong[1]], axis=1).astype(np.int64) for side in wrong]
        self._add_groups([""], np.zeros(len(chosen), dtype=np.int64), blocks, sums)
        for column in self.gate.by:
            values = batch.columns[column]
            coded = values if isinstance(values, CategoryCodes) else CategoryCodes.from_values(values)
            names = [slice_name(column, text) for text in coded.texts]
            self._add_groups(names, coded.codes[chosen], blocks, sums)

    def merge(self, other: "BlockSums") -> None:
        """Add the sums of other requests."""
        self.cells.merge(other.cells)
        for name in ("compared", "same", "odd"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.named = pick_example_ids([*self.named, *other.named])

    def _read(self, batch: ScoredBatch, chosen: NDArray[np.intp]) -> list[IntegerArray] | None:
        """What both versions' answers to some requests add up to; None where some cannot be read."""
        pair, truth = read_both_answers(batch, chosen)
        both = zip(pair, self.readings, strict=True)
        try:
            return [self._sums(answers, pair[0], truth, reading) for answers, reading in both]
        except (InvariantBroken, ValueError, TypeError, OverflowError):
            return None

    def _readable(self, batch: ScoredBatch, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of the chosen requests whose answers and labels the metric can read; the others are counted and named.

        A part that cannot be read is halved until the odd ones stand alone.
        """
        good: list[NDArray[np.intp]] = []
        waiting = [chosen]
        while waiting:
            part = waiting.pop()
            if self._read(batch, part) is not None:
                good.append(part)
            elif len(part) > 1:
                waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
            else:
                self.odd += 1
                if len(batch.ids):
                    self.named = pick_example_ids([*self.named, str(batch.ids[int(part[0])])])
        return np.concatenate(good) if good else chosen[:0]

    def _compare(self, pair: list[AnswerColumn]) -> None:
        """Count on how many requests both give the same answer, as far as answers are numbers."""
        if gate_classes(self.gate):
            return
        try:
            apart = differing_requests(pair[0], pair[1], gate_threshold(self.gate))
        except InvariantBroken:  # no metric of the gate: what cannot be compared is not counted
            return
        self.compared += len(apart)
        self.same += int((~apart).sum())

    def _sums(
        self, answers: AnswerColumn, champion: AnswerColumn, truth: AnswerColumn, reading: NumberReading
    ) -> IntegerArray:
        """What one version's answers add up to, a row each."""
        gate = self.gate
        if gate.metric in SCORE_BIN_METRICS:
            return _bin_places(positive_class_scores(gate, answers, reading), labels_as_numbers(gate, truth))
        if gate.metric in GROUP_RATE_METRICS:
            alert = positive_class_scores(gate, answers, reading) >= gate_threshold(gate)
            true = labels_as_numbers(gate, truth) > 0.5  # noqa: PLR2004 - a label is 0 or 1
            return np.stack([alert & true, alert & ~true, ~alert & true, ~alert & ~true], axis=1).astype(np.int64)
        if gate.metric is Metric.DISAGREEMENT:
            apart = differing_requests(answers, champion, gate_threshold(gate))
            return (apart.astype(np.int64) * MILLIONTHS_PER_UNIT)[:, None]
        found = compute_losses(gate, answers, truth, reading)
        if float(np.abs(found).max()) * MILLIONTHS_PER_UNIT * len(found) < float(MAX_COUNT):
            return np.rint(found * MILLIONTHS_PER_UNIT).astype(np.int64)[:, None]
        return np.array([round(float(value) * MILLIONTHS_PER_UNIT) for value in found], dtype=object)[:, None]

    def _add_groups(
        self, names: Sequence[str], codes: NDArray[np.int64], blocks: NDArray[np.int64], sums: list[IntegerArray]
    ) -> None:
        """Add rows to the cells of their slices, by their codes, and blocks."""
        block, place = np.unique(blocks, return_inverse=True)
        group = codes * len(block) + place
        counts = np.bincount(group)
        add_up = _bin_sums if self.gate.metric in SCORE_BIN_METRICS else group_sums
        used = np.flatnonzero(counts)
        old, new = (add_up(side, group, len(counts))[used] for side in sums)
        slices, places = np.divmod(used, len(block))
        self.cells.add(names, CellRows(slices, block[places], counts[used], old, new))


def pick_example_ids(ids: Iterable[str]) -> list[str]:
    """Give the few ids that are named, the same ones in whatever order they come."""
    return heapq.nsmallest(MAX_NAMED_REQUESTS, set(ids))


def readable_values_text(gate: Gate) -> str:
    """What a metric can read."""
    if classes := gate_classes(gate):
        return f"labels are among {', '.join(classes)}, answers their probabilities or names"
    if gate.metric in SCORE_BIN_METRICS | GROUP_RATE_METRICS | {Metric.BRIER, Metric.LOG_LOSS, Metric.COST}:
        return "probabilities and labels of 0 or 1 are wanted, or 'classes' in the policy"
    if gate.metric is Metric.ZERO_ONE:
        return (
            "classes are wanted, or 'classes' in the policy where probabilities or numbers meet labels that are texts"
        )
    if gate_loss(gate) in NUMBER_LOSSES:
        return "numbers are wanted; where the model answers with several, a label with as many"
    return "numbers or classes are wanted"


def read_both_answers(batch: ScoredBatch, chosen: NDArray[np.intp]) -> tuple[list[AnswerColumn], AnswerColumn]:
    """Both versions' answers to some requests, and their labels."""
    return [_take_rows(side, chosen) for side in (batch.champion, batch.candidate)], _take_rows(batch.labels, chosen)


def present_mask(items: AnswerColumn) -> NDArray[np.bool_]:
    """Which of the answers or labels exist, shape (n,)."""
    if isinstance(items, np.ndarray):
        return np.asarray(~np.isnan(items))
    return np.array([item is not None for item in items], dtype=bool)


def _take_rows(items: AnswerColumn, chosen: NDArray[np.intp]) -> AnswerColumn:
    """Some of the answers, labels or values of a column."""
    return items[chosen] if isinstance(items, np.ndarray) else [items[index] for index in chosen]


def _bin_places(given: Floats, truth: Floats) -> IntegerArray:
    """Bin of each score, whether its label is positive, and the score in millionths, shape (n, 3).

    Raises:
        ValueError: An answer or a label is not between 0 and 1.
    """
    if ((given < 0.0) | (given > 1.0) | (truth < 0.0) | (truth > 1.0)).any():
        raise ValueError("a distribution of scores needs probabilities and labels between 0 and 1")
    where = np.minimum((given * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
    positive = (truth > 0.5).astype(np.int64)  # noqa: PLR2004 - a label is 0 or 1
    return np.stack([where, positive, np.rint(given * MILLIONTHS_PER_UNIT).astype(np.int64)], axis=1)


def _bin_sums(rows: IntegerArray, group: NDArray[np.int64], groups: int) -> IntegerArray:
    """Requests, positives and scores by bin of the score in each group, shape (groups, 3 * SCORE_BINS).

    Args:
        rows: What `bin_places` gives, shape (n, 3).
        group: Group of each row, shape (n,).
        groups: How many groups there are [count].
    """
    cell = group * SCORE_BINS + rows[:, 0]
    size = groups * SCORE_BINS
    parts = [np.bincount(cell, minlength=size)]
    parts += [np.bincount(cell, weights=rows[:, column], minlength=size).astype(np.int64) for column in (1, 2)]
    return np.concatenate([part.reshape(groups, SCORE_BINS) for part in parts], axis=1)


def _probability_or_nan(item: object) -> float:
    """The probability in an answer, or in a label of 0 or 1; NaN where there is none."""
    try:
        return answer_probability(item)
    except InvariantBroken:
        return float("nan")


def probabilities_or_nan(items: AnswerColumn) -> Floats:
    """The probability in every answer or label, shape (n,); NaN where there is none."""
    if isinstance(items, np.ndarray):
        return np.where((items >= 0.0) & (items <= 1.0), items, np.nan)
    return np.array([_probability_or_nan(item) for item in items], dtype=np.float64)


def score_bin_totals(given: Floats, truth: Floats) -> tuple[tuple[int, int, int], ...]:
    """Requests, positives and sum of scores in millionths of every bin."""
    made = _bin_sums(_bin_places(given, truth), np.zeros(len(given), dtype=np.int64), 1)[0]
    return tuple(
        (int(made[index]), int(made[SCORE_BINS + index]), int(made[2 * SCORE_BINS + index]))
        for index in range(SCORE_BINS)
    )
