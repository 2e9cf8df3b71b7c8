"""Predict rows with a model, without letting the model end the process."""

from typing import Any

from surefoot.models.model_protocols import ColumnNames, Model
from surefoot.models.rows.answer_checks import check_answers, describe_error


class ModelExit(Exception):
    """The model tried to end the process; the text is what it raised."""

    described = True


def predict_rows(model: Model, names: ColumnNames, values: list[list[object]], *options: Any) -> list[object]:
    """One answer a row.

    Raises:
        ValueError: The model gave no answer to some row.
        ModelExit: It tried to end the process.
        Exception: What it raised.
    """
    try:
        return check_answers(model.answer(names, values, *options), len(values))
    except Exception:
        raise
    except BaseException as error:  # a model that wants to end the process only ends its answer
        raise ModelExit(describe_error(error)) from error
