"""Find expectations that can never fail, by trying tables of extreme values."""

import json
import re
from functools import lru_cache
from typing import Any

from surefoot.adapters.expectations import result_wording as words
from surefoot.adapters.expectations import suite_rules as rules
from surefoot.adapters.expectations.adversarial_tables import adversarial_tables
from surefoot.adapters.expectations.great_expectations import (
    build_expectation,
    expectation_phrase,
    first_error_line,
    gx_exception_message,
    import_great_expectations,
    make_gx_batch,
)

_ELSEWHERE = re.compile(r"row_count|unique_value_count|value_lengths|not_match|other_table")
"""Expectations that only a larger table, a longer text, or an invented text can break; the bounds of
counts are looked at by `suite_rules.expectation_never_fails_reason`."""
_COLUMN = re.compile(r"column|name .* is not defined|undefined", re.IGNORECASE)
"""Tells that an expectation was not tried, for a column that it needs was not found."""


@lru_cache(16)
def find_unbreakable_expectations(declared: str) -> tuple[str, ...]:
    """Describe the expectations that no table violates, and those that no table can be checked against.

    Args:
        declared: The expectations of a suite as JSON; each of them is known to be valid.
    """
    items: list[dict[str, Any]] = json.loads(declared)
    gx = import_great_expectations()
    seen: dict[int, set[str]] = {
        at: set() for at, item in enumerate(items) if not _ELSEWHERE.search(str(item.get("type")))
    }
    for table in adversarial_tables(items):
        # What has failed once is a check, and is tried no more: most of a suite fails on one of the first tables.
        untold = [at for at, some in seen.items() if "fails" not in some]
        if not untold:
            break
        wanted = [build_expectation(gx, at, rules.parse_date_columns(items[at], table)) for at in untold]
        try:
            answer = make_gx_batch(gx, table).validate(
                gx.ExpectationSuite(name="tried", expectations=wanted), result_format="BASIC"
            )
        except Exception as error:  # noqa: BLE001 - one expectation may end all of them
            for at in untold:
                seen[at].add(first_error_line(error))
            continue
        for result in answer.results:
            problem = gx_exception_message(result.exception_info)
            at = result.expectation_config.meta["position"]
            seen[at].add(problem or ("holds" if result.success else "fails"))
    found = (_problem(items[at], some) for at, some in seen.items())
    return tuple(words.replace_unencodable_text(problem) for problem in found if problem)


def _problem(item: dict[str, Any], seen: set[str]) -> str:
    """Why an expectation is no check, by all that was seen of it; empty where it is one."""
    if "fails" in seen:
        return ""
    if "holds" in seen:
        return (
            f"{expectation_phrase(item)} is no check: it held on all tables of unlikely values that it was tried on, so"
            " nothing can fail it"
        )
    if len(seen) == 1 and not _COLUMN.search("".join(seen)):
        return (
            f"{expectation_phrase(item)} could not be evaluated on any table that it was tried on: {next(iter(seen))}"
        )
    return ""
