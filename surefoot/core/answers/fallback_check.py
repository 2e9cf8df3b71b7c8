"""Check whether a fallback's answers could replace the champion's."""

import json
from collections.abc import Iterable, Sequence

from surefoot.core.answers.answer_shapes import describe_answer_shapes
from surefoot.core.domain import Version
from surefoot.core.fallback import FAILOVER_TIME_LIMIT_S, PYFUNC_FALLBACK_KIND, FallbackAnswer, FallbackReference
from surefoot.core.journal.fallback_events import FallbackDrilled


def check_fallback_answers(
    fallback: FallbackAnswer, rows: Sequence[dict[str, object]], champion: Iterable[object]
) -> FallbackDrilled:
    """Compute a fallback's answers to logged rows, and check that callers could get them instead of the champion's.

    Args:
        fallback: The fallback.
        rows: Logged rows by column; without any the answer to an unknown row is looked at.
        champion: What the champion has answered lately, as JSON values.
    """
    answers = [
        json.loads(text) for row in rows or [{}] for text in fallback.answers_of(list(row), [list(row.values())])
    ]
    missing = [column for column in fallback.columns if rows and not any(column in row for row in rows)]
    problem = _odd_shape(answers, champion)
    if missing:
        problem = f"no logged request has its key column '{missing[0]}': every row would get the default"
    return FallbackDrilled(fallback.kind, fallback.digest, len(rows), problem)


def check_fallback_version_answers(
    source: FallbackReference,
    version: Version,
    answers: Sequence[object],
    errors: Sequence[str],
    champion: Iterable[object],
    seconds: float = 0.0,
) -> FallbackDrilled:
    """Check that callers could get the answers of a fallback version in place of the champion's.

    Args:
        source: The version as the policy names it.
        version: The version with the digest of its files.
        answers: What it has answered to logged rows, as JSON values.
        errors: How it has failed others, one text a row.
        champion: What the champion has answered lately, as JSON values.
        seconds: Time that all of these rows took [s].
    """
    rows = len(answers) + len(errors)
    problem = f"it fails {len(errors):,} of them: {errors[0]}" if errors else _odd_shape(answers, champion)
    if not problem and rows and seconds / rows > FAILOVER_TIME_LIMIT_S:
        each = f"it takes {seconds / rows:.1f} s for a row"
        problem = f"{each}, and callers are not kept longer than {FAILOVER_TIME_LIMIT_S:g} s"
    return FallbackDrilled(PYFUNC_FALLBACK_KIND, version.digest, rows, problem, source, version)


def _odd_shape(answers: Sequence[object], champion: Iterable[object]) -> str:
    """Why answers are of another shape than the champion's; empty when they are not."""
    served = list(champion)
    expected = describe_answer_shapes(served)
    odd = [shape for shape in describe_answer_shapes(answers, like=served) if expected and shape not in expected]
    return f"it answers {odd[0]}, and the champion answers {' or '.join(expected)}" if odd else ""
