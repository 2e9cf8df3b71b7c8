"""Names of registered models are those that MLflow accepts, and each has files of its own."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_model_name

from surefoot.core.naming.model_names import (
    MAX_MODEL_NAME_LENGTH,
    find_model_of_file_name,
    is_model_name,
    model_file_name,
)

_PLAIN = "flights-late"
_NAMES = st.text(min_size=1, max_size=MAX_MODEL_NAME_LENGTH).filter(is_model_name)


@example(".")
@example("..x")
@example(" ")
@example("catalog.schema.model")
@example("a/b")
@example("models:x")
@example(".hidden")
@given(st.text(max_size=MAX_MODEL_NAME_LENGTH))
def test_names_are_those_that_mlflow_accepts(name: str) -> None:
    """For every text that a database can hold, our answer is that of MLflow's own check."""
    try:
        _validate_model_name(name)
    except MlflowException:
        accepted = False
    else:
        accepted = True
    assert is_model_name(name) == accepted


@example("50%")
@example("a%41")
@example("%2E")
@example("a\\b")
@example("line\nbreak")
@example("\x00")
@example("é" * MAX_MODEL_NAME_LENGTH)
@example("a~0123456789abcdef")
@given(_NAMES)
def test_a_file_name_can_be_used_and_leads_back(name: str) -> None:
    """Every name gives a file name that a file system takes beside an end, and from which the name is found again."""
    file = model_file_name(name)
    assert 0 < len(file.encode()) <= 200
    assert "/" not in file
    assert "\x00" not in file
    assert not file.startswith(".")
    assert find_model_of_file_name(file, [name, _PLAIN]) == name


@given(_NAMES, _NAMES)
def test_two_models_never_share_a_file(one: str, other: str) -> None:
    """Different names have different file names, shortened or not."""
    assert (model_file_name(one) == model_file_name(other)) == (one == other)


@pytest.mark.parametrize("name", [_PLAIN, "catalog.schema.model", "Churn EU 2024", "50%", "Grüße", "a~b"])
def test_usual_names_are_file_names_as_they_are(name: str) -> None:
    """Names as teams write them stand unchanged in paths, so that people find their files."""
    assert model_file_name(name) == name


def test_a_long_name_is_found_among_those_that_are_known() -> None:
    """A shortened file name leads back only to a known model, and to the right one of two with the same start."""
    one, other = "é" * 250 + "1", "é" * 250 + "2"
    assert find_model_of_file_name(model_file_name(one)) is None
    assert find_model_of_file_name(model_file_name(one), [other]) is None
    assert find_model_of_file_name(model_file_name(one), [other, one]) == one
