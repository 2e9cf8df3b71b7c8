"""Cases about tensors, and about columns of lists, objects and bytes."""

import base64

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
    text,
)

NAMES = ("a", "b", "c", "d")
ONE = [1400.5, 12.5, 150.0, 227.0]
TWO = [300.0, -4.25, 99.0, 62.0]
ROW = dict(zip(NAMES, ONE, strict=True))
IMAGE = [[1.0, 2.0], [3.0, 4.0]]
OTHER = [[5.0, 6.5], [7.0, 8.0]]
FLAT = [1.0, 2.0, 3.0, 4.0]
DEEP = {"vector": [1.0, 2.5], "place": {"city": "Oslo", "zip": 150}}
BLOB = base64.b64encode(b"hi").decode()

TOLD = "{place: {city: Oslo, zip: 150}, vector: [1.0, 2.5]}"
TOLD_BYTES = "{blob: b'hi', place: {city: Oslo, zip: 150}, vector: [1.0, 2.5]}"

_OPTIONAL = "an optional column may be null, of whatever type it is"
_TABLE = "rows are rows in every format"
_BINARY = "bytes are base64 in every format, where MLflow hands on the text in this one"
_EQUAL = "every input has as many rows as the others, where numpy would repeat one"
_ANSWER = "null and NaN are no answers"


def lenient(like: Request) -> Differs:
    """The gateway answers as in another format, where MLflow does not."""
    return Differs(200, 400, _TABLE, like=like)


MATRIX: dict[str, Expected] = {
    "inputs": inputs([ONE]),
    "inputs of two": inputs([ONE, TWO]),
    "inputs of ints": inputs([[1400, 12, 150, 227]]),
    "inputs of texts": inputs([["1400.5", "12.5", "150", "227"]]),
    "inputs of words": inputs([["a", "b", "c", "d"]]),
    "inputs of truth values": inputs([[True, False, True, False]]),
    "inputs with null": inputs([[None, 12.5, 150.0, 227.0]]),
    "inputs with NaN": text('{"inputs": [[NaN, 12.5, 150.0, 227.0]]}'),
    "inputs with a huge int": text('{"inputs": [[1180591620717411303424, 12.5, 150.0, 227.0]]}'),
    "inputs of a flat list": inputs(ONE),
    "inputs too narrow": inputs([ONE[:3]]),
    "inputs too wide": inputs([[*ONE, 1.0]]),
    "inputs ragged": inputs([ONE, ONE[:3]]),
    "inputs too deep": inputs([[ONE, TWO]]),
    "inputs empty": inputs([]),
    "inputs of an empty row": inputs([[]]),
    "inputs is a scalar": inputs(1.0),
    "inputs of columns": (inputs({name: [cell] for name, cell in ROW.items()}), lenient(records(ROW))),
    "inputs of objects": (inputs([ROW]), lenient(records(ROW))),
    "inputs with params": body({"inputs": [ONE], "params": {}}),
    "instances": instances(ONE),
    "instances of two": instances(ONE, TWO),
    "instances of a flat list": instances(*ONE),
    "instances of objects": (instances(ROW), lenient(records(ROW))),
    "split": split(NAMES, ONE),
    "split reordered": split(reversed(NAMES), ONE),
    "split without columns": split(None, ONE, TWO),
    "split of ints": split(None, [1400, 12, 150, 227]),
    "split of ints and floats": split(None, [1400, 12.5, 150, 227]),
    "split of texts": split(None, ["1", "2", "3", "4"]),
    "split extra": split([*NAMES, "e"], [*ONE, 1.0]),
    "split missing": split(NAMES[:3], ONE[:3]),
    "split of lists": split(["x"], [ONE], [TWO]),
    "split with null": split(None, [None, *ONE[1:]]),
    "records": records(ROW),
    "records of two": records(ROW, dict(zip(NAMES, TWO, strict=True))),
    "records of lists in a column": records({"x": ONE}, {"x": TWO}),
    "records missing in one": records(ROW, dict(zip(NAMES[:3], TWO, strict=False))),
    "records of lists": (records(ONE), Differs(400, 200, "records are objects; lists go into inputs")),
    "csv": (csv("a,b,c,d\n1400.5,12.5,150.5,227.5\n"), lenient(inputs([[1400.5, 12.5, 150.5, 227.5]]))),
}

_ONE_IMAGE = inputs({"image": [IMAGE], "weight": [1.0]})
NAMED: dict[str, Expected] = {
    "inputs": inputs({"image": [IMAGE, OTHER], "weight": [1.0, 2.0]}),
    "inputs of one": _ONE_IMAGE,
    "inputs of ints": inputs({"image": [[[1, 2], [3, 4]]], "weight": [2]}),
    "inputs rounded": inputs({"image": [[[0.1, 0.2], [0.3, 0.7]]], "weight": [1.0]}),
    "inputs of text": inputs({"image": [IMAGE], "weight": ["2.5"]}),
    "inputs of word": inputs({"image": [IMAGE], "weight": ["a"]}),
    "inputs of null": (inputs({"image": [IMAGE], "weight": [None]}), Differs(400, 200, _ANSWER)),
    "inputs missing": inputs({"image": [IMAGE]}),
    "inputs extra": inputs({"image": [IMAGE], "weight": [1.0], "more": [1.0]}),
    "inputs ragged": inputs({"image": [[[1.0, 2.0], [3.0]]], "weight": [1.0]}),
    "inputs, flat": (inputs({"image": [FLAT], "weight": [1.0]}), lenient(records({"image": FLAT, "weight": 1.0}))),
    "inputs of another shape": inputs({"image": [FLAT[:3]], "weight": [1.0]}),
    "inputs unequal": inputs({"image": [IMAGE, OTHER], "weight": [1.0, 2.0, 3.0]}),
    "inputs repeated": (inputs({"image": [IMAGE, OTHER], "weight": [1.0]}), Differs(400, 200, _EQUAL)),
    "inputs with a scalar": (
        inputs({"image": [IMAGE], "weight": 1.0}),
        lenient(_ONE_IMAGE),
    ),
    "inputs of a list": inputs([IMAGE]),
    "inputs of objects": (
        inputs([{"image": IMAGE, "weight": 1.0}]),
        lenient(_ONE_IMAGE),
    ),
    "inputs empty": inputs({"image": [], "weight": []}),
    "instances": instances({"image": IMAGE, "weight": 1.0}, {"image": OTHER, "weight": 2.0}),
    "instances of one": instances({"image": IMAGE, "weight": 1.0}),
    "instances missing in one": instances({"image": IMAGE, "weight": 1.0}, {"image": OTHER}),
    "records": (
        records({"image": IMAGE, "weight": 1.0}),
        lenient(_ONE_IMAGE),
    ),
    "records, flat": records({"image": FLAT, "weight": 2.0}),
    "records of two, flat": records({"image": FLAT, "weight": 2.0}, {"image": FLAT[::-1], "weight": 1.0}),
    "records of ints, flat": records({"image": [1, 2, 3, 4], "weight": 2}),
    "split, flat": split(["image", "weight"], [FLAT, 2.0]),
    "split, flat and short": split(["image", "weight"], [FLAT[:3], 2.0]),
    "csv": csv("image,weight\n1.0,2.0\n"),
}


def deep(**changed: object) -> dict[str, object]:
    """The nested row with other cells."""
    return {**DEEP, **changed}


NESTED: dict[str, Expected] = {
    "records": records(DEEP),
    "records of two": records(DEEP, deep(vector=[3.0])),
    "split": split(DEEP, list(DEEP.values())),
    "inputs": (inputs({"vector": [[1.0, 2.5]], "place": [DEEP["place"]]}), lenient(records(DEEP))),
    "inputs of one row": inputs(DEEP),
    "inputs of objects": inputs([DEEP]),
    "inputs of two objects": inputs([DEEP, DEEP]),
    "instances": (instances(DEEP), lenient(records(DEEP))),
    "missing": records({"vector": [1.0]}),
    "list of ints": records(deep(vector=[1, 2])),
    "list of ints, inputs": inputs([deep(vector=[1, 2])]),
    "list of texts": records(deep(vector=["a"])),
    "list empty": records(deep(vector=[])),
    "list null": records(deep(vector=None)),
    "list with null": records(deep(vector=[1.0, None])),
    "list is a number": records(deep(vector=1.0)),
    "object without an optional key": records(deep(place={"city": "Oslo"})),
    "object without a required key": records(deep(place={"zip": 1})),
    "object with another key": records(deep(place={"city": "Oslo", "x": 1})),
    "object with another type": records(deep(place={"city": 1})),
    "bytes": records(deep(blob=BLOB)),
    "bytes in one": (records(DEEP, deep(blob=BLOB)), Differs(200, 400, _OPTIONAL, predictions=[TOLD, TOLD_BYTES])),
    "bytes null": (records(deep(blob=None)), Differs(200, 400, _OPTIONAL, like=records(DEEP))),
    "bytes that are no base64": records(deep(blob="!!!")),
    "bytes, inputs": (inputs([deep(blob=BLOB)]), Differs(200, 200, _BINARY, like=records(deep(blob=BLOB)))),
    "csv": csv('vector,place\n"[1.0]","{}"\n'),
}

CASES = [*of("matrix", MATRIX), *of("named", NAMED), *of("nested", NESTED)]
