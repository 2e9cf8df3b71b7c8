"""What a model is fed: each value is read alone, and as MLflow's own server reads it."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pydantic
import pytest

from surefoot.adapters.mlflow.artifacts import load_model_directory
from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import PyfuncScorer
from surefoot.gateway.http.scoring_body import MalformedBody, RequestTable, UnsupportedContentType, decode_table
from surefoot.models.model_protocols import ColumnNames
from tests.integration import semantics_formats, semantics_http, semantics_tensors, semantics_types

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import scoring_server
    from mlflow.pyfunc.model import PythonModel
    from mlflow.types import ColSpec, DataType, Schema

    from tests.integration import semantics_models

CASES = [*semantics_http.CASES, *semantics_formats.CASES, *semantics_types.CASES, *semantics_tensors.CASES]
UNSIGNED = ("bare", "shown")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every model of the comparison with MLflow."""
    root = tmp_path_factory.mktemp("saved")
    semantics_models.save(root)
    return root


def tables(model: str) -> list[RequestTable]:
    """Everything readable that the comparison asks this model."""
    found = []
    for case in CASES:
        # What makes the model answer all rows as the first one asks for is company of another kind.
        if case.model != model or case.request.method != "POST" or b'"answer ' in case.request.body:
            continue
        try:
            found.append(decode_table(case.request.body, case.request.kind or ""))
        except (MalformedBody, UnsupportedContentType):
            continue
    return found


def answered(scorer: PyfuncScorer, table: RequestTable) -> list[str] | None:
    """Answers, to the digits that do not depend on how many there are; None where the model refuses."""
    try:
        answers = scorer.answer(table.names, table.values, *table.options.arguments())
    except Exception:  # noqa: BLE001 - a refusal, whatever its words
        return None
    return [json.dumps(json.loads(json.dumps(a), parse_float=lambda digits: round(float(digits), 12))) for a in answers]


@pytest.mark.sweep
@pytest.mark.parametrize("model", [name for name in semantics_models.NAMES if name not in UNSIGNED])
def test_requests_that_share_a_batch_do_not_change_each_other(model: str, saved: Path) -> None:
    """Every two requests that may be predicted together are answered, or refused, as each is alone."""
    scorer = load_model_directory(saved / model)
    scorer.warm()
    assert scorer.batchable
    # Each pair of tables once, and equal ones only once.
    different = list({repr(table): table for table in tables(model) if len(table.values) < 100}.values())
    alone = [answered(scorer, table) for table in different]
    pairs = 0
    for (names, rows, options), one in zip(different, alone, strict=True):
        for (others, more, mannered), other in zip(different, alone, strict=True):
            if rows is more or (names, options) != (others, mannered):
                continue
            together = answered(scorer, RequestTable(names, [*rows, *more], options))
            if one is None or other is None:
                assert together is None, (rows, more)
            elif together is not None:  # refused together they are asked alone, as arrays of different shapes are
                assert together == [*one, *other], (rows, more)
            pairs += 1
    assert pairs


@pytest.mark.parametrize("model", UNSIGNED)
def test_without_a_signature_nothing_is_shared(model: str, saved: Path) -> None:
    """Where numpy and pandas guess types from all rows, requests are not predicted together."""
    assert not load_model_directory(saved / model).batchable


def test_the_shortcut_answers_and_refuses_what_mlflows_way_does(saved: Path) -> None:
    """With and without the shortcut every table of the comparison has the same answers to the last bit, or none."""
    scorer = load_model_directory(saved / "numbers")
    scorer.warm()
    quick, scorer._direct = scorer._direct, None
    assert quick is not None
    asked = tables("numbers")
    asked += [RequestTable(("x", "y", "z"), [[[1.0], [2.0], [3.0]]]), RequestTable(("x", "y", "z"), [[[1.0, 2.0]] * 3])]
    kinds = set()
    for table in asked:
        found = []
        for direct in (None, quick):
            scorer._direct = direct
            try:
                found.append(scorer.answer(table.names, table.values, *table.options.arguments()))
            except Exception:  # noqa: BLE001 - a refusal, whatever its words
                found.append([])
        assert found[0] == found[1], table
        kinds.add(bool(found[0]))
    assert kinds == {True, False}


def saved_as(path: Path, answer: Callable[[pd.DataFrame], object], signature: ModelSignature) -> Path:
    """Save a pyfunc that answers with this function."""

    class Model(PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - MLflow would make a signature of types
            return answer(model_input)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        mlflow.pyfunc.save_model(str(path), python_model=Model(), signature=signature, pip_requirements=["pandas"])
    return path


def rows_of(body: bytes) -> tuple[ColumnNames, list[Any]]:
    """Names and rows of a JSON body."""
    names, rows, _ = decode_table(body, "")
    return names, rows


def theirs(path: Path, body: bytes) -> object:
    """What `mlflow models serve` predicts."""
    model = mlflow.pyfunc.load_model(str(path))
    said = scoring_server.invocations(body, "application/json", model, model.metadata.get_input_schema())
    return json.loads(said.response)["predictions"]


def test_an_optional_whole_number_may_be_left_out(tmp_path: Path) -> None:
    """A whole number cannot be missing, so its column is left out, as by MLflow; where it is null in every row, too."""
    schema = Schema([ColSpec(DataType.double, "x"), ColSpec(DataType.long, "n", required=False)])
    path = saved_as(tmp_path / "m", lambda frame: [",".join(frame.columns)] * len(frame), ModelSignature(schema))
    for row, expected in (({"x": 1.5}, "x"), ({"x": 1.5, "n": 2}, "x,n")):
        body = json.dumps({"dataframe_records": [row]}).encode()
        assert load_model_directory(path).answer(*rows_of(body)) == theirs(path, body) == [expected]
    with pytest.raises(ValueError, match="'n' does not fit its type long"):
        load_model_directory(path).answer(("x", "n"), [[1.5, None], [1.5, 2]])
    assert load_model_directory(path).answer(("x", "n"), [[1.5, None]]) == ["x"]


def test_a_model_with_a_hint_of_objects_is_given_objects(tmp_path: Path) -> None:
    """Rows that are objects reach a model whose type hint wants objects, as by MLflow."""

    class Message(pydantic.BaseModel):
        text: str
        n: int = 3
        m: int | None = None

    class Model(PythonModel):
        def predict(self, model_input: list[Message]) -> list[str]:  # type: ignore[override] # MLflow reads this form too
            return [f"{message.text} {message.n} {message.m}" for message in model_input]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        mlflow.pyfunc.save_model(str(tmp_path / "m"), python_model=Model(), pip_requirements=["pandas"])
    body = json.dumps({"inputs": [{"text": "a", "m": None}, {"text": "b", "n": 5, "m": 1}]}).encode()
    found = load_model_directory(tmp_path / "m").answer(*rows_of(body))
    assert found == theirs(tmp_path / "m", body) == ["a 3 None", "b 5 1"]


def test_what_was_csv_can_be_answered_from_the_log(saved: Path) -> None:
    """Words that CSV has for truth values are read in logged rows too, which do not say that they were CSV."""
    scorer = load_model_directory(saved / "typed")
    row = {**semantics_types.ROW, "night": "true"}
    names, rows, options = decode_table(semantics_types.table(row).body, "text/csv")
    assert names is not None
    live = scorer.answer(names, rows, *options.arguments())
    assert scorer.predict([dict(zip(map(str, names), rows[0], strict=True))]) == live
    with pytest.raises(ValueError, match="'night' does not fit its type boolean"):
        scorer.answer(names, rows)


def test_what_a_nested_cell_was_is_left_as_it_was(saved: Path) -> None:
    """Casting an object leaves the caller's own alone, which is still to be logged."""
    place = {"city": "Oslo", "zip": 150}
    load_model_directory(saved / "nested").answer(("vector", "place"), [[[1.0], place]])
    assert [type(value) for value in place.values()] == [str, int]
