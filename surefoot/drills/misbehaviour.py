"""Define how a drill's faulty version misbehaves, and which inputs of the model are typical."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

FAULT_FILE_VARIABLE = "SUREFOOT_DRILL_FAULT"
"""Environment variable with the path of the file that says how the version misbehaves; without it, it never does."""
_LONGEST_DISTANCE = 6.0
"""Distances from the usual values that count at most, in widths of the usual values [count]."""


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """How a version misbehaves, and for which rows; written to a file when a fault begins.

    Attributes:
        mode: "raise", "nan", "hang", "exit", "leak", "invert", or empty for none.
        where: Rows are hit that have all of these values, as text, by column; every row without any.
        share: Share of such rows that is hit, chosen by their content [0 to 1].
        size: Seconds that a row takes, or megabytes that a call leaks.
    """

    mode: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0
    size: float = 0.0

    def write(self, file: Path) -> None:
        """Let every process of the version misbehave so from its next request on."""
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)), encoding="utf-8")
        fresh.replace(file)


@dataclass(frozen=True, slots=True)
class TypicalInputs:
    """Typical values of each input column, and the form of answers, in the requests from which a drill was made.

    Attributes:
        numbers: First and last usual value of each column of numbers.
        texts: Values of each column of text.
        form: Form of an answer: "classes" (two probabilities), "probability", "number" or "other".
        scale: Standard deviation of answers that are numbers.
        sign: Direction in which answers are wrong more often: 1.0 or -1.0.
        harm: How far answers of the good version move when a column grows by the width of its usual values, on average.
    """

    numbers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    form: str = "other"
    scale: float = 1.0
    sign: float = 1.0
    harm: Mapping[str, float] = field(default_factory=dict)

    def distance(self, rows: "pd.DataFrame") -> "NDArray[np.float64]":
        """How far each row is from what was usual, in widths of the usual values, over all columns."""
        total = np.zeros(len(rows))
        for name, (low, high) in self.numbers.items():
            values = rows[name].to_numpy(dtype=float)
            beyond = np.maximum(np.maximum(values - high, low - values), 0.0) / max(high - low, 1e-9)
            total += np.minimum(np.nan_to_num(beyond), _LONGEST_DISTANCE)
        for name, texts in self.texts.items():
            known = rows[name].isin(texts) | rows[name].isna()
            total += np.where(known, 0.0, _LONGEST_DISTANCE)
        return total
