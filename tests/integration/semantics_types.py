"""Cases about the types of columns, on models with every type; and about what a model may answer."""

import json

from tests.integration.semantics_cases import (
    Differs,
    Expected,
    Request,
    body,
    csv,
    inputs,
    instances,
    of,
    records,
    split,
)

ROW: dict[str, object] = {
    "carrier": "UA",
    "distance": 1400.5,
    "delay": 12.5,
    "seats": 150,
    "minutes": 227,
    "night": False,
    "wind": 10.5,
    "tail": "N1",
}
NULLS = {**ROW, "carrier": "AA", "distance": 300.0, "night": True, "wind": None, "tail": None}
DAY = {**ROW, "departs": "2013-07-01T19:03:00"}

_MISSING = "null is missing in every format, where MLflow makes it the word None, or another kind next to other rows"
_OPTIONAL = "an optional column that is left out is one of missing values, so that it can share a batch"
_INFINITE = "JSON has no infinity, and the log could not hold it"
_WRAPS = "MLflow wraps a number that is too large round to another one"
_TRUTH = "only truth values are truth values: for MLflow every text is true, False as well"
_NULL = "a null is missing, and not False"
_FRACTION = "MLflow cuts off what is behind the point, without a word"
_TOO_LARGE = "MLflow makes an infinity of it, without a word"
_BARE = "the gates compare an answer with a number, not with an object that is named by the series"
_OUTPUTS = (
    "several outputs are an object for each row, as a frame of these columns is, so that requests can share a batch"
)
_TEXT = "a list is no text"
_CSV_DATES = "MLflow reads no dates from CSV at all"
_DATES = "a date is read in one way in every format"
_ALONE = "a date is read alone: the other rows of its batch, of other callers as well, must not decide what it means"
_ZONE = "a time with an offset is one in UTC"
_EACH = "each row needs an answer of its own, so that requests can share a batch"
_NO_ANSWER = "null, NaN and infinities are no answers, and not JSON either"
_RAGGED = "a row that is too short has lost a value, and it is unknown which"
_BREAKS = "the caller gets an error that says what is wrong, where MLflow breaks"


def but(**changed: object) -> dict[str, object]:
    """The row with other cells."""
    return {**ROW, **changed}


def day(**changed: object) -> dict[str, object]:
    """The row with a date and other cells."""
    return {**DAY, **changed}


def without(*names: str, row: dict[str, object] = ROW) -> dict[str, object]:
    """The row without some cells."""
    return {name: cell for name, cell in row.items() if name not in names}


def columns(*rows: dict[str, object]) -> Request:
    """Ask with inputs, column by column."""
    return inputs({name: [row[name] for row in rows] for name in rows[0]})


def table(*rows: dict[str, object]) -> Request:
    """Ask with a table; a text is written as it is."""
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return csv("\n".join(lines))


def written(name: str, cell: str) -> Request:
    """Ask with a cell that is JSON as it is written."""
    plain = json.dumps({"dataframe_records": [but(**{name: "?"})]})
    return Request(plain.replace('"?"', cell).encode())


def told(row: dict[str, object]) -> object:
    """What the model answers that tells what it saw."""
    seen = "; ".join(f"{name} {cell}" for name, cell in row.items() if cell is not None)
    return {"seen": seen, "far": True}


def tells(theirs: int, *rows: dict[str, object], why: str) -> Differs:
    """The gateway's model has seen these rows."""
    return Differs(200, theirs, why, predictions=[told(row) for row in rows])


def like(theirs: int, *rows: dict[str, object], why: str) -> Differs:
    """The gateway predicts what MLflow does for these records."""
    return Differs(200, theirs, why, like=records(*rows))


def refused(why: str, theirs: int = 200) -> Differs:
    """The gateway refuses what MLflow answers."""
    return Differs(400, theirs, why)


OTHER = but(carrier="AA", seats=99, night=True)
FORMATS: dict[str, Expected] = {
    "split": split(ROW, list(ROW.values())),
    "split of two": split(ROW, list(ROW.values()), list(OTHER.values())),
    "records": records(ROW),
    "records of two": records(ROW, OTHER),
    "records with nulls": records(ROW, NULLS),
    "records reordered": records(dict(reversed(ROW.items()))),
    "instances": instances(ROW),
    "instances of two": instances(ROW, OTHER),
    "instances with nulls": (instances(ROW, NULLS), like(200, ROW, NULLS, why=_MISSING)),
    "instances with null number": instances(but(wind=None)),
    "inputs": columns(ROW, OTHER),
    "inputs with nulls": (columns(ROW, NULLS), like(200, ROW, NULLS, why=_MISSING)),
    "inputs with null number": columns(but(wind=None)),
    "inputs of scalars": inputs(ROW),
    "inputs of objects": inputs([ROW, OTHER]),
    "inputs of objects with nulls": (inputs([ROW, NULLS]), like(200, ROW, NULLS, why=_MISSING)),
    "csv": table(ROW),
    "csv of two": table(ROW, OTHER),
    "csv with blanks": table(but(wind="", tail="")),
    "optional absent in one": records(ROW, without("wind")),
    "optional text absent in one": records(ROW, without("tail")),
    "optional null": records(but(wind=None)),
    "optional null in one": records(ROW, but(wind=None)),
    "optional text null in one": records(ROW, but(tail=None)),
    "optional NaN": written("wind", "NaN"),
    "optional text NaN": written("tail", "NaN"),
    "required NaN": written("distance", "NaN"),
    "required absent": records(without("distance")),
    "required absent in one": records(ROW, without("distance")),
    "required text absent": records(without("carrier")),
    "extra": records(but(gate="B7")),
    "extra nested": records(but(gate={"a": [1]})),
    "text null in one": records(ROW, but(carrier=None)),
    "text that is new": records(but(carrier="✈️👩‍✈️")),
}
PIPELINE: dict[str, Expected] = {
    # Alone in its column a null is None for MLflow; next to a text it is NaN, as it was when the pipeline was trained.
    "records of nulls": (records(NULLS), Differs(200, 200, _MISSING, like=records(NULLS, ROW))),
    "optional text null": (records(but(tail=None)), Differs(200, 200, _MISSING, like=records(but(tail=None), ROW))),
    "optional absent": (records(without("wind")), like(400, but(wind=None), why=_OPTIONAL)),
    "optional absent in csv": (table(without("wind")), like(400, but(wind=None), why=_OPTIONAL)),
    "optionals absent": (records(without("wind", "tail")), like(400, but(wind=None, tail=None), ROW, why=_OPTIONAL)),
    "boolean null": (records(but(night=None)), refused(_NULL)),
    "text is a list": records(but(carrier=["UA"])),
}
TYPED: dict[str, Expected] = {
    "records of nulls": records(NULLS),
    "optionals absent": records(without("wind", "tail")),
    "Infinity": (written("distance", "Infinity"), refused(_INFINITE)),
    "required text null, instances": (instances(but(carrier=None)), tells(200, but(carrier=None), why=_MISSING)),
    "row too short": (split(ROW, list(ROW.values()), list(ROW.values())[:-1]), refused(_RAGGED)),
    "text": records(but(carrier="Ünïön")),
    "text as it is": Request(json.dumps({"dataframe_records": [but(carrier="Ünïön")]}, ensure_ascii=False).encode()),
    "text empty": records(but(carrier="")),
    "text long": records(but(carrier="x" * 5000)),
    "text with quote": records(but(carrier='U"A')),
    "text with zero byte": records(but(carrier="U\x00A")),
    "text null": records(but(carrier=None)),
    "text nan": records(but(carrier="nan")),
    "text None": records(but(carrier="None")),
    "text is a number": records(but(carrier=7)),
    "text is a float": records(but(carrier=7.0)),
    "text is a large float": records(but(carrier=1e22)),
    "text is a truth value": records(but(carrier=True)),
    "text is a number in one": records(ROW, but(carrier=7)),
    "text is a number, instances": instances(but(carrier=7)),
    "text is a number, inputs": columns(but(carrier=7)),
    "text is a list": (records(but(carrier=["UA"])), refused(_TEXT)),
    "text is an object": (records(but(carrier={"a": 1})), refused(_TEXT)),
    "double is an int": records(but(distance=1400)),
    "double is a text": records(but(distance="1400.5")),
    "double is a word": records(but(distance="far")),
    "double is a truth value": records(but(distance=True)),
    "double is huge": written("distance", "1180591620717411303424"),
    "double null": records(but(distance=None)),
    "double null in one": records(ROW, but(distance=None)),
    "double null, instances": instances(but(distance=None)),
    "double null, inputs": columns(but(distance=None)),
    "float is an int": records(but(delay=12)),
    "float of many digits": records(but(delay=12.123456789)),
    "float of many digits, instances": instances(but(delay=0.1)),
    "float of many digits, inputs": columns(but(delay=0.1)),
    "float beyond 2**24": records(but(delay=2**24 + 1)),
    "float too large": (records(but(delay=1e39)), refused(_TOO_LARGE)),
    "float is a text": records(but(delay="12.5")),
    "float null": records(but(delay=None)),
    "integer negative": records(but(seats=-150)),
    "integer is a float": (records(but(seats=150.5)), refused(_FRACTION)),
    "integer is a whole float": records(but(seats=150.0)),
    "integer is a float in one": (records(ROW, but(seats=150.5)), refused(_FRACTION)),
    "integer is a float, instances": (instances(but(seats=150.5)), refused(_FRACTION)),
    "integer is a float, inputs": (columns(but(seats=150.5)), refused(_FRACTION)),
    "integer is a whole float, inputs": columns(but(seats=150.0)),
    "integer is a text": records(but(seats="150")),
    "integer is a float in a text": records(but(seats="150.5")),
    "integer is a truth value": records(but(seats=True)),
    "integer null": records(but(seats=None)),
    "integer null in one": records(ROW, but(seats=None)),
    "integer null, instances": instances(but(seats=None)),
    "integer null, inputs": columns(but(seats=None)),
    "integer too large": (records(but(seats=2**31)), refused(_WRAPS)),
    "integer too large, a float": (records(but(seats=3e9)), refused(_WRAPS)),
    "integer too large, instances": instances(but(seats=2**31)),
    "integer too large, inputs": columns(but(seats=2**31)),
    "long is a float": (records(but(minutes=227.5)), refused(_FRACTION)),
    "long is a whole float": records(but(minutes=227.0)),
    "long is a text": records(but(minutes="227")),
    "long null": records(but(minutes=None)),
    "long beyond 2**53": records(but(minutes=2**53 + 1)),
    "long beyond 2**53 with null": records(but(minutes=2**53 + 1), but(minutes=None)),
    "long at its limit": records(but(minutes=2**63 - 1)),
    "long too large": (records(but(minutes=2**63)), refused(_WRAPS)),
    "long huge": written("minutes", "1180591620717411303424"),
    "boolean is one": records(but(night=1)),
    "boolean is 1.0": records(but(night=1.0)),
    "boolean is zero with true": records(but(night=True), but(night=0)),
    "boolean is one, instances": instances(but(night=1)),
    "boolean is one, inputs": columns(but(night=1)),
    "boolean is two": (records(but(night=2)), refused(_TRUTH)),
    "boolean is False as text": (records(but(night="False")), refused(_TRUTH)),
    "boolean is False as text, instances": (instances(but(night="False")), refused(_TRUTH)),
    "boolean is False as text, inputs": (columns(but(night="False")), refused(_TRUTH)),
    "boolean is an empty text": (records(but(night="")), refused(_TRUTH)),
    "boolean null": (records(but(night=None)), tells(200, but(night=None), why=_NULL)),
    "boolean null in one": (records(ROW, but(night=None)), tells(200, ROW, but(night=None), why=_NULL)),
    "boolean is one with null": (
        records(but(night=1), but(night=None)),
        tells(200, but(night=True), but(night=None), why=_NULL),
    ),
    "boolean null, inputs": (columns(but(night=None)), tells(200, but(night=None), why=_NULL)),
}
IN_CSV: dict[str, Expected] = {
    **{f"csv text {cell}": table(but(carrier=cell)) for cell in ("007", "7", "7.50", "1e5", "True", "true", "Ünïön")},
    **{f"csv text {cell}": table(but(carrier=cell)) for cell in ("NA", "N/A", "#N/A", "n/a", "null", "NULL", "<NA>")},
    **{f"csv text {cell}": table(but(carrier=cell)) for cell in ("nan", "NaN", "-nan", "None", "none", "1.#IND")},
    "csv text with blanks": table(but(carrier=" UA ")),
    "csv text with comma": table(but(carrier='"U,A"')),
    "csv text with line": table(but(carrier='"U\nA"')),
    "csv text with quote": table(but(carrier='"U""A"')),
    "csv text quoted and empty": table(but(carrier='""')),
    "csv float of many digits": table(but(delay="0.1")),
    "csv integer is a float": table(but(seats="150.5")),
    "csv integer is a whole float": table(but(seats="150.0")),
    "csv integer blank": table(but(seats="")),
    "csv integer too large": table(but(seats=str(2**31))),
    "csv long beyond 2**53": table(but(minutes=str(2**53 + 1))),
    "csv long too large": table(but(minutes=str(2**63))),
    "csv boolean in small letters": table(but(night="true")),
    "csv boolean in capitals": table(but(night="FALSE")),
    "csv boolean is a number": table(but(night="1")),
    "csv boolean is yes": table(but(night="yes")),
    "csv boolean blank": (table(but(night="")), tells(400, but(night=None), why=_NULL)),
}
DATES: dict[str, Expected] = {
    "records": records(DAY),
    "without time": records(day(departs="2013-07-01")),
    "null": records(day(departs=None)),
    "null in one": records(DAY, day(departs=None)),
    "empty": records(day(departs="")),
    "nanoseconds": records(day(departs="2013-07-01T19:03:00.123456789")),
    "month first": records(day(departs="07/01/2013 19:03")),
    "month first or day first": records(day(departs="01/02/2013")),
    "day first": records(day(departs="13/01/2013")),
    "month in words": records(day(departs="1 July 2013")),
    "far": records(day(departs="3013-07-01")),
    "number": records(day(departs=1372705380)),
    "float": records(day(departs=1372705380.5)),
    "word": records(day(departs="tomorrow")),
    "impossible": records(day(departs="2013-02-30")),
    "truth value": records(day(departs=True)),
    "list": records(day(departs=["2013-07-01"])),
    "instances": instances(DAY),
    "instances with word": instances(day(departs="tomorrow")),
    "instances with number": instances(day(departs=1372705380)),
    "instances, month first": (
        instances(day(departs="07/01/2013 19:03")),
        like(400, day(departs="07/01/2013 19:03"), why=_DATES),
    ),
    "inputs": columns(DAY),
    "inputs with null": columns(day(departs=None)),
    "Z": (records(day(departs="2013-07-01T19:03:00Z")), like(400, DAY, why=_ZONE)),
    "offset": (records(day(departs="2013-07-01T21:03:00+02:00")), like(400, DAY, why=_ZONE)),
    "instances with Z": instances(day(departs="2013-07-01T19:03:00Z")),
    "instances with offset": instances(day(departs="2013-07-01T21:03:00+02:00")),
    "instances of two formats": instances(DAY, day(departs="2013-12-31 23:59:59.123456")),
    "two formats": (records(DAY, day(departs="1 July 2013 19:03")), like(400, DAY, DAY, why=_ALONE)),
    "month first after day first": (
        records(day(departs="13/01/2013"), day(departs="01/02/2013")),
        like(200, day(departs="2013-01-13"), day(departs="2013-01-02"), why=_ALONE),
    ),
    "csv": (table(DAY), like(400, DAY, why=_CSV_DATES)),
    "csv blank": (table(day(departs="")), like(400, day(departs=None), why=_CSV_DATES)),
    "csv, month first": (table(day(departs="07/01/2013")), like(400, day(departs="07/01/2013"), why=_CSV_DATES)),
    "csv word": table(day(departs="tomorrow")),
    "text null": records(day(carrier=None)),
    "text is a number": records(day(carrier=7)),
    "optional absent": records(without("wind", row=DAY)),
    "optional absent in one": records(DAY, without("wind", row=DAY)),
    "integer is a float": (records(day(seats=150.5)), refused(_FRACTION)),
    "integer null": records(day(seats=None)),
    "integer too large": (records(day(seats=2**31)), refused(_WRAPS)),
    "integer too large, instances": instances(day(seats=2**31)),
    "long huge": body({"dataframe_records": [day(minutes=2**70)]}),
    "boolean null": (
        records(day(night=None)),
        tells(200, {**day(night=None), "departs": "2013-07-01 19:03:00"}, why=_NULL),
    ),
}
KINDS: dict[str, Differs | None] = {
    **dict.fromkeys(("frame", "numbered frame", "dates"), None),
    **dict.fromkeys(("list", "tuple", "texts", "truths", "counts", "float32", "matrix", "cube", "arrays"), None),
    **dict.fromkeys(("objects", "bytes", "raise"), None),
    **dict.fromkeys(("one text", "one number", "nothing", "short"), refused(_EACH)),
    **dict.fromkeys(("null", "nan", "infinity", "frame with nan"), refused(_NO_ANSWER)),
    "set": refused(_BREAKS, 500),
}


def answers(rows: int) -> dict[str, Expected]:
    """Ask for every kind of answer to so many rows."""
    kinds = (*KINDS, "series", "nameless series", "columns")
    asked = {kind: records(*[day(carrier=f"answer {kind}")] * rows) for kind in kinds}
    bare = {
        kind: Differs(200, 200, _BARE, predictions=[answer] * rows)
        for kind, answer in (("series", 2801.0), ("nameless series", 1.5))
    }
    bare["columns"] = Differs(200, 200, _OUTPUTS, predictions=[{"a": 1.0, "b": 2.0}] * rows)
    return {
        f"answer: {kind} for {rows}": asked[kind] if differs is None else (asked[kind], differs)
        for kind, differs in {**KINDS, **bare}.items()
    }


_ASKS = day(carrier="answer params")
PARAMS: dict[str, Expected] = {
    "params left out": records(_ASKS),
    "params": body({"dataframe_records": [_ASKS], "params": {"threshold": 0.25}}),
    "params with inputs": body({"inputs": [_ASKS], "params": {"threshold": 0.75}}),
    "params of int": body({"dataframe_records": [_ASKS], "params": {"threshold": 1}}),
    "params of text": body({"dataframe_records": [_ASKS], "params": {"threshold": "a"}}),
    "params of list": body({"dataframe_records": [_ASKS], "params": {"threshold": [1.0]}}),
    "params of null": body({"dataframe_records": [_ASKS], "params": {"threshold": None}}),
    "params unknown": body({"dataframe_records": [_ASKS], "params": {"other": 1}}),
    "params is null": body({"dataframe_records": [_ASKS], "params": None}),
    "params is a list": body({"dataframe_records": [_ASKS], "params": [1]}),
}
CASES = [
    *of("mixed typed", FORMATS),
    *of("mixed", PIPELINE),
    *of("typed", {**TYPED, **IN_CSV}),
    *of("echo", {f"date: {name}": made for name, made in DATES.items()}),
    *of("echo", {**answers(1), **answers(2)}),
    *of("echo", PARAMS),
]
