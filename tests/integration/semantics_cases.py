"""How the cases of `test_mlflow_semantics` are written down."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

JSON = "application/json"
CSV = "text/csv"
Columns = Iterable[object] | None


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, the same for both sides to the last byte."""

    body: bytes = b""
    kind: str | None = JSON
    method: str = "POST"
    path: str = "/invocations"


@dataclass(frozen=True, slots=True)
class Differs:
    """A difference that is meant.

    Attributes:
        ours: Status that the gateway answers.
        theirs: Status that MLflow answers.
        why: The reason, in a sentence.
        like: Where the gateway answers: a request whose first predictions by MLflow are the gateway's for this one.
        predictions: Where there is no such request: what the gateway predicts.
    """

    ours: int
    theirs: int
    why: str
    like: Request | None = None
    predictions: object = None


@dataclass(frozen=True, slots=True)
class Case:
    """One request to one model, and what is expected of it; without a difference both do the same."""

    model: str
    name: str
    request: Request
    differs: Differs | None = None

    def __str__(self) -> str:
        """Its name in reports."""
        return f"{self.model}: {self.name}"


Expected = Request | tuple[Request, Differs]


def of(models: str, table: Mapping[str, Expected]) -> list[Case]:
    """Cases of one table, for each of the models that are named with blanks between."""
    return [
        Case(model, name, expected) if isinstance(expected, Request) else Case(model, name, *expected)
        for model in models.split()
        for name, expected in table.items()
    ]


def body(value: object, kind: str | None = JSON) -> Request:
    """Ask with a JSON value."""
    return Request(json.dumps(value).encode(), kind)


def split(columns: Columns, *rows: object, **more: object) -> Request:
    """Ask with dataframe_split; None leaves the columns out."""
    named = {} if columns is None else {"columns": list(columns)}
    return body({"dataframe_split": {**named, "data": list(rows), **more}})


def records(*rows: object) -> Request:
    """Ask with dataframe_records."""
    return body({"dataframe_records": list(rows)})


def instances(*items: object) -> Request:
    """Ask with a list of instances."""
    return body({"instances": list(items)})


def inputs(value: object) -> Request:
    """Ask with inputs."""
    return body({"inputs": value})


def csv(table: str, kind: str = CSV) -> Request:
    """Ask with a table."""
    return Request(table.encode(), kind)


def text(value: str, kind: str | None = JSON) -> Request:
    """Ask with JSON as it is written, so that what Python would not write can be sent."""
    return Request(value.encode(), kind)
