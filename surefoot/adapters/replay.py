"""Champion and candidate score the same logged requests: the paired evidence of the shadow stage."""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from surefoot.adapters.predictions import PredictionLog, Served
from surefoot.core.errors import SurefootError
from surefoot.core.evidence import Block, Missing, PairedLosses, Question, SplitCounts, Stratum
from surefoot.core.model import Outcome, Version
from surefoot.core.stats.losses import answer, decisions, losses

CHUNK = 2000
"""Rows scored in one call [count]: large enough for the model, small enough for progress and memory."""
GIVE_UP = 0.05
"""Share of unanswered requests above which the rest is not tried one by one any more."""

Key = tuple[str, int]


class Scores(Protocol):
    """A loaded model."""

    def predict(self, rows: list[dict[str, object]]) -> list[object]:
        """Answer every row, or raise."""
        ...


@dataclass(frozen=True, slots=True)
class Replayed:
    """Answers of one version to a window of requests.

    Attributes:
        answers: By request key; requests that it could not answer are absent.
        tried: Requests that were tried [count].
        problem: What the first failure said; empty without one.
    """

    answers: Mapping[Key, object]
    tried: int
    problem: str = ""


class Replay:
    """Scores windows of the prediction log, each request once per version."""

    def __init__(self, log: PredictionLog, load: Callable[[str, Version], Scores]) -> None:
        """Nothing is read or loaded before the first question."""
        self._log = log
        self._load = load
        self._models: dict[str, Scores] = {}
        self._scored: dict[tuple[str, str, float, float], Replayed] = {}
        self._windows: dict[tuple[str, float, float], list[Served]] = {}

    def window(self, question: Question) -> list[Served]:
        """The requests of the question's window."""
        key = (question.model, question.since, question.until)
        if key not in self._windows:
            self._windows = {key: self._log.requests(*key)}
        return self._windows[key]

    def score(self, question: Question, version: Version) -> Replayed:
        """One version's answers; what it has already answered live is not asked again."""
        key = (version.digest, question.model, question.since, question.until)
        if key not in self._scored:
            served = self.window(question)
            known = {
                r.key: r.prediction for r in served if r.answered_by == version.number and r.prediction is not None
            }
            if version.digest not in self._models:
                self._models[version.digest] = self._load(question.model, version)
            fresh = _score(self._models[version.digest], [r for r in served if r.key not in known])
            answers = {**known, **fresh.answers}
            self._scored = {k: v for k, v in self._scored.items() if k[1:] == key[1:]}
            self._scored[key] = Replayed(answers, fresh.tried + len(known), fresh.problem)
        return self._scored[key]

    def paired(self, question: Question) -> PairedLosses | Missing:
        """Losses of both versions on every request whose label has matured, by block and slice."""
        gate = question.gate
        served = self.window(question)
        if not served:
            return Missing(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        champion, candidate = (self.score(question, v) for v in (question.champion, question.candidate))
        mature = [r for r in served if r.at + gate.maturity <= question.until and r.key in champion.answers]
        labelled = [r for r in mature if r.label is not None]
        unscored = sum(r.key not in candidate.answers for r in mature)
        if candidate.tried < len(served):  # given up early: what was not tried counts at the rate of what was
            unscored = round(len(mature) * (1.0 - len(candidate.answers) / max(candidate.tried, 1)))
        both = [r for r in labelled if r.key in candidate.answers]
        truth = [r.label for r in both]
        pairs = [losses(gate.metric, [found.answers[r.key] for r in both], truth) for found in (champion, candidate)]
        same = [
            decisions(np.array([answer(found.answers[r.key]) for r in both], dtype=np.float64))
            for found in (champion, candidate)
        ]
        agreement = float(np.mean(np.isclose(same[0], same[1], rtol=1e-3))) if both else None
        slices = _slices(both, pairs, gate.by, gate.block)
        return PairedLosses(slices, len(mature), len(labelled), unscored, agreement)

    def failures(self, question: Question) -> SplitCounts | Missing:
        """Requests that each version cannot answer, as if both had been given half of them."""
        served = self.window(question)
        if not served:
            return Missing(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        champion, candidate = (self.score(question, v) for v in (question.champion, question.candidate))
        good = len(champion.answers), len(candidate.answers)
        bad = champion.tried - good[0], candidate.tried - good[1]
        return SplitCounts(
            (Stratum(0.5, bad[1], good[1], bad[0], good[0]),), bad[0] / champion.tried, "request", len(served)
        )


def _slices(
    both: Sequence[Served], pairs: Sequence[np.ndarray], by: Sequence[str], block: float
) -> dict[str, tuple[Block, ...]]:
    cells: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0, 0.0, 0.0]))
    for index, request in enumerate(both):
        names = ("", *(f"{column}={request.features.get(column)}" for column in by))
        for name in names:
            cell = cells[name][request.at // block]
            cell[0] += 1
            cell[1] += float(pairs[0][index])
            cell[2] += float(pairs[1][index])
    return {
        name: tuple(Block(_date(key * block), int(c[0]), c[1], c[2]) for key, c in sorted(blocks.items()))
        for name, blocks in cells.items()
    }


def _date(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%MZ")


def _score(model: Scores, served: Sequence[Served]) -> Replayed:
    """Score in chunks; a chunk that fails is halved until the requests that break it stand alone."""
    answers: dict[Key, object] = {}
    failed, problem = 0, ""
    waiting = [list(served[i : i + CHUNK]) for i in range(0, len(served), CHUNK)][::-1]
    while waiting:
        chunk = waiting.pop()
        try:
            found = model.predict([r.features for r in chunk])
        except SurefootError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the candidate's code may raise anything; that is what is measured
            problem = problem or f"{type(error).__name__}: {error}"[:200]
            if len(chunk) == 1:
                failed += 1
                if failed > max(50, GIVE_UP * len(served)):
                    break
            else:
                half = len(chunk) // 2
                waiting += [chunk[half:], chunk[:half]]
            continue
        answers.update(zip((r.key for r in chunk), found, strict=True))
    return Replayed(answers, len(answers) + failed, problem)
