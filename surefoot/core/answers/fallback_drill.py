"""Compare a fallback's answers to logged requests with the shape of the champion's answers."""

import json
from collections.abc import Iterable, Sequence

from surefoot.core.answers.answer_shapes import describe_answer_shapes
from surefoot.core.domain import FallbackAnswer
from surefoot.core.record.fallback_events import FallbackDrilled


def drill_fallback(
    fallback: FallbackAnswer, rows: Sequence[dict[str, object]], champion: Iterable[object]
) -> FallbackDrilled:
    """Ask a fallback rows, and say whether a caller could be given its answers in place of the champion's.

    Args:
        fallback: The fallback.
        rows: Logged rows by column; without any the answer to an unknown row is looked at.
        champion: What the champion has answered lately, as JSON values.
    """
    answers = [
        json.loads(text) for row in rows or [{}] for text in fallback.answers_of(list(row), [list(row.values())])
    ]
    missing = [column for column in fallback.columns if rows and not any(column in row for row in rows)]
    served = list(champion)
    expected = describe_answer_shapes(served)
    odd = [shape for shape in describe_answer_shapes(answers, like=served) if expected and shape not in expected]
    problem = ""
    if missing:
        problem = f"no logged request has its key column '{missing[0]}': every row would get the default"
    elif odd:
        problem = f"it answers {odd[0]}, and the champion answers {' or '.join(expected)}"
    return FallbackDrilled(fallback.kind, fallback.digest, len(rows), problem)
