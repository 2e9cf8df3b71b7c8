"""Select for each logged request the last label that arrived within the policy's time limit."""

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.core.answers.answer_values import Floats


def labels_in_time(labels: Any, number: "NDArray[np.int64]", at: Floats, maturity: float) -> dict[str, Any]:
    """For each request: the last label that came in time, how many came in time, and how many came in all.

    Args:
        labels: Arrow table of labels in the order of n and time, with the columns n, at and label.
        number: Number of each request, shape (n,).
        at: When each was made [Unix seconds], shape (n,).
        maturity: Age at which a label counts [seconds]; 0 takes whatever is known.
    """
    first, last = int(number.min()), int(number.max())
    row = np.full(last - first + 1, -1)
    row[number - first] = np.arange(len(number))
    whose = row[labels.column("n").to_numpy() - first]
    came = labels.column("at").to_numpy()
    counted = (whose >= 0) & ((maturity == 0.0) | (came <= at[whose] + maturity))
    latest = np.full(len(number), -1)
    latest[whose[counted]] = np.flatnonzero(counted)  # of several the last one stays
    return {
        "label": _take_json_values(labels.column("label").combine_chunks(), latest),
        "in_time": np.bincount(whose[counted], minlength=len(number)),
        "known": np.bincount(whose[whose >= 0], minlength=len(number)),
    }


def _take_json_values(texts: Any, which: NDArray[np.int64]) -> Any:
    """Some of a column of JSON texts, of -1 none: numbers as an array with NaN, everything else as a list."""
    encoded = texts.dictionary_encode()
    values = [json.loads(item) for item in encoded.dictionary.to_pylist()]
    where = np.append(encoded.indices.to_numpy(), len(values))[which]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array([*values, math.nan], dtype=float)[where]
    return [[*values, None][index] for index in where]
