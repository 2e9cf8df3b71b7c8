"""Sum both versions' losses (errors against labels) by slice and time block."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from surefoot.adapters.evidence.paired.exact_sums import IntegerArray, SumArrays, SumsBySliceAndBlock, group_sums
from surefoot.adapters.evidence.paired.score_bins import score_bin_indices, score_bin_sums
from surefoot.adapters.evidence.paired.scored_batch import (
    AnswerColumn,
    CategoryCodes,
    ScoredBatch,
    select_answers_and_labels,
)
from surefoot.adapters.evidence.paired.unreadable_requests import pick_example_ids
from surefoot.core.answers.class_mapping import NumberInterpretation
from surefoot.core.answers.disagreement import find_disagreeing_requests
from surefoot.core.answers.losses import compute_losses, compute_positive_class_scores, convert_labels_to_numbers
from surefoot.core.canonical_text import format_slice_name
from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT
from surefoot.core.judging.evidence_validation import MAX_COUNT
from surefoot.core.policy.policy_types import (
    GROUP_RATE_METRICS,
    SCORE_BIN_METRICS,
    Metric,
    PairedGate,
    get_gate_class_names,
    get_gate_threshold,
)


@dataclass
class LossSums:
    """Sums of both versions' losses so far, and the requests whose answers or labels the metric cannot use.

    Law: each request is read by itself, so batches may come in any order and any cut.
    """

    gate: PairedGate
    readings: tuple[NumberInterpretation, NumberInterpretation] = (
        NumberInterpretation.NAMES,
        NumberInterpretation.NAMES,
    )
    cells: SumsBySliceAndBlock = field(default_factory=SumsBySliceAndBlock)
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
        self._compare(select_answers_and_labels(batch, chosen)[0])
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
            names = [format_slice_name(column, text) for text in coded.texts]
            self._add_groups(names, coded.codes[chosen], blocks, sums)

    def merge(self, other: "LossSums") -> None:
        """Add the sums of other requests."""
        self.cells.merge(other.cells)
        for name in ("compared", "same", "odd"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.named = pick_example_ids([*self.named, *other.named])

    def _read(self, batch: ScoredBatch, chosen: NDArray[np.intp]) -> list[IntegerArray] | None:
        """What both versions' answers to some requests add up to; None where some cannot be read."""
        pair, truth = select_answers_and_labels(batch, chosen)
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
        if get_gate_class_names(self.gate):
            return
        try:
            apart = find_disagreeing_requests(pair[0], pair[1], get_gate_threshold(self.gate))
        except InvariantBroken:  # no metric of the gate: what cannot be compared is not counted
            return
        self.compared += len(apart)
        self.same += int((~apart).sum())

    def _sums(
        self, answers: AnswerColumn, champion: AnswerColumn, truth: AnswerColumn, reading: NumberInterpretation
    ) -> IntegerArray:
        """What one version's answers add up to, a row each."""
        gate = self.gate
        if gate.metric in SCORE_BIN_METRICS:
            return score_bin_indices(
                compute_positive_class_scores(gate, answers, reading), convert_labels_to_numbers(gate, truth)
            )
        if gate.metric in GROUP_RATE_METRICS:
            alert = compute_positive_class_scores(gate, answers, reading) >= get_gate_threshold(gate)
            true = convert_labels_to_numbers(gate, truth) > 0.5  # noqa: PLR2004 - a label is 0 or 1
            return np.stack([alert & true, alert & ~true, ~alert & true, ~alert & ~true], axis=1).astype(np.int64)
        if gate.metric is Metric.DISAGREEMENT:
            apart = find_disagreeing_requests(answers, champion, get_gate_threshold(gate))
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
        add_up = score_bin_sums if self.gate.metric in SCORE_BIN_METRICS else group_sums
        used = np.flatnonzero(counts)
        old, new = (add_up(side, group, len(counts))[used] for side in sums)
        slices, places = np.divmod(used, len(block))
        self.cells.add(names, SumArrays(slices, block[places], counts[used], old, new))
