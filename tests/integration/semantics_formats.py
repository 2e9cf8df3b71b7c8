"""Cases about the formats: tables with names, without names, and without a signature."""

from tests.integration.semantics_cases import (
    CSV,
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

XYZ = ("x", "y", "z")
ONE = [1.5, 40.0, -3.25]
TWO = [900.0, 95.5, 12.125]
ROW = dict(zip(XYZ, ONE, strict=True))
ROW2 = dict(zip(XYZ, TWO, strict=True))
SHORT = {"x": 1.0, "y": 2.0}
COLUMNS = {"x": [1.5, 900.0], "y": [40.0, 95.5], "z": [-3.25, 12.125]}
VECTORS = {name: [[cell] for cell in cells] for name, cells in COLUMNS.items()}
TABLE = "x,y,z\n1.5,40.0,-3.25\n900.0,95.5,12.125\n"

_ONCE = "two columns of one name leave it open which is meant"
_ROWS = "the rows of dataframe_split are lists, whatever else pandas would make a table of"
_EXTRA = "a column that the model does not have is left out, in one row as in all"
_INDEX = "pandas takes the first cell for an index when a line is too long, which shifts all others"
_RAGGED = "a row that is too short has lost a value, and it is unknown which"
_NONE = "a request without a row is a mistake"
_OBJECTS = "records are objects; lists go into inputs"
_FRAME = "without a signature a model is fed one frame in every format, so that requests can share a batch"
_TABLE = "rows are rows in every format"
_ANSWER = "null and NaN are no answers"
_TEXT = "a list is no text"


def only(theirs: int, like: Request, why: str = _TABLE) -> Differs:
    """The gateway answers as in another format, where MLflow does not."""
    return Differs(200, theirs, why, like=like)


SPLITS: dict[str, Expected] = {
    "split": split(XYZ, ONE),
    "split of two": split(XYZ, ONE, TWO),
    "split of a thousand": split(XYZ, *([ONE, TWO] * 500)),
    "split with index": split(XYZ, ONE, TWO, index=[7, 3]),
    "split with index of text": split(XYZ, ONE, TWO, index=["b", "a"]),
    "split with index of null": split(XYZ, ONE, TWO, index=None),
    "split with index twice": split(XYZ, ONE, TWO, index=[1, 1]),
    "split with short index": split(XYZ, ONE, TWO, index=[1]),
    "split with index that is none": split(XYZ, ONE, index=7),
    "split with unknown key": split(XYZ, ONE, dtype="float"),
    "split without columns": split(None, ONE),
    "split with columns null": body({"dataframe_split": {"columns": None, "data": [ONE]}}),
    "split without data": body({"dataframe_split": {"columns": XYZ}}),
    "split is a list": body({"dataframe_split": [ONE]}),
    "split is null": body({"dataframe_split": None}),
    "split reordered": split(["z", "x", "y"], [-3.25, 1.5, 40.0]),
    "split with numbers for names": split([0, 1, 2], ONE),
    "split with text for columns": body({"dataframe_split": {"columns": "xyz", "data": [ONE]}}),
    "split long in one row": split(XYZ, ONE, [*ONE, 1.0]),
    "split short in all rows": split(XYZ, ONE[:2]),
    "split with empty row": split(XYZ, []),
    "split of scalars": split(XYZ, 1.0, 2.0, 3.0),
    "split missing": split(XYZ[:2], ONE[:2]),
    "split of int and float": split(XYZ, [1, 2, 3], [1.5, 2.5, 3.5]),
    "split with null": split(XYZ, [None, *ONE[1:]]),
    "split with numeric text": split(XYZ, ["1.5", *ONE[1:]]),
    "split with word": split(XYZ, ["a", *ONE[1:]]),
    "split with truth value": split(XYZ, [True, *ONE[1:]]),
}
STRICT_SPLITS: dict[str, Expected] = {
    "split short in one row": split(XYZ, ONE, ONE[:2]),
    "split extra": split([*XYZ, "w"], [*ONE, "hi"]),
    "split extra before": split(["w", *XYZ], ["hi", *ONE]),
    "split empty": split(XYZ),
    "split empty without columns": split(None),
    "split twice a column": split([*XYZ, "x"], [*ONE, 2.0]),
    "split twice an extra column": (split([*XYZ, "w", "w"], [*ONE, 2.0, 3.0]), Differs(400, 200, _ONCE)),
    "split of objects": (split(XYZ, ROW), Differs(400, 200, _ROWS)),
    "split of columns": (
        body({"dataframe_split": {"data": {"x": [1.5], "y": [40.0], "z": [-3.25]}}}),
        Differs(400, 200, _ROWS),
    ),
}
RECORDS: dict[str, Expected] = {
    "records": records(ROW),
    "records of two": records(ROW, ROW2),
    "records reordered": records(dict(reversed(ROW.items()))),
    "records reordered in one": records(ROW, dict(reversed(ROW2.items()))),
    "records missing in one": records(ROW, SHORT),
    "records missing in all": records(SHORT, SHORT),
    "records extra in one": records(ROW, {**ROW2, "w": 1.0}),
    "records of object and list": records(ROW, ONE),
    "records is an object": body({"dataframe_records": ROW}),
    "records is null": body({"dataframe_records": None}),
}
STRICT_RECORDS: dict[str, Expected] = {
    "records of lists": records(ONE),
    "records of scalars": records(1.0, 2.0),
    "records of null": records(None),
    "records empty": records(),
    "records of nothing": records({}),
    "records with list": records({**ROW, "z": [1.0]}),
    "records with object": records({**ROW, "z": {"a": 1.0}}),
}
INSTANCES: dict[str, Expected] = {
    "instances": instances(ROW),
    "instances of two": instances(ROW, ROW2),
    "instances extra": instances({**ROW, "w": "hi"}, {**ROW2, "w": "ho"}),
    "instances extra in one": (instances({**ROW, "w": "hi"}, ROW2), only(400, records(ROW, ROW2), _EXTRA)),
    "instances missing": instances(SHORT),
    "instances missing in one": instances(ROW, SHORT),
    "instances of lists": instances(ONE, TWO),
    "instances of scalars": instances(*ONE),
    "instances of object and list": instances(ROW, ONE),
    "instances with lists in objects": instances({"x": [1.5], "y": [40.0], "z": [-3.25]}),
    "instances empty": instances(),
    "instances of nothing": instances({}),
    "instances is columns": body({"instances": COLUMNS}),
    "instances is an object": body({"instances": ROW}),
    "instances is a scalar": body({"instances": 1.5}),
    "instances is a text": body({"instances": "1.5"}),
    "instances is null": body({"instances": None}),
    "inputs": inputs(COLUMNS),
    "inputs of one row": inputs({name: cells[:1] for name, cells in COLUMNS.items()}),
    "inputs of scalars": inputs(ROW),
    "inputs of columns and a scalar": inputs({**COLUMNS, "y": 40.0}),
    "inputs unequal": inputs({**COLUMNS, "y": [40.0]}),
    "inputs extra": inputs({**COLUMNS, "w": ["hi", "ho"]}),
    "inputs missing": inputs({"x": [1.5], "y": [40.0]}),
    "inputs of vectors": inputs(VECTORS),
    "inputs of objects": inputs([ROW, ROW2]),
    "inputs of objects, extra in one": inputs([{**ROW, "w": "hi"}, ROW2]),
    "inputs of objects, missing in one": inputs([ROW, SHORT]),
    "inputs of lists": inputs([ONE, TWO]),
    "inputs of a flat list": inputs(ONE),
    "inputs is a scalar": inputs(1.5),
    "inputs is null": inputs(None),
    "inputs empty": inputs([]),
    "inputs of nothing": inputs({}),
    "inputs of empty columns": inputs({"x": [], "y": [], "z": []}),
}
TABLES: dict[str, Expected] = {
    "csv": csv(TABLE),
    "csv of one": csv("x,y,z\n1.5,40.0,-3.25"),
    "csv reordered": csv("z,x,y\n-3.25,1.5,40.0\n"),
    "csv missing": csv("x,y\n1.5,40.0\n"),
    "csv of ints": csv("x,y,z\n1,40,-3\n"),
    "csv of int and float": csv("x,y,z\n1,40,-3\n1.5,40,-3\n"),
    "csv of int and blank": csv("x,y,z\n1,40,-3\n,40,-3\n"),
    "csv quoted": csv('x,y,z\n"1.5","40.0","-3.25"\n'),
    "csv with crlf": csv(TABLE.replace("\n", "\r\n")),
    "csv with byte order mark": csv("\ufeff" + TABLE),
    "csv with blank lines": csv(TABLE.replace("\n", "\n\n")),
    "csv with blanks in the header": csv("x, y, z\n1.5, 40.0, -3.25\n"),
    "csv with blanks in cells": csv("x,y,z\n 1.5, 40.0 , -3.25\n"),
    "csv with plus": csv("x,y,z\n+1.5,40.0,-3.25\n"),
    "csv with many digits": csv("x,y,z\n1.50000000000000000001,0.1000000000000000055511151231257827,-3.25\n"),
    "csv with thousands": csv('x,y,z\n"1,500.0",40.0,-3.25\n'),
    "csv with blank cell": csv("x,y,z\n1.5,,-3.25\n"),
    "csv with infinity": csv("x,y,z\n1.5,inf,-3.25\n"),
    "csv of a large long": csv("x,y,z\n9007199254740993,40,-3\n"),
    "csv long in one line": csv("x,y,z\n1.5,40.0,-3.25\n1.5,40.0,-3.25,9\n"),
    "csv long in all lines": (csv("x,y,z\n9,1.5,40.0,-3.25\n"), Differs(400, 200, _INDEX)),
    "csv empty": csv(""),
    "csv with semicolons": csv("x;y;z\n1.5;40.0;-3.25\n"),
    "csv that is not utf-8": Request("x,y,z,ü\n1.5,40,-3,4\n".encode("latin-1"), CSV),
    "csv with open quote": csv('x,y,z\n"1.5,40.0,-3.25\n'),
    "csv with zeros before": csv("x,y,z\n007,40.0,-3.25\n"),
    "csv with exponent": csv("x,y,z\n1e5,40.0,-3.25\n"),
    "csv with a digit that says nothing": csv("x,y,z\n1.50,40.0,-3.25\n"),
    "csv with a bare point": csv("x,y,z\n.5,40.,-3.25\n"),
    "csv with truth value": csv("x,y,z\nTrue,40.0,-3.25\n"),
    "csv with truth value in small letters": csv("x,y,z\ntrue,40.0,-3.25\n"),
}
STRICT_TABLES: dict[str, Expected] = {
    "csv short in one line": csv("x,y,z\n1.5,40.0,-3.25\n1.5,40.0\n"),
    "csv extra": csv("x,y,z,w\n1.5,40.0,-3.25,hi\n"),
    "csv with index": csv(",x,y,z\n0,1.5,40.0,-3.25\n"),
    "csv of words": csv("x,y,z\n1.5,forty,-3.25\n"),
    "csv with NA": csv("x,y,z\n1.5,NA,-3.25\n"),
    "csv of a header": csv("x,y,z\n"),
    "csv twice a column": (csv("x,y,z,x\n1.5,40.0,-3.25,7\n"), Differs(400, 200, _ONCE)),
}
CELLS: dict[str, Expected] = {
    "ints": split(XYZ, [1, 40, -3]),
    "ints and floats": split(XYZ, [1, 40.5, -3], [2.5, 1, 1]),
    "zeros and ones": split(XYZ, [0, 1, 0]),
    "truth values": split(XYZ, [True, False, True]),
    "truth values among numbers": split(XYZ, [True, 1.0, 1.0], [2.0, 1.0, 1.0]),
    "numeric texts": split(XYZ, ["1.5", "40", "-3"]),
    "numeric texts with blanks": split(XYZ, [" 1.5 ", "40", "-3"]),
    "numeric texts with underscore": split(XYZ, ["1_5", "40", "-3"]),
    "text nan": split(XYZ, ["nan", "40", "-3"]),
    "text inf": split(XYZ, ["inf", "40", "-3"]),
    "empty text": split(XYZ, ["", "40", "-3"]),
    "nulls": split(XYZ, [None, None, None]),
    "null in one row": split(XYZ, ONE, [1.0, None, 3.0]),
    "list": split(XYZ, [[1.0], 40.0, -3.0]),
    "object": split(XYZ, [{"a": 1}, 40.0, -3.0]),
}


def unsigned(theirs: int) -> dict[str, Expected]:
    """Arrays and objects for a model without a signature; MLflow answers objects with this status."""
    one, both = only(theirs, records(ROW), _FRAME), only(theirs, records(ROW, ROW2), _FRAME)
    return {
        "instances": (instances(ROW), one),
        "instances of two": (instances(ROW, ROW2), both),
        "instances of lists": instances(ONE, TWO),
        "instances of one list": instances(ONE),
        "instances of ints": instances([1, 40, -3]),
        "instances ragged": instances(ONE, ONE[:2]),
        "instances is columns": (body({"instances": COLUMNS}), both),
        "instances is null": body({"instances": None}),
        "inputs": (inputs(COLUMNS), both),
        "inputs of scalars": (inputs(ROW), one),
        "inputs of objects": (inputs([ROW, ROW2]), both),
        "inputs of one object": (inputs([ROW]), one),
        "inputs of lists": inputs([ONE, TWO]),
        "inputs of one list": inputs([ONE]),
    }


SHOWN: dict[str, Expected] = {
    "instances of scalars": instances(*ONE),
    "instances of texts": instances("a", "b"),
    "inputs of scalars in a list": inputs(ONE),
    "inputs of texts": inputs(["a", "b"]),
    "inputs of text and number": inputs(["a", 1]),
    "inputs of truth values": inputs([True, False]),
    "inputs of int and float": inputs([1, 2.5]),
    "inputs of matrices": inputs([[[1.0, 2.0]], [[3.0, 4.0]]]),
    "inputs of lists with null": inputs([[1.0, None], [2.0, 3.0]]),
    "inputs of lists with text": inputs([[1.0, "a"], [2.0, "b"]]),
    "records with text": records({"q": "hi", "n": [1, 2]}),
    "records of lists": (records(ONE), Differs(400, 200, _OBJECTS)),
    "records of scalars": (records(1.0, 2.0), Differs(400, 200, _OBJECTS)),
    "records empty": (records(), Differs(400, 200, _NONE)),
    "records of nothing": (records({}), Differs(400, 200, _NONE)),
    "split short in one row": (split(XYZ, ONE, ONE[:2]), Differs(400, 200, _RAGGED)),
    "csv short in one line": (csv("x,y,z\n1.5,40.0,-3.25\n1.5,40.0\n"), Differs(400, 200, _RAGGED)),
    "split empty": (split(XYZ), Differs(400, 200, _NONE)),
    "instances empty": (instances(), Differs(400, 200, _NONE)),
    "csv of a header": (csv("x,y,z\n"), Differs(400, 200, _NONE)),
}

TEXTS: dict[str, Expected] = {
    "inputs": inputs(["hello", "hi"]),
    "inputs of one": inputs(["hello"]),
    "inputs of unicode": inputs(["Ünïön ✈️"]),
    "inputs of empty text": inputs([""]),
    "inputs of numbers": inputs([5, 6]),
    "inputs of null": (inputs([None]), Differs(400, 200, _ANSWER)),
    "inputs of text and null": (inputs(["a", None]), Differs(400, 200, _ANSWER)),
    "inputs of lists": (inputs([["hello"], ["hi"]]), Differs(400, 200, _TEXT)),
    "inputs empty": (inputs([]), Differs(400, 200, _NONE)),
    "inputs is a text": inputs("hello"),
    "inputs is a number": inputs(5),
    "inputs is a column": inputs({"text": ["hello", "hi"]}),
    "inputs is a column of one text": inputs({"text": "hello"}),
    "inputs of objects": inputs([{"text": "hello"}]),
    "instances": instances("hello", "hi"),
    "instances of objects": instances({"text": "hello"}, {"text": "hi"}),
    "instances is a text": body({"instances": "hello"}),
    "records": records({"text": "hello"}),
    "records of texts": records("hello", "hi"),
    "split": split(["text"], ["hello"]),
    "split without columns": split(None, ["hello"]),
    "csv": csv('text\nhello\n"hel,lo"\n\nhi\n'),
    "csv of numbers": csv("text\n5.50\n007\n1e5\n"),
    "csv of empty text": (csv('text\n""\n'), Differs(400, 200, _ANSWER)),
}

UNNAMED: dict[str, Expected] = {
    "inputs": inputs([[1.0, 2.0], [3.0, 4.5]]),
    "inputs of ints": inputs([[1, 2]]),
    "inputs of texts": inputs([["1", "2.5"]]),
    "inputs of a flat list": inputs([1.0, 2.0]),
    "inputs too wide": inputs([[1.0, 2.0, 3.0]]),
    "inputs too narrow": inputs([[1.0]]),
    "inputs of columns": (inputs({"a": [1.0], "b": [2.0]}), only(400, records({"a": 1.0, "b": 2.0}))),
    "inputs of objects": (inputs([{"a": 1.0, "b": 2.0}]), only(400, records({"a": 1.0, "b": 2.0}))),
    "instances": instances([1.0, 2.0]),
    "instances of objects": instances({"a": 1.0, "b": 2.0}),
    "split": split(["a", "b"], [1.0, 2.0]),
    "split without columns": split(None, [1.0, 2.0]),
    "split too narrow": split(["a"], [1.0]),
    "split too wide": split(["a", "b", "c"], [1.0, 2.0, 3.0]),
    "split of ints": split(None, [1, 2]),
    "split of texts": split(None, ["1", "2.5"]),
    "records": records({"a": 1.0, "b": 2.0}),
    "records swapped": records({"b": 1.0, "a": 2.0}),
    "records swapped in one": records({"a": 1.0, "b": 2.0}, {"b": 1.0, "a": 2.0}),
    "records of word": records({"a": 1.0, "b": "x"}),
    "records of null": (records({"a": 1.0, "b": None}), Differs(400, 200, _ANSWER)),
    "csv": csv("a,b\n1.0,2.0\n"),
    "csv of ints": csv("a,b\n1,2\n"),
}

HINTED: dict[str, Expected] = {
    "inputs": inputs(["a", "b"]),
    "inputs of one": inputs(["a"]),
    "inputs of numbers": inputs([1]),
    "inputs is a text": inputs("a"),
    "inputs empty": (inputs([]), Differs(400, 200, _NONE)),
    "inputs of columns": (inputs({"x": ["a"]}), only(400, inputs(["a"]))),
    "inputs of objects": (inputs([{"x": "a"}]), only(400, inputs(["a"]))),
    "instances": (instances("a"), only(400, inputs(["a"]))),
    "split": (split(["x"], ["a"]), only(400, inputs(["a"]))),
    "records": (records({"x": "a"}), only(400, inputs(["a"]))),
    "csv": csv("x\na\n"),
    "params": body({"inputs": ["a"], "params": {}}),
}

CASES = [
    *of("numbers bare shown", {**SPLITS, **RECORDS, **TABLES}),
    *of("numbers", {**STRICT_SPLITS, **STRICT_RECORDS, **STRICT_TABLES, **INSTANCES, **CELLS}),
    *of("bare", unsigned(400)),
    *of("shown", {**unsigned(200), **SHOWN}),
    *of("text", TEXTS),
    *of("unnamed", UNNAMED),
    *of("hinted", HINTED),
]
