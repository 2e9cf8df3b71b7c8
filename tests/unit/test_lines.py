"""The lines of a request, whatever it holds: readers can take each of them, and they say what they leave out."""

import asyncio
from typing import Any

import orjson
import pytest

from surefoot.core.domain import LogPolicy, Split, Version
from surefoot.gateway.http import scoring_body, tensors
from surefoot.gateway.http.scoring_body import RequestTable
from surefoot.gateway.inference.attempts.attempt import Answered, Attempt, AttemptOutcome, Failed, ProcessDown, Revoked
from surefoot.gateway.inference.attempts.attempt_log_records import build_shadow_records
from surefoot.gateway.inference.request_assignment import new_request
from surefoot.gateway.log.prediction_log_writer import MAX_LINE_BYTES, label_lines, prediction_lines
from surefoot.gateway.log.redaction import LogRedactor
from surefoot.gateway.log.scoring_request import ScoringRequest

HIDING = LogRedactor(LogPolicy(hashed=("who",), dropped=("note",)), "s", "who")


def nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    """JSON of a value that is nested so deeply."""
    return f"{opening * levels}1{closing * levels}"


def job(table: RequestTable, redactor: LogRedactor | None = None, column: str | None = None) -> ScoringRequest:
    """The job of a table."""
    made = new_request(
        Split(Version("1", "sha256:1"), None, 0.0, "salt", "", 1),
        model="m",
        request="r",
        names=table.names,
        values=table.values,
        column=column,
        at=0.0,
        started=0.0,
        options=table.options,
    )
    made.redactor = redactor
    return made


def read(body: str, kind: str = "application/json") -> RequestTable:
    """The table of a body."""
    return scoring_body.decode_table(body.encode(), kind)


def records(made: ScoringRequest, predictions: list[object] | None = None) -> list[dict[str, Any]]:
    """What the lines of a job say; each can be read."""
    lines = prediction_lines(made, predictions, None if predictions is None else "1")
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 and len(line) <= MAX_LINE_BYTES for line in lines)
    return [orjson.loads(line) for line in lines]


DEEP = {
    "a list": f'{{"instances": [{nested(900)}]}}',
    "an object": '{"instances": [' + nested(900, '{"a":', "}") + "]}",
    "columns by number": f'{{"dataframe_split": {{"data": [[{nested(900)}, 1]]}}}}',
    "just too deep": f'{{"instances": [{nested(254)}]}}',
}


@pytest.mark.parametrize("body", DEEP.values(), ids=DEEP)
def test_every_request_has_lines_that_readers_take(body: str) -> None:
    """What is nested too deeply to be written is left out with its reason, and the answer is kept."""
    (record,) = records(job(read(body)), [0.5])
    assert (record["features"], record["left_out"], record["prediction"]) == (None, {"features": "too deep"}, 0.5)


def test_a_line_that_is_complete_says_nothing_of_it() -> None:
    """Where nothing is missing there is no mark."""
    assert "left_out" not in records(job(read('{"instances": [{"a": 1}]}')), [1])[0]


def test_a_line_has_a_limit_and_features_go_first() -> None:
    """A cell that grows sixfold when it is written costs the line its features, and what more it takes."""
    wild = read(",".join(map(str, range(44))) + "\n" + ",".join(["\x01" * 130_000] * 44), "text/csv")
    (record,) = records(job(wild), [0.5])
    assert (record["features"], record["left_out"]) == (None, {"features": "too long"})
    (record,) = records(job(wild), ["\x01" * 5_700_000])
    assert record["left_out"] == {"features": "too long", "prediction": "too long"}
    assert (record["prediction"], record["answered_by"]) == (None, "1")
    params = read('{"instances": [1], "params": {"a": "' + "x" * MAX_LINE_BYTES + '"}}')
    (record,) = records(job(params), [0.5])
    assert (record["params"], record["left_out"]) == (None, {"features": "too long", "params": "too long"})


def test_a_long_unit_is_a_digest_and_a_long_error_is_cut() -> None:
    """The texts that stand in every row are short, and two long units stay two."""
    made = []
    for end in "ab":
        one = job(read('{"instances": [{"who": "' + "\\u0001" * 300_000 + end + '"}]}'), column="who")
        one.error = "E: " + "x" * 2 * MAX_LINE_BYTES
        (record,) = records(one)
        assert len(record["error"]) == 1000
        made.append(record["unit"])
    assert {len(unit) for unit in made} == {24}
    assert len(set(made)) == 2


@pytest.mark.parametrize("failed", [False, True])
def test_what_stands_in_every_row_does_not_multiply(failed: bool) -> None:
    """Long names and params are not written again for row after row; short ones are, for any number of rows."""
    names = [f"{number}{'n' * 1000}" for number in range(10)]
    body = orjson.dumps({"dataframe_split": {"columns": names, "data": [[1] * 10] * 500}})
    params = orjson.dumps({"instances": [[1]] * 3000, "params": {"a": "p" * 10_000}})
    for content, left_out in ((body, {"features"}), (params, {"features", "params"})):
        assert len(content) < 23_000
        made = job(scoring_body.decode_table(content, "application/json"))
        lines = prediction_lines(made, None if failed else [1] * len(made.values), None)
        assert sum(map(len, lines)) < 60 * len(content)
        assert {frozenset(orjson.loads(line)["left_out"].items()) for line in lines} == {
            frozenset((name, "too long") for name in left_out)
        }
    wide = {"columns": [f"feature_number_{number}" for number in range(20)], "data": [[1.5] * 20] * 10_000}
    large = job(
        scoring_body.decode_table(orjson.dumps({"dataframe_split": wide, "params": {"a": 1}}), "application/json")
    )
    assert all("left_out" not in record for record in records(large, [1] * 10_000))


UNNAMED = {
    "bare rows": read('{"instances": [["N1-secret", 1]]}'),
    "a bare value": read('{"inputs": ["N1-secret"]}'),
    "no columns": read('{"dataframe_split": {"data": [["N1-secret", 1]]}}'),
    "other numbers": read('{"dataframe_split": {"columns": [3, "note"], "data": [["N1-secret", 1]]}}'),
    "a header of numbers": read("0,1\nN1-secret,1", "text/csv"),
    "a tensor": tensors.read_tensors(
        b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "BYTES", "data": ["N1-secret", "a"]}]}'
    )[0],
}


@pytest.mark.parametrize("table", UNNAMED.values(), ids=UNNAMED)
def test_rows_that_do_not_say_what_to_hide_are_not_written(table: RequestTable) -> None:
    """Where a column is to be hidden and a row does not say which one that is, nothing of the row is kept."""
    lines = prediction_lines(job(table, HIDING), [1], "1")
    assert b"secret" not in b"".join(lines)
    assert [orjson.loads(line)["left_out"] for line in lines] == [{"features": "no names"}]
    (record,) = records(job(table, LogRedactor(LogPolicy(share=99.999), "s", None)), [1])
    assert "left_out" not in record


def test_rows_that_name_their_columns_are_written() -> None:
    """Names tell what to hide, numbers too where the policy names columns by number."""
    (record,) = records(job(read('{"instances": [{"who": "N1-secret", "x": 1, "note": "a"}]}'), HIDING), [1])
    assert record["features"] == {"who": HIDING.keyed_digest("N1-secret"), "x": 1}
    (record,) = records(job(read('{"instances": [{"x": 1}]}'), HIDING), [1])
    assert record["features"] == {"x": 1}
    numbered = LogRedactor(LogPolicy(hashed=("0",), dropped=("2",)), "s", None)
    for body in ('{"data": [["N1", 1, "a"]]}', '{"columns": [0, 1, "2"], "data": [["N1", 1, "a"]]}'):
        (record,) = records(job(read(f'{{"dataframe_split": {body}}}'), numbered), [1])
        assert list(record["features"].values()) == [numbered.keyed_digest("N1"), 1]


def test_a_share_says_that_it_did_not_keep() -> None:
    """A request that is not of the share has a mark, whatever else would have been too long."""
    rare = LogRedactor(LogPolicy(share=1e-9), "s", None)
    for params in ("", ', "params": {"a": "' + "p" * 10_000 + '"}'):
        found = records(job(read(f'{{"instances": {[1] * 200}{params}}}'), rare), [1] * 200)
        wanted = {"features": "not kept", **({"params": "too long"} if params else {})}
        assert all(record["left_out"] == wanted for record in found)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_every_value_has_a_digest(opening: str, closing: str) -> None:
    """However deeply a value is nested, it has a digest, which only equal values share."""
    found = {}
    for levels in (1, 253, 254, 255, 256, 300, 1000, 1020):
        for inner in ("1", "1.0", '"1"', "[]", "{}", '{"a":1,"b":2}', "[1,2]", "[[1],2]", "null"):
            text = opening * levels + inner + closing * levels
            found[text] = HIDING.keyed_digest(orjson.loads(text))
    assert len(set(found.values())) == len(found)
    text = opening * 500 + '{"b":2,"a":1}' + closing * 500
    turned = opening * 500 + '{"a":1,"b":2}' + closing * 500
    assert HIDING.keyed_digest(orjson.loads(text)) == HIDING.keyed_digest(orjson.loads(turned))


def test_a_deep_value_that_is_hashed_is_a_digest_in_the_log() -> None:
    """A hashed column keeps its digest, and the row the rest of it."""
    (record,) = records(job(read(f'{{"instances": [{{"who": {nested(600)}, "x": 1}}]}}'), HIDING), [1])
    assert record["features"]["x"] == 1
    assert len(record["features"]["who"]) == 24
    assert "left_out" not in record


@pytest.mark.parametrize(
    ("label", "why"), [(nested(300), "too deep"), (f'"{"x" * MAX_LINE_BYTES}"', "too long")], ids=["deep", "long"]
)
def test_labels_that_cannot_be_kept_are_refused(label: str, why: str) -> None:
    """A label that could not be written, or not read again, is refused with its number and the limits."""
    with pytest.raises(ValueError, match=f"label 1 is {why}: at most 250 levels and 1048576 bytes"):
        label_lines(f'[{{"request": "a", "label": 1}}, {{"request": "b", "label": {label}}}]'.encode(), 0.0)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Failed("ValueError: no"), "ValueError: no"),
        (
            ProcessDown("version 1 cannot be started: ValueError: no"),
            "Down: version 1 cannot be started: ValueError: no",
        ),
        (Revoked(), "Revoked: it was let go before it had answered"),
        (Answered(b"[1]", "1"), None),
    ],
)
def test_a_shadow_says_how_it_failed(outcome: AttemptOutcome, error: str | None) -> None:
    """A record of a shadow without an answer always has its reason."""
    loop = asyncio.new_event_loop()
    attempt = Attempt(job(read('{"instances": [1]}')), last=False, settled=loop.create_future())
    loop.close()
    (line,) = build_shadow_records(attempt, outcome, [1] if error is None else [])
    record = orjson.loads(line)
    assert (record["error"], record["prediction"]) == (error, 1 if error is None else None)


def test_an_answer_of_a_shadow_has_a_limit_too() -> None:
    """What makes a line of a shadow too long is left out of it, and it says so."""
    loop = asyncio.new_event_loop()
    attempt = Attempt(job(read('{"instances": [1]}')), last=False, settled=loop.create_future())
    loop.close()
    (line,) = build_shadow_records(attempt, Answered(b"[]", "1"), ["x" * MAX_LINE_BYTES])
    assert len(line) < 1000
    assert orjson.loads(line)["left_out"] == {"prediction": "too long"}


@pytest.mark.parametrize("levels", [1, 900])
def test_a_list_is_no_unit(levels: int) -> None:
    """A request whose unit is a list or an object is split by itself, however deep that is nested."""
    made = job(read(f'{{"dataframe_records": [{{"who": {nested(levels)}, "x": 1}}]}}'), column="who")
    assert made.unit is None
