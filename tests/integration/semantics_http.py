"""Cases about HTTP: media types, methods, paths, and what is around the rows of a body."""

import io
import json

import pandas as pd

from tests.integration.semantics_cases import CSV, Differs, Expected, Request, body, csv, of, text

ROW = {"x": 1.5, "y": 40.0, "z": -3.25}
SPLIT = {"dataframe_split": {"columns": ["x", "y", "z"], "data": [[1.5, 40.0, -3.25]]}}
GOOD = body(SPLIT)
TABLE = "x,y,z\n1.5,40.0,-3.25\n900.0,95.5,12.125\n"
_BODY = GOOD.body

_MEDIA = "a media type is written in any case, its parameters may be quoted, and none means JSON (RFC 9110)"
_UTF8 = "bodies are UTF-8, as the media type says"
_ROBUST = "a body that no parser can read is the caller's mistake, where MLflow breaks"
_TWICE = "a key that is written twice leaves it open which value is meant"
_LARGE = "a body has a largest size, so that callers cannot fill the memory"
_FORMATS = "the gateway splits requests into rows, which a chat or a prompt does not have"
_PARQUET = "pyarrow would decode a stranger's bytes in the gateway's own process"


def _parquet() -> bytes:
    made = io.BytesIO()
    pd.DataFrame([ROW]).to_parquet(made)
    return made.getvalue()


def kind(media: str | None) -> Request:
    """Ask rightly, under this media type."""
    return Request(_BODY, media)


def lenient(media: str | None, theirs: int = 415) -> tuple[Request, Differs]:
    """A media type that the gateway reads and MLflow does not."""
    return kind(media), Differs(200, theirs, _MEDIA, like=GOOD)


def get(path: str, method: str = "GET") -> Request:
    """Ask for a page."""
    return Request(method=method, kind=None, path=path)


def value(written: str) -> Request:
    """Ask with a number as it is written."""
    return text('{"dataframe_split": {"columns": ["x", "y", "z"], "data": [[' + written + ", 1, 1]]}}")


MEDIA_TYPES: dict[str, Expected] = {
    "charset": kind("application/json; charset=utf-8"),
    "charset in capitals": kind("application/json;charset=UTF-8"),
    "charset quoted": lenient('application/json; charset="utf-8"'),
    "charset without a dash": lenient("application/json; charset=utf8"),
    "charset latin": kind("application/json; charset=iso-8859-1"),
    "charset utf-16": Request(_BODY.decode().encode("utf-16"), "application/json; charset=utf-16"),
    "format of MLflow 1, split": body(SPLIT["dataframe_split"], "application/json; format=pandas-split"),
    "format of MLflow 1, records": body([ROW], "application/json; format=pandas-records"),
    "charset and format": kind("application/json; charset=utf-8; format=pandas-split"),
    "semicolon at the end": lenient("application/json;"),
    "capitals": lenient("Application/JSON"),
    "no content type": lenient(None, 500),
    "empty content type": lenient(""),
    "text/plain": kind("text/plain"),
    "text/json": kind("text/json"),
    "form": kind("application/x-www-form-urlencoded"),
    "parquet": (Request(_parquet(), "application/vnd.apache.parquet"), Differs(415, 200, _PARQUET)),
    "parquet that is none": (Request(b"PAR1", "application/vnd.apache.parquet"), Differs(415, 400, _PARQUET)),
    "csv charset": csv(TABLE, "text/csv; charset=utf-8"),
    "csv charset without a blank": csv(TABLE, "text/csv;charset=UTF-8"),
    "csv parameter": csv(TABLE, "text/csv; header=present"),
    "csv charset latin": csv(TABLE, "text/csv; charset=latin-1"),
    "csv as json": csv(TABLE, "application/json"),
    "json as csv": kind(CSV),
}

PAGES: dict[str, Expected] = {
    "get invocations": get("/invocations"),
    "head invocations": get("/invocations", "HEAD"),
    "options invocations": get("/invocations", "OPTIONS"),
    "put invocations": Request(_BODY, method="PUT"),
    "delete invocations": get("/invocations", "DELETE"),
    "query": Request(_BODY, path="/invocations?a=1"),
    "slash": (Request(_BODY, path="/invocations/"), Differs(404, 307, "a path has one way to be written")),
    "ping": get("/ping"),
    "health": get("/health"),
    "version": get("/version"),
    "head ping": (get("/ping", "HEAD"), Differs(200, 405, "load balancers look with HEAD")),
    "post ping": get("/ping", "POST"),
    "post version": get("/version", "POST"),
    "nowhere": get("/nowhere"),
    "root": get("/"),
}

ENVELOPES: dict[str, Expected] = {
    "params": body({**SPLIT, "params": {"a": 1}}),
    "params empty": body({**SPLIT, "params": {}}),
    "params null": body({**SPLIT, "params": None}),
    "params list": body({**SPLIT, "params": [1]}),
    "params with records": body({"dataframe_records": [ROW], "params": {"a": 1}}),
    "params with inputs": body({"inputs": [ROW], "params": {"a": 1}}),
    "params alone": body({"params": {"a": 1}}),
    "unknown key": body({**SPLIT, "client_request_id": "a"}),
    "signature name": body({"instances": [ROW], "signature_name": "serving_default"}),
    "two formats": body({**SPLIT, "inputs": [ROW]}),
    "no format": body({"data": [ROW]}),
    "empty object": body({}),
    "bare list": body([ROW]),
    "bare split": body(SPLIT["dataframe_split"]),
    "scalar": body(1.5),
    "text": body("hi"),
    "null": body(None),
    "empty body": Request(),
    "not json": Request(b"{"),
    "comma at the end": text('{"dataframe_records": [{"x": 1.5, "y": 2.0, "z": 1.0,}]}'),
    "more after it": Request(_BODY + b" x"),
    "nine megabytes": (Request(b" " * (9 << 20) + _BODY), Differs(413, 200, _LARGE)),
    "blanks around": Request(b"\n " + _BODY + b"\n "),
    "not utf-8": Request(b'{"dataframe_records": [{"x": 1.5, "y": 2.0, "z": 1.0, "w": "\xff"}]}'),
    "lone surrogate": text('{"dataframe_records": [{"x": 1.5, "y": 2.0, "z": 1.0, "w": "\\ud800"}]}'),
    "byte order mark": Request(b"\xef\xbb\xbf" + _BODY),
    "utf-16 unsaid": (Request(_BODY.decode().encode("utf-16")), Differs(400, 200, _UTF8)),
    "key twice": (text('{"dataframe_records": [{"x": 1.5, "y": 2.0, "z": 1.0, "x": 9.0}]}'), Differs(400, 200, _TWICE)),
    "format twice": (
        text('{"inputs": [{"x": 1.5}], "inputs": [{"x": 1.5, "y": 2.0, "z": 1.0}]}'),
        Differs(400, 200, _TWICE),
    ),
    "deep": text('{"dataframe_records": ' + "[" * 500 + "]" * 500 + "}"),
    "deeper": (text('{"inputs": ' + "[" * 100_000 + "]" * 100_000 + "}"), Differs(400, 500, _ROBUST)),
    "messages": body({"messages": [{"role": "user", "content": "hi"}]}),
    "extra messages": body({**SPLIT, "messages": []}),
}

LITERALS: dict[str, Expected] = {
    "huge": value("1180591620717411303424"),
    "largest long": value("9223372036854775807"),
    "largest unsigned long": value("18446744073709551615"),
    "of 400 digits": value("1" + "0" * 400),
    "of 5000 digits": (value("1" + "0" * 5000), Differs(400, 500, _ROBUST)),
    "beyond 2**53": value(str(2**53 + 1)),
    "overflow": value("1e400"),
    "underflow": value("1e-400"),
    "many digits": value("0.1000000000000000055511151231257827"),
    "exponent": value("15E-1"),
    "minus zero": value("-0.0"),
    "leading zero": value("01.5"),
    "leading plus": value("+1.5"),
    "hexadecimal": value("0x10"),
    "NaN": value("NaN"),
    "Infinity": value("Infinity"),
    "NaN in a column that is not asked for": text(json.dumps({"inputs": [{**ROW, "w": float("nan")}]})),
}

UNSIGNED: dict[str, Expected] = {
    "params": body({"dataframe_records": [ROW], "params": {"a": 1}}),
    "messages": (body({"messages": [{"role": "user", "content": "hi"}]}), Differs(400, 200, _FORMATS)),
    "extra messages": (body({"dataframe_records": [ROW], "messages": []}), Differs(400, 200, _FORMATS)),
    "prompt": (body({"prompt": "hi"}), Differs(400, 200, _FORMATS)),
    "input": (body({"input": "hi"}), Differs(400, 200, _FORMATS)),
}

CASES = [
    *of("numbers", MEDIA_TYPES),
    *of("numbers", PAGES),
    *of("numbers", ENVELOPES),
    *of("numbers", {f"number {name}": made for name, made in LITERALS.items()}),
    *of("shown", UNSIGNED),
]
