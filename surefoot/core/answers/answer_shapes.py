"""Describe the shape of a model's answers by their JSON types."""

from collections.abc import Iterable

_MAX_SHAPES = 12
"""Shapes that are told apart [count]."""


def describe_answer_shapes(answers: Iterable[object], like: Iterable[object] = ()) -> tuple[str, ...]:
    """Different shapes of some answers, in words; lists are of any length where those that they are held against vary.

    Args:
        answers: JSON values; null is no answer.
        like: The answers whose lists say whether lengths vary; by default these themselves.
    """
    known = [answer for answer in answers if answer is not None]
    reference = [answer for answer in like if answer is not None] or known
    lengths = {len(answer) for answer in reference if isinstance(answer, list)}
    return tuple(sorted({_shape_of(answer, lengths=len(lengths) < 2) for answer in known}))[:_MAX_SHAPES]  # noqa: PLR2004 - one length


def _shape_of(answer: object, *, lengths: bool = True) -> str:
    """The shape of one answer, such as "a list of 2 numbers" or "an object of label (a text), score (a number)"."""
    if isinstance(answer, bool):
        return "true or false"
    if isinstance(answer, int | float):
        return "a number"
    if isinstance(answer, str):
        return "a text"
    if isinstance(answer, list):
        inside = sorted({_shape_of(item, lengths=lengths) for item in answer})
        kinds = {"a number": "numbers", "a text": "texts", "true or false": "truth values"}
        what = ", ".join(kinds.get(kind, kind) for kind in inside) or "nothing"
        return f"a list of {len(answer)} {what}" if lengths else f"a list of {what}"
    if isinstance(answer, dict):
        return "an object of " + ", ".join(
            f"{key} ({_shape_of(answer[key], lengths=lengths)})" for key in sorted(answer)
        )
    return "nothing"
