"""Convert Open Inference tensors to rows, and model answers to a tensor.

Source: Open Inference Protocol, version 2, over REST (KServe), https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from collections.abc import Sequence

import orjson

from surefoot.gateway import json_body
from surefoot.gateway.http.scoring_body import MalformedBody, RequestTable

_NUMBER_DATATYPES = frozenset(
    {"FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"}
)
_DATATYPES = _NUMBER_DATATYPES | {"BOOL", "BYTES"}
UNKNOWN_METADATA: dict[str, object] = {"inputs": [], "outputs": []}
"""Metadata of tensors: a version's signature is in the registry, and two versions may differ."""
_TENSOR_KEYS = {"name", "shape", "datatype", "data", "parameters"}
_REQUEST_KEYS = {"id", "parameters", "inputs", "outputs"}


def read_tensors(body: bytes) -> tuple[RequestTable, str]:
    """Read an inference request.

    A tensor of shape [n] or [n, 1] is a column; one of shape [n, k] is k columns named by their number, as a table
    without a header is.

    Args:
        body: What the caller sent.

    Returns:
        The rows, and the caller's own id; empty without one.

    Raises:
        MalformedBody: Says what is wrong.
    """
    try:
        asked = json_body.parse_json_body(body, nan=True)
    except ValueError as error:
        raise MalformedBody(str(error)) from None
    if not isinstance(asked, dict) or not isinstance(asked.get("inputs"), list) or not asked["inputs"]:
        raise MalformedBody("an inference request is an object with a list of inputs")
    if strange := asked.keys() - _REQUEST_KEYS:
        raise MalformedBody(f"an inference request has no {sorted(strange)}")
    columns: dict[str, Sequence[object]] = {}
    for number, tensor in enumerate(asked["inputs"]):
        for name, values in _columns(number, tensor).items():
            if name in columns:
                raise MalformedBody(f"the input {name!r} is given twice")
            columns[name] = values
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise MalformedBody(f"all inputs need the same first dimension; there are {sorted(lengths)}")
    own = asked.get("id", "")
    if not isinstance(own, str):
        raise MalformedBody("the id of a request is a text")
    return RequestTable(tuple(columns), [list(row) for row in zip(*columns.values(), strict=True)]), own


def _columns(number: int, tensor: object) -> dict[str, Sequence[object]]:
    if not isinstance(tensor, dict) or not {"name", "shape", "datatype", "data"} <= tensor.keys() <= _TENSOR_KEYS:
        raise MalformedBody(f"input {number} needs name, shape, datatype and data, and may have parameters")
    name, shape, kind = tensor["name"], tensor["shape"], tensor["datatype"]
    if not isinstance(name, str) or not name:
        raise MalformedBody(f"input {number} has no name")
    if not isinstance(kind, str) or kind not in _DATATYPES:
        raise MalformedBody(f"input {name!r} has the datatype {kind!r}; there are {', '.join(sorted(_DATATYPES))}")
    if (
        not isinstance(shape, list)
        or len(shape) not in (1, 2)
        or not all(isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in shape)
    ):
        raise MalformedBody(f"input {name!r} has the shape {shape}, not [n] or [n, k]")
    values = list(_flat(tensor["data"]))
    width = shape[1] if len(shape) > 1 else 1
    if len(values) != shape[0] * width:
        raise MalformedBody(f"input {name!r} has {len(values)} values for the shape {shape}")
    if not all(_fits(value, kind) for value in values):
        raise MalformedBody(f"input {name!r} holds a value that is no {kind}")
    if width == 1:
        return {name: values}
    return {str(column): values[column::width] for column in range(width)}


def _flat(data: object) -> list[object]:
    """List values in row-major order, nested by row or not."""
    if not isinstance(data, list):
        raise MalformedBody("the data of a tensor is a list")
    made: list[object] = []
    for item in data:
        if isinstance(item, list):
            made += item
        else:
            made.append(item)
    return made


def _fits(value: object, kind: str) -> bool:
    if value is None:  # a missing value, as in every other format
        return True
    if kind == "BYTES":
        return isinstance(value, str)
    if kind == "BOOL":
        return isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool)


def tensor_response(predictions: bytes, model: str, version: str, own: str) -> bytes:
    """Give answers as one tensor of shape [n] or [n, k]; `check_tensor` has let them pass.

    Args:
        predictions: JSON list of one answer a row.
        model: Registered model.
        version: Number of the version that answered.
        own: The caller's id.
    """
    values = orjson.loads(predictions)
    nested = bool(values) and isinstance(values[0], list)
    flat = [item for value in values for item in value] if nested else values
    kinds = {type(item) for item in flat}
    kind = "FP64"
    if kinds == {int}:
        kind = "INT64"
    elif kinds == {bool}:
        kind = "BOOL"
    elif str in kinds:
        kind, flat = "BYTES", [str(item) for item in flat]
    shape = [len(values), len(values[0])] if nested else [len(values)]
    made: dict[str, object] = {
        "model_name": model,
        "model_version": version,
        "outputs": [{"name": "predictions", "shape": shape, "datatype": kind, "data": flat}],
    }
    return orjson.dumps({**made, "id": own} if own else made)
