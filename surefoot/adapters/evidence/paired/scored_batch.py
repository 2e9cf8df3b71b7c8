"""Define a batch of requests with both versions' answers, the labels, and feature values as codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.core.answers.answer_values import Floats, answer_probability
from surefoot.core.canonical_text import canonical_text, canonical_text_of_json
from surefoot.core.errors import InvariantBroken

AnswerColumn = Sequence[object] | Floats


@dataclass(frozen=True, slots=True)
class CategoryCodes:
    """Values of one feature as integer codes and a list of distinct canonical texts.

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
        ids: Ids of the requests, to name those whose values cannot be read; empty when they are not known.
    """

    at: Floats
    champion: AnswerColumn
    candidate: AnswerColumn
    labels: AnswerColumn
    late: NDArray[np.bool_]
    corrected: int = 0
    columns: Mapping[str, AnswerColumn | CategoryCodes] = field(default_factory=dict)
    ids: Sequence[str] = ()


def select_answers_and_labels(batch: ScoredBatch, chosen: NDArray[np.intp]) -> tuple[list[AnswerColumn], AnswerColumn]:
    """Select both versions' answers and the labels of some requests of a batch."""
    return [_take_rows(side, chosen) for side in (batch.champion, batch.candidate)], _take_rows(batch.labels, chosen)


def present_mask(items: AnswerColumn) -> NDArray[np.bool_]:
    """Which of the answers or labels exist, shape (n,)."""
    if isinstance(items, np.ndarray):
        return np.asarray(~np.isnan(items))
    return np.array([item is not None for item in items], dtype=bool)


def _take_rows(items: AnswerColumn, chosen: NDArray[np.intp]) -> AnswerColumn:
    """Some of the answers, labels or values of a column."""
    return items[chosen] if isinstance(items, np.ndarray) else [items[index] for index in chosen]


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
