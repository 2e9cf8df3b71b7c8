"""Read a version's scores and labels in time order, for the expected-loss gate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.adapters.evidence.paired.scored_batch import present_mask, probabilities_or_nan
from surefoot.adapters.replay.answer_columns import answer_scores, missing_answer_mask
from surefoot.adapters.replay.replay_window import ReplayWindow
from surefoot.adapters.replay.window_scoring import WindowScorer
from surefoot.core.answers.answer_values import Floats
from surefoot.core.judging.evidence_request import EvidenceRequest


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Scores of a version in the order of time; NaN where an answer or a label is no probability.

    Attributes:
        score: Scores, shape (n,).
        label: Labels, shape (n,).
        due: Which have a label that counts, shape (n,); the others wait for theirs.
        ids: Ids of the requests where a score or a label is NaN, shape (n,).
    """

    score: Floats
    label: Floats
    due: NDArray[np.bool_]
    ids: NDArray[np.object_]

    def select_by_label(self, *, due: bool) -> "LabelledScores":
        """Those that have their label, or those that wait for it."""
        some = self.due == due
        return LabelledScores(self.score[some], self.label[some], self.due[some], self.ids[some])

    def request_ids(self, which: NDArray[np.bool_]) -> list[str]:
        """Ids of some requests."""
        return [str(one) for one in self.ids[which]]


def read_labelled_scores(window: ReplayWindow, question: EvidenceRequest, *scoring: WindowScorer) -> LabelledScores:
    """Read the scores of the answered requests whose labels count, or can still come.

    Args:
        window: The requests.
        question: What is asked; its gate says when a label counts.
        scoring: The version; none for an empty window.
    """
    maturity, until = question.gate.maturity, question.until
    empty = np.zeros(0)
    parts = [(empty, empty, empty.astype(bool), empty.astype(bool), empty.astype(object))]
    for one in scoring:
        for (number, at, ids), column in zip(window.request_times(), one.answer_columns(), strict=True):
            label = window.matured_labels(number, at, maturity)["label"]
            score, truth = answer_scores(column), probabilities_or_nan(label)
            old = at + maturity <= until
            due = old & present_mask(label)
            wanted = ~missing_answer_mask(column) & (due | ~old)
            odd = np.isnan(score) | (due & np.isnan(truth))
            named = np.full(len(odd), "", dtype=object)
            named[odd] = [ids[int(place)] for place in np.flatnonzero(odd)]
            parts.append((score, truth, due, wanted, named))
    score, truth, due, wanted, named = (np.concatenate(some) for some in zip(*parts, strict=True))
    order = np.argsort(window.time_ranks())
    order = order[wanted[order]]
    return LabelledScores(score[order], truth[order], due[order], named[order])
