"""Requirements of a saved model are read as MLflow stores them; JSON is the same with and without orjson."""

import json
import math
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.errors import Rejected
from surefoot.models.environments import json_codec
from surefoot.models.environments.requirements import read_requirements

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | _TEXTS
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner), max_leaves=20)


@given(_VALUES)
def test_json_without_orjson_says_the_same(value: object) -> None:
    """For every JSON value both encoders give texts that mean the same; what is no finite number is null in both."""
    assert json.loads(json_codec.dumps_without_orjson(value)) == json.loads(orjson.dumps(value))
    assert orjson.loads(json_codec.dumps_without_orjson(value)) == orjson.loads(orjson.dumps(value))


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", "\ud800", {"a": [object()]}, math])
def test_what_is_no_json_is_a_type_error_with_both(value: object) -> None:
    """A value that is not JSON, half a character included, is refused with a TypeError by either encoder."""
    for encode in (json_codec.dumps_without_orjson, json_codec.dumps):
        with pytest.raises(TypeError):
            encode(value)


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"nul"])
def test_what_is_no_json_text_is_told(body: bytes) -> None:
    """Bytes that are no JSON raise the one error that callers catch."""
    with pytest.raises(json_codec.JSONDecodeError):
        json_codec.loads(body)


def _model(folder: Path, requirements: str, python: str = "", **more: str) -> Path:
    folder.mkdir()
    (folder / "requirements.txt").write_text(requirements)
    if python:
        (folder / "python_env.yaml").write_text(f"python: {python}\nbuild_dependencies:\n- pip\n")
    for name, text in more.items():
        (folder / name).write_text(text)
    return folder


def test_versions_with_the_same_requirements_share_an_environment(tmp_path: Path) -> None:
    """Order, comments and the last number of Python's version do not matter; another package or constraint does."""
    one = read_requirements(_model(tmp_path / "a", "mlflow==3\npandas # for tables\n", f"{HERE}.1"))
    same = read_requirements(_model(tmp_path / "b", "# ours\n\npandas\nmlflow==3", f"{HERE}.9"))
    other = read_requirements(_model(tmp_path / "c", "mlflow==3\npandas<3\n"))
    limits = [
        read_requirements(_model(tmp_path / name, "mlflow==3\npandas\n-c limits", limits=text))
        for name, text in (("d", "numpy<2"), ("e", "numpy<3"))
    ]
    assert one.digest == same.digest
    assert len({one.digest, other.digest, *(found.digest for found in limits)}) == 4
    assert one.python == sys.executable


def test_a_model_without_requirements_is_refused(tmp_path: Path) -> None:
    """No requirements, no environment: the message says what is missing."""
    (tmp_path / "m").mkdir()
    with pytest.raises(Rejected, match=r"it stores no requirements\.txt"):
        read_requirements(tmp_path / "m")


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("3.8.10", "it was logged with Python 3.8, and versions run on Python 3.11 or later"),
        ("3.99.0", "there is no python3.99 on this host"),
    ],
)
def test_a_python_that_is_not_here_is_named(tmp_path: Path, python: str, words: str) -> None:
    """A version that was logged with a Python that cannot run here is refused, with both versions named."""
    with pytest.raises(Rejected, match=words):
        read_requirements(_model(tmp_path / "m", "mlflow", python))


def test_another_python_that_is_here_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host has the Python that a version was logged with, its environment is made from that one."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "python3.98"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert read_requirements(_model(tmp_path / "m", "mlflow", "3.98.1")).python == str(program)
