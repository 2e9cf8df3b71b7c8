"""Two versions' answers to the same requests become integer sums by block and slice, in any order."""

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.adapters.evidence.left_out import NAMED
from surefoot.core.canonical_text import slice_name
from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import MICRO, Block, PairedSums
from surefoot.core.judging.left_out import LeftOut
from surefoot.core.judging.validation import LARGEST_COUNT
from surefoot.core.losses import Floats, answer, differ, losses, scores, truths
from surefoot.core.policy.model import BINNED, CONFUSIONS, Gate, Metric
from surefoot.core.stats.block_statistic import BINS

Answers = Sequence[object] | Floats
Sums = NDArray[Any]
"""Whole numbers: 64 bits where they surely fit, otherwise Python's own."""


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
    champion: Answers
    candidate: Answers
    labels: Answers
    late: NDArray[np.bool_]
    corrected: int = 0
    columns: Mapping[str, Answers] = field(default_factory=dict)
    ids: Sequence[str] = ()


@dataclass
class PairedSumsBuilder:
    """Sums of a window so far; a block of no length is one for all.

    Law: batches may come in any order and any cut; the sums are the same.
    """

    gate: Gate
    since: float
    until: float
    cells: dict[tuple[str, int], tuple[list[int], Sums, Sums]] = field(default_factory=dict)
    requests: int = 0
    labelled: int = 0
    unscored: int = 0
    compared: int = 0
    same: int = 0
    late: int = 0
    corrected: int = 0
    odd: int = 0
    named: list[str] = field(default_factory=list)
    what: str = ""

    def complete(self, at: Floats) -> NDArray[np.bool_]:
        """Requests of blocks that are over, every label of which has had its time."""
        block = self.gate.block
        if not block:
            return np.asarray(at + self.gate.maturity <= self.until)
        return (np.floor(at / block) + 1.0) * block + self.gate.maturity <= self.until

    def add(self, batch: ScoredBatch) -> None:
        """Count one more batch."""
        whole = self.complete(batch.at)
        answered, scored, known = (present(side) for side in (batch.champion, batch.candidate, batch.labels))
        labelled = self.gate.metric is not Metric.DISAGREEMENT
        mature = whole & answered
        self.requests += int(mature.sum())
        self.labelled += int((mature & known).sum()) if labelled else int(mature.sum())
        self.unscored += int((mature & ~scored).sum())
        self.late += int((mature & batch.late).sum())
        self.corrected += batch.corrected
        chosen = np.flatnonzero(mature & scored & (known | (not labelled)))
        if not len(chosen):
            return
        sums = self._read(batch, chosen)
        if sums is None:
            chosen = self._readable(batch, chosen)
            sums = self._read(batch, chosen) if len(chosen) else None
        if sums is None:
            return
        self._compare(_sides(batch, chosen)[0])
        blocks = np.zeros(len(chosen), dtype=np.int64)
        if self.gate.block:
            blocks = np.floor(batch.at[chosen] / self.gate.block).astype(np.int64)
        else:  # right or wrong, one by one: each version's mistakes, and those that both make
            wrong = [side[:, 0] > 0 for side in sums]
            sums = [np.stack([side, wrong[0] & wrong[1]], axis=1).astype(np.int64) for side in wrong]
        self._into("", blocks, sums)
        for column in self.gate.by:
            values = np.array(
                [slice_name(column, item) for item in _taken(batch.columns[column], chosen)], dtype=object
            )
            for value in np.unique(values):
                here = values == value
                self._into(value, blocks[here], [side[here] for side in sums])

    def _read(self, batch: ScoredBatch, chosen: NDArray[np.intp]) -> list[Sums] | None:
        """What both versions' answers to some requests add up to; None where some cannot be read."""
        pair, truth = _sides(batch, chosen)
        try:
            return [self._sums(answers, pair[0], truth) for answers in pair]
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
                self.what = f"answers or labels that {self.gate.metric} cannot read; {_wanted(self.gate)}"
                if len(self.named) < NAMED and len(batch.ids):
                    self.named.append(str(batch.ids[int(part[0])]))
        return np.concatenate(good) if good else chosen[:0]

    def _compare(self, pair: list[Answers]) -> None:
        """Count on how many requests both give the same answer, as far as answers are numbers."""
        if self.gate.classes:
            return
        try:
            apart = differ(pair[0], pair[1], self.gate.threshold)
        except InvariantBroken:  # no metric of the gate: what cannot be compared is not counted
            return
        self.compared += len(apart)
        self.same += int((~apart).sum())

    def _sums(self, answers: Answers, champion: Answers, truth: Answers) -> Sums:
        """What one version's answers add up to, a row each."""
        gate = self.gate
        if gate.metric in BINNED:
            return _bins(scores(gate, answers), truths(gate, truth))
        if gate.metric in CONFUSIONS:
            alert, true = scores(gate, answers) >= gate.threshold, truths(gate, truth) > 0.5  # noqa: PLR2004 - a label is 0 or 1
            return np.stack([alert & true, alert & ~true, ~alert & true, ~alert & ~true], axis=1).astype(np.int64)
        if gate.metric is Metric.DISAGREEMENT:
            apart = differ(answers, champion, gate.threshold)
            return (apart.astype(np.int64) * MICRO)[:, None]
        found = losses(gate, answers, truth)
        if float(np.abs(found).max()) * MICRO * len(found) < float(LARGEST_COUNT):
            return np.rint(found * MICRO).astype(np.int64)[:, None]
        return np.array([round(float(value) * MICRO) for value in found], dtype=object)[:, None]

    def _into(self, name: str, blocks: NDArray[np.int64], sums: list[Sums]) -> None:
        for block in np.unique(blocks):
            here = blocks == block
            key = (name, int(block))
            if key not in self.cells:
                width = sums[0].shape[1]
                self.cells[key] = ([0], np.zeros(width, dtype=object), np.zeros(width, dtype=object))
            count, old, new = self.cells[key]
            count[0] += int(here.sum())
            old += sums[0][here].sum(axis=0)
            new += sums[1][here].sum(axis=0)

    def evidence(self, unknown: int = 0) -> PairedSums:
        """The sums of everything that was added."""
        slices: dict[str, list[Block]] = defaultdict(list)
        largest = max((abs(int(v)) for _, *both in self.cells.values() for side in both for v in side), default=0)
        coarse = 1
        while largest // coarse > LARGEST_COUNT // 16:
            coarse *= 10
        for (name, block), (count, old, new) in sorted(self.cells.items()):
            sides = (tuple(int(v) // coarse for v in side) for side in (old, new))
            slices[name].append(Block(_date(block * self.gate.block), count[0], *sides))
        return PairedSums(
            {name: tuple(blocks) for name, blocks in slices.items()},
            self.requests,
            self.labelled,
            self.unscored,
            self.compared,
            self.same,
            self.late,
            self.corrected,
            unknown,
            coarse,
            LeftOut(records=self.requests, odd=self.odd, requests=tuple(self.named), what=self.what),
        )


def _wanted(gate: Gate) -> str:
    """What a metric can read."""
    if gate.classes:
        return f"labels are among {', '.join(gate.classes)}, answers their probabilities or names"
    if gate.metric in BINNED | CONFUSIONS | {Metric.BRIER, Metric.LOG_LOSS, Metric.COST}:
        return "probabilities and labels of 0 or 1 are wanted, or 'classes' in the policy"
    if gate.metric is Metric.ZERO_ONE:
        return "classes are wanted, or 'classes' in the policy where probabilities meet labels that are texts"
    return "numbers are wanted"


def _sides(batch: ScoredBatch, chosen: NDArray[np.intp]) -> tuple[list[Answers], Answers]:
    """Both versions' answers to some requests, and their labels."""
    return [_taken(side, chosen) for side in (batch.champion, batch.candidate)], _taken(batch.labels, chosen)


def present(items: Answers) -> NDArray[np.bool_]:
    """Which of the answers or labels exist, shape (n,)."""
    if isinstance(items, np.ndarray):
        return np.asarray(~np.isnan(items))
    return np.array([item is not None for item in items], dtype=bool)


def _taken(items: Answers, chosen: NDArray[np.intp]) -> Answers:
    return items[chosen] if isinstance(items, np.ndarray) else [items[index] for index in chosen]


def _bins(given: Floats, truth: Floats) -> Sums:
    """Requests, positives and scores by bin of the score; an answer outside 0 to 1 is no probability."""
    if ((given < 0.0) | (given > 1.0)).any():
        raise ValueError("a distribution of scores needs probabilities between 0 and 1")
    where = np.minimum((given * BINS).astype(np.int64), BINS - 1)
    rows = np.arange(len(given))
    made = np.zeros((len(given), 3 * BINS), dtype=np.int64)
    made[rows, where] = 1
    made[rows, BINS + where] = (truth > 0.5).astype(np.int64)  # noqa: PLR2004 - a label is 0 or 1
    made[rows, 2 * BINS + where] = np.rint(given * MICRO).astype(np.int64)
    return made


def is_scorable(given: object, truth: object) -> bool:
    """Whether an answer is a probability and its label a number."""
    try:
        return 0.0 <= answer(given) <= 1.0 and math.isfinite(answer(truth))
    except InvariantBroken:
        return False


def score_bins(given: Floats, truth: Floats) -> tuple[tuple[int, int, int], ...]:
    """Requests, positives and sum of scores in millionths of every bin."""
    made = _bins(given, truth).sum(axis=0)
    return tuple((int(made[index]), int(made[BINS + index]), int(made[2 * BINS + index])) for index in range(BINS))


def sum_batches(gate: Gate, since: float, until: float, batches: Iterable[ScoredBatch]) -> PairedSumsBuilder:
    """Count every batch of a window."""
    made = PairedSumsBuilder(gate, since, until)
    for batch in batches:
        made.add(batch)
    return made


def _date(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%MZ")
