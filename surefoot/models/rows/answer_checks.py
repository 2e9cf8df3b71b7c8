"""Check the number of a model's answers, refuse missing values, and describe errors such as unfit input."""

import math

_ERROR_LENGTH = 200
_SHORT = 32
MISSING_VALUE_TEXTS = frozenset({"nat", "<na>", "nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity"})
"""Texts that are no answers, in lower case and without blanks around them: what numpy, pandas, Python and JSON make of
a missing value or an infinity that is cast to text. "None" and "null" are not among them: they may be names of classes.
"""
MISSING_VALUE_INTEGER = -(2**63)
"""What numpy makes of a missing time, and of NaN, that is cast to a whole number."""


class UnfitInput(ValueError):
    """The rows of a request do not fit the model's signature: that is the caller's mistake, not the model's failure."""


UNFIT_INPUT_PREFIX = f"{UnfitInput.__name__}: "
"""How the description of such an error begins."""


def describe_error(error: BaseException) -> str:
    """Describe an error in one short line: its type and the beginning of its message."""
    if getattr(error, "described", False):
        return str(error)  # it was described where it was raised
    try:
        said = " ".join(str(error).split())[:_ERROR_LENGTH]
    except Exception:  # noqa: BLE001 - last resort: a model's own error may fail even at saying what it is
        said = "(it cannot be shown)"
    return f"{type(error).__name__}: {said}".encode("utf-8", "replace").decode()


def check_answers(answers: object, rows: int) -> list[object]:
    """Check the number of answers, and refuse missing and infinite values.

    Raises:
        ValueError: Names what is wrong.
    """
    made = check_answer_count(answers, rows)
    for answer in made:
        _check(answer)
    return made


def check_answer_count(answers: object, rows: int) -> list[object]:
    """Check the number of answers.

    Raises:
        ValueError: Names what is wrong.
    """
    if not isinstance(answers, list) or len(answers) != rows:
        given = len(answers) if isinstance(answers, list) else "no list of"
        raise ValueError(f"the model gave {given} answers for {rows} rows")
    return answers


def _check(answer: object) -> None:
    if isinstance(answer, str):
        if len(answer) < _SHORT and answer.strip().lower() in MISSING_VALUE_TEXTS:
            raise ValueError(f"the model gave the text {answer!r}, which stands for a missing value, as an answer")
        return
    if answer is None or answer == MISSING_VALUE_INTEGER or (isinstance(answer, float) and not math.isfinite(answer)):
        raise ValueError(f"the model gave {answer} as an answer")
    if isinstance(answer, list):
        for item in answer:
            _check(item)
    elif isinstance(answer, dict):
        for item in answer.values():
            _check(item)
