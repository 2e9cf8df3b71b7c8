"""Score synthetic rows with one version, and explain invalid answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from surefoot.adapters.replay.batch_scoring import ScorableModel, declares_row_independence
from surefoot.adapters.replay.corners.corner_rows import SyntheticRow
from surefoot.core.answers.answer_shapes import describe_answer_shapes
from surefoot.core.errors import SurefootError
from surefoot.core.policy.corners import CornerBounds
from surefoot.models.child_process_scorer import ScoringAbandoned
from surefoot.models.model_protocols import PredictorLost
from surefoot.models.rows.answer_checks import check_answers, describe_error

MAX_PROCESS_DEATHS = 8
"""So often a version's process may end over all corners: a restart takes seconds, and other gates need some [count]."""


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """A version's answer to one synthetic row, and what is wrong with it.

    Attributes:
        answer: Its answer; None without one.
        problem: How it broke, in one line; empty when it did not.
        asked: Whether it was asked at all.
        died: Whether the row ended its process.
    """

    answer: object = None
    problem: str = ""
    asked: bool = True
    died: bool = False


@dataclass(slots=True)
class SyntheticRowScorer:
    """Scores synthetic rows with one version, and checks its answers against those to real rows.

    Attributes:
        model: The version.
        bounds: Bounds of the numbers in an answer; None for any.
        usual: Its answers to real requests.
        deaths: How often its process has ended [count].
    """

    model: ScorableModel
    bounds: CornerBounds | None = None
    usual: tuple[object, ...] = ()
    deaths: int = 0
    _shapes: tuple[str, ...] = field(default=(), init=False)

    def learn(self, rows: Sequence[SyntheticRow]) -> None:
        """Remember what the answers to real requests look like."""
        found = self._answers(rows)
        self.usual = tuple(one.answer for one in found if one.asked and not one.problem)
        self._shapes = describe_answer_shapes(self.usual)

    def ask(self, rows: Sequence[SyntheticRow]) -> list[RowAnswer]:
        """What the version makes of each row.

        Raises:
            SurefootError: The version could not be had.
        """
        return [self._checked(one) for one in self._answers(rows)]

    def _checked(self, found: RowAnswer) -> RowAnswer:
        """The answer, broken where its shape or its numbers are none of the usual ones."""
        if not found.asked or found.problem:
            return found
        shape = next(iter(describe_answer_shapes([found.answer], self.usual)), "nothing")
        if self._shapes and shape not in self._shapes:
            usual = "; or ".join(self._shapes)
            return RowAnswer(found.answer, f"it answers with {shape}, and to recorded requests with {usual}")
        beyond = "" if self.bounds is None else _beyond(found.answer, self.bounds)
        return RowAnswer(found.answer, beyond) if beyond else found

    def _answers(self, rows: Sequence[SyntheticRow]) -> list[RowAnswer]:
        """Answers in the order of the rows; rows of the same params are asked together where that changes nothing."""
        alone = declares_row_independence(self.model) is False
        groups: dict[object, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(place if alone else orjson.dumps(row.real.params), []).append(place)
        made = [RowAnswer(asked=False)] * len(rows)
        found_death = False
        for places in groups.values():
            waiting = [places]
            while waiting and not found_death:  # one row that ends the process is enough: the rest is not asked
                part = waiting.pop()
                before = self.deaths
                found = self._try([rows[place] for place in part])
                ended = self.deaths > before
                found_death = ended and len(part) == 1
                if found is None:
                    size = 1 if ended else (len(part) + 1) // 2  # few restarts find the rows that end a process
                    waiting += [part[at : at + size] for at in range(0, len(part), size)][::-1]
                else:
                    for place, one in zip(part, found, strict=True):
                        made[place] = one
        return made

    def _try(self, rows: Sequence[SyntheticRow]) -> list[RowAnswer] | None:
        """Answers to some rows asked at once; None where they break together, and are asked in smaller parts."""
        if self.deaths >= MAX_PROCESS_DEATHS:
            return [RowAnswer(asked=False)] * len(rows)
        try:
            params = rows[0].real.params
            features = [row.features for row in rows]
            answers = self.model.predict(features) if params is None else self.model.predict(features, params)
            return [RowAnswer(answer) for answer in check_answers(answers, len(rows))]
        except SurefootError:
            raise
        except ScoringAbandoned:
            self.deaths = MAX_PROCESS_DEATHS
            return [RowAnswer(asked=False)] * len(rows)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a version's code may raise anything; that is what is measured
            self.deaths += isinstance(error, PredictorLost)
            if len(rows) > 1:
                return None
            return [RowAnswer(problem=describe_error(error), died=isinstance(error, PredictorLost))]


def _beyond(answer: object, bounds: CornerBounds) -> str:
    """Which number of an answer is outside of its bounds; empty when none is."""
    for number in _numbers(answer):
        if bounds.lowest is not None and number < bounds.lowest:
            return f"it answers {number:g}, and the policy allows {bounds.lowest:g} at least"
        if bounds.highest is not None and number > bounds.highest:
            return f"it answers {number:g}, and the policy allows {bounds.highest:g} at most"
    return ""


def _numbers(answer: object) -> Iterator[float]:
    """Every number in an answer."""
    if isinstance(answer, Mapping):
        for item in answer.values():
            yield from _numbers(item)
    elif isinstance(answer, list):
        for item in answer:
            yield from _numbers(item)
    elif isinstance(answer, int | float) and not isinstance(answer, bool):
        yield float(answer)


def largest_difference(one: object, other: object) -> float:
    """Largest difference of two numbers at the same place of two answers; 0 where they have none in common."""
    return max((abs(a - b) for a, b in zip(_numbers(one), _numbers(other), strict=False)), default=0.0)
