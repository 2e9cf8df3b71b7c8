"""Add older logged requests to the evidence for rare request groups."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.adapters.evidence.paired.exact_sums import SumArrays
from surefoot.adapters.evidence.paired.paired_loss_evidence import PairedLossAccumulator
from surefoot.adapters.evidence.paired.scored_batch import ScoredBatch
from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog
from surefoot.adapters.replay.batch_scoring import ScorableModel, score_requests
from surefoot.core.canonical_text import canonical_text_of_json, format_slice_name
from surefoot.core.domain import EvidenceKind, Version
from surefoot.core.judging.corner_answers import SupplementedGroup
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import Metric, PairedGate, SlicedGate, narrow_gate_type
from surefoot.core.stats.paired_difference import MIN_BLOCKS

_MAX_GROUPS = 50
"""Groups of a gate that are raised at one look, the largest first [count]."""
_READ_FACTOR = 5
"""Older requests of a group that are read, in multiples of what its gate needs: many may lack a label [count]."""
Answers = Mapping[tuple[str, int], object]
"""Answers of a version to some requests, by request key."""


@dataclass(frozen=True, slots=True)
class GroupValues:
    """One group of requests (a value of a column) in a time span of the log, and its size.

    Attributes:
        column: Its column.
        texts: JSON texts of its value, as requests have written it.
        requests: Request rows [count].
    """

    column: str
    texts: tuple[str, ...]
    requests: int


def count_groups(log: PredictionLog, model: str, column: str, since: float, until: float) -> dict[str, GroupValues]:
    """Count the request rows of each group of a column, by its name such as "origin=LGA"; those without a value not."""
    found: dict[str, GroupValues] = {}
    for text, count in log.count_feature_values(model, column, since, until):
        value = canonical_text_of_json(text)
        if value is None:
            continue
        name = format_slice_name(column, value)
        known = found.get(name, GroupValues(column, (), 0))
        found[name] = GroupValues(column, (*known.texts, text), known.requests + count)
    return found


def merge_older_requests(
    log: PredictionLog,
    question: EvidenceRequest,
    load: Callable[[Version], ScorableModel],
    *sums: PairedLossAccumulator,
) -> tuple[SupplementedGroup, ...]:
    """Add older requests of groups that are too rare to the loss sums of a window, where the policy asks for that.

    Each request is a real one, counts once, and for its own group alone: neither the whole nor its coverage changes.
    Which requests are taken depends on their times, groups and labels, and on no answer.

    Args:
        log: The log.
        question: What is asked.
        load: Gives a version.
        sums: What they are added to; the first are those of the whole window.

    Raises:
        SurefootError: The log cannot be read, or a version cannot be had.
    """
    groups = None if question.corners is None else question.corners.rare_groups
    if groups is None or question.kind != EvidenceKind.SHADOW:
        return ()
    gate = narrow_gate_type(question.gate, PairedGate)
    extra = PairedLossAccumulator(gate, question.since, question.until)
    since = question.opened - groups.reach
    raised = []
    columns: dict[str, dict[str, GroupValues]] = {}
    for name, (size, blocks) in _too_rare(gate, sums[0]):
        column = name.partition("=")[0]
        if column not in columns:
            columns[column] = count_groups(log, question.model, column, since, question.since)
        if (group := columns[column].get(name)) is None:
            continue
        limit = _READ_FACTOR * max(gate.min_per_slice, 1)
        older = log.read_group(question.model, since, question.since, column, group.texts, limit, question.until)
        chosen = list(_newest(gate, older, size, blocks))
        if not chosen:
            continue
        champion, candidate = (
            score_requests(load(version), chosen).answers for version in (question.champion, question.candidate)
        )
        counted = _add(extra, name, chosen, champion, candidate)
        unanswered = sum(one.key in champion and one.key not in candidate for one in chosen)
        raised.append(
            SupplementedGroup(name, size, counted, gate.min_per_slice, min(one.at for one in chosen), unanswered)
        )
    for one in sums if raised else ():
        one.merge(extra)
    return tuple(raised)


def _too_rare(gate: PairedGate, found: PairedLossAccumulator) -> list[tuple[str, tuple[int, set[int]]]]:
    """Groups that the gate cannot judge, with their requests and blocks; protected ones first, then by size."""
    sums = next(iter(found.sums.values()))
    sizes = {name: (int(rows.counts.sum()), set(rows.blocks.tolist())) for name, rows in sums.cells.by_slice() if name}
    sizes |= {name: (0, set()) for name in gate.protected if name not in sizes}
    rare = [(name, one) for name, one in sizes.items() if not _decides(gate, *one)]
    return sorted(rare, key=lambda one: (one[0] not in gate.protected, -one[1][0], one[0]))[:_MAX_GROUPS]


def _decides(gate: PairedGate, size: int, blocks: set[int]) -> bool:
    """Whether the gate judges a group of so many requests on these blocks."""
    return size >= gate.min_per_slice and (not gate.block or len(blocks) >= MIN_BLOCKS)


def _newest(gate: PairedGate, older: Sequence[LoggedRequest], size: int, blocks: set[int]) -> Iterator[LoggedRequest]:
    """The newest requests with a label, in whole blocks, until the gate can decide."""
    seen, last = set(blocks), None
    for one in older:
        if gate.metric is not Metric.DISAGREEMENT and one.label(gate.maturity) is None:
            continue
        block = int(one.at // gate.block) if gate.block else None
        if (block is None or block != last) and _decides(gate, size, seen):
            return
        last = block
        seen.add(0 if block is None else block)
        size += 1
        yield one


def _add(
    extra: PairedLossAccumulator, name: str, chosen: Sequence[LoggedRequest], champion: Answers, candidate: Answers
) -> int:
    """Add the sums of some requests to one group and to nothing else; gives how many were counted."""
    column = name.partition("=")[0]
    gate = extra.gate.model_copy(update={"by": (column,)})
    made = PairedLossAccumulator(gate, extra.since, extra.until)
    made.add(
        ScoredBatch(
            at=np.array([one.at for one in chosen]),
            champion=[champion.get(one.key) for one in chosen],
            candidate=[candidate.get(one.key) for one in chosen],
            labels=[one.label(gate.maturity) for one in chosen],
            late=np.zeros(len(chosen), dtype=bool),
            columns={column: [one.features.get(column) for one in chosen]},
            ids=[one.key[0] for one in chosen],
        )
    )
    for mine, theirs in zip(extra.kinds, made.kinds, strict=True):
        mine.merge(theirs)
    counted = 0
    for readings, sums in made.sums.items():
        for found, rows in sums.cells.by_slice():
            if found == name:
                alone = SumArrays(np.zeros(len(rows), dtype=np.int64), *(getattr(rows, key) for key in _CELLS))
                extra.sums[readings].cells.add([name], alone)
                counted = max(counted, int(rows.counts.sum()))
    return counted


_CELLS = ("blocks", "counts", "champion", "candidate")


def find_rare_groups(log: PredictionLog, question: EvidenceRequest) -> Iterator[tuple[str, GroupValues]]:
    """Groups of the shadow's gates with fewer request rows in the window than their gate needs, by name."""
    groups = None if question.corners is None else question.corners.rare_groups
    if groups is None:
        return
    known: dict[str, int] = {}
    for gate in question.shadow_gates:
        if isinstance(gate, SlicedGate):
            for column in gate.by:
                known[column] = max(known.get(column, 0), gate.min_per_slice)
    for column, needed in known.items():
        sizes = count_groups(log, question.model, column, question.since, min(question.opened, question.until))
        older = count_groups(log, question.model, column, question.opened - groups.reach, question.opened)
        for name in sorted(older):
            size = sizes[name].requests if name in sizes else 0
            if size < needed and (size or any(name in _protected(gate) for gate in question.shadow_gates)):
                yield name, older[name]


def _protected(gate: object) -> tuple[str, ...]:
    return gate.protected if isinstance(gate, SlicedGate) else ()
