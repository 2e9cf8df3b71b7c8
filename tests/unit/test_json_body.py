"""What comes in as JSON can be read in one way only."""

import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from surefoot.gateway.http import scoring_body, tensors
from surefoot.gateway.json_body import DuplicateKey, InvalidJson, parse_json_body
from surefoot.gateway.log.prediction_log_writer import label_lines

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.sampled_from(['":', '{"a":1}', '"', "\\"])
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False), TEXTS
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=12,
)


@given(VALUES, st.sampled_from([None, 2]))
@example({'a":': '":'}, None)
def test_what_is_said_once_is_read(value: object, indent: int | None) -> None:
    """Any JSON without a repeated key is read as it is, whatever stands in its texts and however it is spaced."""
    body = json.dumps(value, indent=indent, separators=(" ,", " : ") if indent else None).encode()
    assert parse_json_body(body) == orjson.loads(body)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=3), VALUES, st.data())
def test_a_key_that_is_said_twice_is_refused(value: dict[str, object], other: object, data: st.DataObject) -> None:
    """One object with a repeated key is refused, wherever it stands and however the key is escaped."""
    key = data.draw(st.sampled_from(sorted(value)))
    escaped = data.draw(st.booleans())
    inner = json.dumps(value)[:-1] + f" , {json.dumps(key, ensure_ascii=escaped)} : {json.dumps(other)}}}"
    body = data.draw(st.sampled_from([inner, f"[{inner}]", f'{{"outer" :[1,{inner}]}}'])).encode()
    with pytest.raises(DuplicateKey, match="written twice"):
        parse_json_body(body)


TWICE = [
    b'{"dataframe_records": [{"x": 1, "x": 2}]}',
    b'{"instances": [1], "instances": [2]}',
    b'{"inputs":{"a":[1],"\\u0061":[2]}}',
]


@pytest.mark.parametrize("body", TWICE)
def test_scoring_bodies_say_each_key_once(body: bytes) -> None:
    """A scoring body with a repeated key is malformed, at any depth."""
    with pytest.raises(scoring_body.MalformedBody, match="written twice"):
        scoring_body.decode_table(body, "application/json")


def test_tensors_and_labels_say_each_key_once() -> None:
    """The same for the Open Inference Protocol and for labels."""
    with pytest.raises(scoring_body.MalformedBody, match="written twice"):
        tensors.read_tensors(b'{"inputs":[{"name":"x","name":"y","shape":[1],"datatype":"FP64","data":[1]}]}')
    with pytest.raises(ValueError, match="written twice"):
        label_lines(b'[{"request":"a","label":1,"label":0}]', 0.0)


def test_other_bodies_are_told_as_before() -> None:
    """What is no JSON is said so; NaN is null only where rows are read; long numbers and deep lists are no trouble."""
    with pytest.raises(InvalidJson):
        parse_json_body(b"{")
    with pytest.raises(InvalidJson):
        parse_json_body(b"[NaN]")
    assert parse_json_body(b'\xef\xbb\xbf[NaN, "NaN"]', nan=True) == [None, "NaN"]
    assert parse_json_body(b'["a\\":", ' + b"0." + b"1" * 5000 + b"]")
    with pytest.raises(DuplicateKey, match="nested"):
        parse_json_body(b'["\\":",' + b"[" * 1015 + b'{"a":1}' + b"]" * 1015 + b"]")
