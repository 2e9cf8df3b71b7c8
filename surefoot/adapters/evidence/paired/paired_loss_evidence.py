"""Build the evidence of a gate that compares both versions' losses on the same requests."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from surefoot.adapters.evidence.paired.exact_sums import SumArrays
from surefoot.adapters.evidence.paired.loss_sums import LossSums
from surefoot.adapters.evidence.paired.scored_batch import ScoredBatch, present_mask, select_answers_and_labels
from surefoot.adapters.evidence.paired.unreadable_requests import describe_accepted_values, pick_example_ids
from surefoot.core.answers.answer_values import Floats
from surefoot.core.answers.class_mapping import (
    NumberInterpretation,
    NumberInterpretationCounts,
    decide_number_interpretations,
    has_ambiguous_numbers,
)
from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import PairedBlock, PairedSums
from surefoot.core.judging.evidence_validation import MAX_COUNT
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.policy.policy_types import Metric, PairedGate, get_gate_class_names


@dataclass
class PairedLossAccumulator:
    """Accumulates both versions' losses of a time window by slice and time block; block length 0 means a single block.

    What the numbers of a version are is known at the end only, where they may be names of classes or probabilities:
    until then the sums are kept for either.

    Law: batches may come in any order and any cut; the sums are the same.
    """

    gate: PairedGate
    since: float
    until: float
    requests: int = 0
    labelled: int = 0
    unscored: int = 0
    late: int = 0
    corrected: int = 0
    scored: int = 0
    named: list[str] = field(default_factory=list)
    kinds: tuple[NumberInterpretationCounts, NumberInterpretationCounts] = field(
        default_factory=lambda: (NumberInterpretationCounts(), NumberInterpretationCounts())
    )
    sums: dict[tuple[NumberInterpretation, NumberInterpretation], LossSums] = field(init=False)

    def __post_init__(self) -> None:
        """Make the sums of each reading."""
        several = (
            tuple(NumberInterpretation)
            if has_ambiguous_numbers(get_gate_class_names(self.gate))
            else (NumberInterpretation.NAMES,)
        )
        self.sums = {(one, other): LossSums(self.gate, (one, other)) for one, other in product(several, several)}

    def complete(self, at: Floats) -> NDArray[np.bool_]:
        """Requests of blocks that are over, every label of which has had its time."""
        block = self.gate.block
        if not block:
            return np.asarray(at + self.gate.maturity <= self.until)
        return (np.floor(at / block) + 1.0) * block + self.gate.maturity <= self.until

    def add(self, batch: ScoredBatch) -> None:
        """Count one more batch."""
        whole = self.complete(batch.at)
        answered, scored, known = (present_mask(side) for side in (batch.champion, batch.candidate, batch.labels))
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
        self.scored += len(chosen)
        if len(self.sums) > 1:
            for kinds, side in zip(self.kinds, select_answers_and_labels(batch, chosen)[0], strict=True):
                kinds.add(get_gate_class_names(self.gate), side)
            if len(batch.ids):
                self.named = pick_example_ids([*self.named, *(str(batch.ids[int(index)]) for index in chosen)])
        for sums in self.sums.values():
            sums.add(batch, chosen)

    def merge(self, other: "PairedLossAccumulator") -> None:
        """Count everything that another has counted of other requests under the same gate."""
        for name in ("requests", "labelled", "unscored", "late", "corrected", "scored"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.named = pick_example_ids([*self.named, *other.named])
        for mine, theirs in zip(self.kinds, other.kinds, strict=True):
            mine.merge(theirs)
        for readings, sums in self.sums.items():
            sums.merge(other.sums[readings])

    def evidence(self, unknown: int = 0) -> PairedSums:
        """The sums of everything that was added."""
        problem = f"answers or labels that {self.gate.metric} cannot read; {describe_accepted_values(self.gate)}"
        try:
            found = self.sums[
                decide_number_interpretations(*self.kinds)
                if len(self.sums) > 1
                else (NumberInterpretation.NAMES, NumberInterpretation.NAMES)
            ]
        except InvariantBroken:
            found = LossSums(self.gate, odd=self.scored, named=self.named)
            problem = (
                f"answers that may be names of the classes {', '.join(get_gate_class_names(self.gate))} or"
                " probabilities of the second; let the model answer with the probabilities of both"
            )
        largest, coarse = found.cells.largest_sum(), 1
        while largest // coarse > MAX_COUNT // 16:
            coarse *= 10
        dates: dict[int, str] = {}
        slices = {name: self._blocks(rows, coarse, dates) for name, rows in found.cells.by_slice()}
        return PairedSums(
            slices,
            self.requests,
            self.labelled,
            self.unscored,
            found.compared,
            found.same,
            self.late,
            self.corrected,
            unknown,
            coarse,
            ExcludedRecords(
                records=self.requests,
                odd=found.odd,
                requests=tuple(found.named),
                what=problem if found.odd else "",
            ),
        )

    def _blocks(self, rows: SumArrays, coarse: int, dates: dict[int, str]) -> tuple[PairedBlock, ...]:
        """The blocks of one slice.

        Args:
            rows: Its cells, in the order of time.
            coarse: How many millionths one unit of the sums is [>= 1].
            dates: Names of the blocks that were met; others are added.
        """
        sides = ((side // coarse).tolist() for side in (rows.champion, rows.candidate))
        made = []
        for block, count, old, new in zip(rows.blocks.tolist(), rows.counts.tolist(), *sides, strict=True):
            if block not in dates:
                dates[block] = _date(block * self.gate.block)
            made.append(PairedBlock(dates[block], count, tuple(old), tuple(new)))
        return tuple(made)


def build_paired_loss_evidence(
    gate: PairedGate, since: float, until: float, batches: Iterable[ScoredBatch]
) -> PairedLossAccumulator:
    """Add up the losses of all batches of a window."""
    made = PairedLossAccumulator(gate, since, until)
    for batch in batches:
        made.add(batch)
    return made


def _date(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%MZ")
