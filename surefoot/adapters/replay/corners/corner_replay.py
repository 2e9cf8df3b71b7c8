"""Score synthetic corner-case rows with both versions."""

from collections.abc import Sequence
from dataclasses import replace

import orjson

from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog
from surefoot.adapters.replay.batch_scoring import ScorableModel
from surefoot.adapters.replay.corners.corner_rows import (
    Corner,
    ReferenceColumns,
    SyntheticRow,
    build_corners,
    build_rare_corner,
    rollout_seed,
    rows_digest,
)
from surefoot.adapters.replay.corners.rare_groups import find_rare_groups
from surefoot.adapters.replay.corners.row_answers import RowAnswer, SyntheticRowScorer, largest_difference
from surefoot.adapters.replay.corners.row_shrinking import shrink_row
from surefoot.core.domain import Outcome
from surefoot.core.errors import SurefootError
from surefoot.core.judging.corner_answers import BrokenRow, CornerAnswers, CornerResult
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.corners import Corners

_MAX_REFERENCE_REQUESTS = 5_000
"""Real requests of the window that rows are made from, drawn by request id [count]."""
_USUAL_ROWS = 100
"""Real requests whose answers tell what a version's answers look like [count]."""
_MAX_RARE_CORNERS = 20
"""Rare groups that have a corner of their own [count]."""
_MAX_SAMPLES = 5
"""Broken rows that are shown, one a corner [count]."""


def _read_reference_requests(log: PredictionLog, question: EvidenceRequest) -> list[LoggedRequest]:
    """Read the requests that synthetic rows are made from: those before the rollout, so that rows stay the same."""
    for until in dict.fromkeys((min(question.opened, question.until), question.until)):
        found = log.read_requests(question.model, question.since, until, limit=_MAX_REFERENCE_REQUESTS)
        if named := [request for request in found if request.features]:
            return sorted(named, key=lambda request: request.key)
    return []


def replay_corners(
    log: PredictionLog, question: EvidenceRequest, champion: ScorableModel, candidate: ScorableModel
) -> CornerAnswers | MissingEvidence:
    """Make the synthetic rows of every declared corner case, and compare both versions' answers to them.

    Args:
        log: The log of real requests.
        question: What is asked; its `corners` say which.
        champion: The version served today.
        candidate: The version on trial.

    Raises:
        SurefootError: The log cannot be read, a version cannot be had, or no values can be drawn.
    """
    declared = question.corners
    if declared is None:
        return MissingEvidence(Outcome.ERROR, "the policy declares no corners")
    requests = _read_reference_requests(log, question)
    if not requests:
        return MissingEvidence(
            Outcome.NO_DATA, f"no request of {question.model} with named columns was logged in the window"
        )
    columns = ReferenceColumns(requests, _input_types(candidate))
    if wrong := next(declared.problems(columns.kinds), None):
        return MissingEvidence(Outcome.ERROR, f"corners.{wrong}")
    seed = rollout_seed(question.rollout) if declared.seed is None else declared.seed
    corners = build_corners(declared, requests, columns, seed)
    corners += _rare_corners(log, question, declared, corners, seed)
    if not corners:
        return CornerAnswers((), 0, seed, rows_digest(corners))
    usual = [SyntheticRow(request, {}) for request in requests[:: max(len(requests) // _USUAL_ROWS, 1)][:_USUAL_ROWS]]
    old, new = SyntheticRowScorer(champion, declared.answers), SyntheticRowScorer(candidate, declared.answers)
    for asker in (old, new):
        asker.learn(usual)
    pair = _Pair(declared, old, new)
    results: list[CornerResult] = []
    samples: list[BrokenRow] = []
    for corner in corners:
        result, broken = pair.compare(corner)
        results.append(result)
        if broken is not None and len(samples) < _MAX_SAMPLES:
            samples.append(broken)
    return CornerAnswers(tuple(results), declared.rows, seed, rows_digest(corners), tuple(samples))


def _rare_corners(
    log: PredictionLog, question: EvidenceRequest, declared: Corners, corners: Sequence[Corner], seed: int
) -> list[Corner]:
    """A corner for each group that is too rare for its gate: its real requests, and these with the other corners."""
    groups = declared.rare_groups
    if groups is None:
        return []
    made = []
    for name, group in [*find_rare_groups(log, question)][:_MAX_RARE_CORNERS]:
        since, until = question.opened - groups.reach, min(question.opened, question.until)
        found = log.read_group(question.model, since, until, group.column, group.texts, declared.rows, until)
        if real := [request for request in found if request.features]:
            changes = [row.change for corner in corners for row in corner.rows if group.column not in row.change]
            made.append(build_rare_corner(f"{name} rare", changes, real, declared.rows, seed))
    return made


def _input_types(model: ScorableModel) -> dict[str, object]:
    """Types of a version's inputs by name; none where it cannot be asked, which its answers will show."""
    try:
        found = model.signature_fields().get("inputs")
    except SurefootError:
        raise
    except Exception:  # noqa: BLE001 - a version's process may end at any question
        return {}
    return found if isinstance(found, dict) else {}


class _Pair:
    """Both versions, asked about the same rows."""

    def __init__(self, declared: Corners, champion: SyntheticRowScorer, candidate: SyntheticRowScorer) -> None:
        """Know what breaking means.

        Args:
            declared: What the policy declares.
            champion: Asks the champion.
            candidate: Asks the candidate.
        """
        self._declared, self._champion, self._candidate = declared, champion, candidate

    def _ask(self, rows: Sequence[SyntheticRow]) -> list[tuple[RowAnswer, RowAnswer]]:
        """What the champion and the candidate make of each row; an answer too far from the champion's is broken."""
        made = []
        for old, new in zip(self._champion.ask(rows), self._candidate.ask(rows), strict=True):
            limit, judged = self._declared.max_difference, new
            if limit is not None and _answered(old) and _answered(new):
                apart = largest_difference(old.answer, new.answer)
                if not apart <= limit:
                    said = f"it answers {_json(new.answer)}, the champion {_json(old.answer)}: {apart:.6g} apart"
                    judged = replace(new, problem=f"{said}, and the policy allows {limit:g}")
            made.append((old, judged))
        return made

    def compare(self, corner: Corner) -> tuple[CornerResult, BrokenRow | None]:
        """What became of a corner, and its smallest broken row."""
        pairs = self._ask(corner.rows)
        told = [(row, *pair) for row, pair in zip(corner.rows, pairs, strict=True)]
        broken = [(row, old, new) for row, old, new in told if new.problem and _answered(old)]
        both = sum(not (_answered(old) or _answered(new)) for old, new in pairs)
        alone = sum(_answered(new) and not _answered(old) for old, new in pairs)
        unasked = sum(_answered(old) and not new.asked for old, new in pairs)
        result = CornerResult(corner.name, len(corner.rows), len(broken), both, alone, unasked)
        if not broken:
            return result, None
        first, *pair = broken[0]
        last = (pair[0], pair[1])

        def breaks(row: SyntheticRow) -> bool:
            nonlocal last
            ((old, new),) = self._ask([row])
            if not (new.asked and new.problem and _answered(old)):
                return False
            last = (old, new)
            return True

        return result, _shown(corner.name, shrink_row(first, breaks, values=not pair[1].died), *last)


def _answered(found: RowAnswer) -> bool:
    return found.asked and not found.problem


def _shown(corner: str, row: SyntheticRow, champion: RowAnswer, candidate: RowAnswer) -> BrokenRow:
    """A broken row for people."""
    recorded = {name: row.real.features.get(name) for name in row.change}
    return BrokenRow(
        corner,
        row.real.key[0],
        candidate.problem,
        _json(row.change),
        _json(recorded),
        _json(row.features),
        _json(champion.answer),
    )


def _json(value: object) -> str:
    return orjson.dumps(value, default=str).decode()
