"""Laws of bodies with NaN, which Python writes for a missing number."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from surefoot.gateway.http.scoring_body import decode_table

TEXTS = st.text(st.sampled_from('Na"\\ ,:[]{}é\n') | st.characters(exclude_categories=["Cs"]), max_size=12)
CELLS = st.recursive(
    st.none() | st.booleans() | st.just(math.nan) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def without_nan(value: object) -> object:
    """The same value with null for NaN."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return value


@given(rows=st.lists(st.fixed_dictionaries({"a": CELLS, "NaN": CELLS}), min_size=1, max_size=3))
def test_nan_is_read_as_null_and_nothing_else_is_touched(rows: list[dict[str, object]]) -> None:
    """A body with NaN is read as the same body with null, whatever stands in its texts and keys."""
    for ascii_only in (True, False):
        body = json.dumps({"dataframe_records": rows}, ensure_ascii=ascii_only).encode()
        plain = json.dumps({"dataframe_records": without_nan(rows)}).encode()
        assert decode_table(body, "application/json") == decode_table(plain, "application/json")
