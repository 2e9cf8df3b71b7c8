"""Model bytes: digests, the cache, a real MLflow server, and scoring as MLflow scores."""

import json
import os
import shutil
import socket
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from surefoot.adapters.mlflow.artifact_contents import read_artifact_contents
from surefoot.adapters.mlflow.artifacts import ArtifactCache, directory_digest, load_model_directory
from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import PyfuncScorer
from surefoot.core.domain import Version
from surefoot.core.errors import ArtifactTampered, NotFound, RegistryUnavailable, Rejected
from surefoot.core.policy.governance.artifact_trust import ArtifactContents

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow import MlflowClient
    from mlflow.models import infer_signature
    from mlflow.pyfunc import scoring_server
    from mlflow.pyfunc.model import PythonModel

# MLflow's advice on saving a model: type hints, no integer columns, an input example.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Add type hints to the `predict` method:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*Inferred schema contains integer column:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*An input example was not provided:UserWarning"),
]

FLIGHTS = pd.DataFrame(
    {
        "carrier": ["AA", "UA", "DL", "AA", "UA", "DL"] * 10,
        "distance": np.linspace(100.0, 2500.0, 60),
        "hour": np.arange(60, dtype="int64") % 24,
    }
)
LATE = (FLIGHTS["hour"] > 12).astype(int)


def flights_model(path: Path) -> Path:
    """Save a pipeline with text, double and long inputs that answers with class probabilities."""
    encode = ColumnTransformer(
        [("carrier", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["carrier"])], remainder="passthrough"
    )
    model = make_pipeline(encode, HistGradientBoostingClassifier(max_iter=5)).fit(FLIGHTS, LATE)
    signature = infer_signature(FLIGHTS, model.predict_proba(FLIGHTS))
    mlflow.sklearn.save_model(
        model,
        str(path),
        signature=signature,
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model directory."""
    return flights_model(tmp_path_factory.mktemp("model") / "flights")


@pytest.fixture(scope="module")
def scorer(saved: Path) -> PyfuncScorer:
    """The same, loaded."""
    return load_model_directory(saved)


@pytest.fixture(scope="module")
def registered(mlflow_server: str, saved: Path) -> str:
    """Name of a registered model whose version 1 is the saved model, behind a real server."""
    client = MlflowClient(tracking_uri=mlflow_server, registry_uri=mlflow_server)
    experiment = client.create_experiment("artifacts")
    run = client.create_run(experiment)
    client.log_artifacts(run.info.run_id, str(saved), "model")
    client.create_registered_model("flights-artifacts")
    client.create_model_version("flights-artifacts", f"{run.info.artifact_uri}/model", run.info.run_id)
    return "flights-artifacts"


def tree(root: Path) -> Path:
    """Write a small tree."""
    (root / "sub").mkdir(parents=True)
    (root / "MLmodel").write_text("flavors: {}")
    (root / "sub" / "model.pkl").write_bytes(b"\x00\x01")
    return root


def test_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    """Equal trees have equal digests; another byte, name or file gives another one."""
    one = directory_digest(tree(tmp_path / "one"))
    assert directory_digest(tree(tmp_path / "two")) == one
    assert one.startswith("sha256:")
    assert len(one) == 71
    edits: list[Callable[[Path], object]] = [
        lambda root: (root / "sub" / "model.pkl").write_bytes(b"\x00\x02"),
        lambda root: (root / "sub" / "model.pkl").rename(root / "sub" / "other.pkl"),
        lambda root: (root / "sub" / "model.pkl").rename(root / "model.pkl"),
        lambda root: (root / "more").touch(),
        lambda root: (root / "sub" / "registered_model_meta").touch(),
    ]
    for number, edit in enumerate(edits):
        edited = tree(tmp_path / f"edited-{number}")
        edit(edited)
        assert directory_digest(edited) != one


def test_digest_ignores_what_mlflow_adds(tmp_path: Path) -> None:
    """The file that MLflow writes beside a download does not change the digest."""
    root = tree(tmp_path / "model")
    before = directory_digest(root)
    (root / "registered_model_meta").write_text("model_name: m\nmodel_version: 1\n")
    assert directory_digest(root) == before


def test_digest_refuses_what_is_no_file(tmp_path: Path) -> None:
    """A symbolic link to a file or a directory, and a pipe, are refused."""
    plants: list[Callable[[Path], None]] = [
        lambda at: at.symlink_to("/etc/hostname"),
        lambda at: at.symlink_to(tmp_path, target_is_directory=True),
        os.mkfifo,
    ]
    for number, plant in enumerate(plants):
        root = tree(tmp_path / f"model-{number}")
        plant(root / "planted")
        with pytest.raises(ArtifactTampered, match="planted"):
            directory_digest(root)


def test_digest_of_nothing_is_refused(tmp_path: Path) -> None:
    """A directory without files, or none, has no digest."""
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(NotFound):
            directory_digest(path)


def test_fetch_files_under_the_digest(registered: str, mlflow_server: str, saved: Path, tmp_path: Path) -> None:
    """A downloaded version has the digest of what was uploaded and lies in a directory of that name."""
    cache = ArtifactCache(tmp_path / "cache", mlflow_server)
    path, digest = cache.fetch(registered, "1")
    assert digest == directory_digest(saved) == directory_digest(path)
    assert path == tmp_path / "cache" / digest.removeprefix("sha256:")
    assert cache.fetch(registered, "1") == (path, digest)
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [path.name]
    assert load_model_directory(path).columns == ("carrier", "distance", "hour")


def test_cached_bytes_need_no_registry(registered: str, mlflow_server: str, tmp_path: Path) -> None:
    """What the cache holds is verified and given with MLflow down."""
    path, digest = ArtifactCache(tmp_path, mlflow_server).fetch(registered, "1")
    assert ArtifactCache(tmp_path, dead_server()).verified(Version("1", digest), registered) == path


def test_edited_cache_is_downloaded_again(registered: str, mlflow_server: str, tmp_path: Path) -> None:
    """A file edited or planted in the cache is never given out: the version is downloaded again."""
    cache = ArtifactCache(tmp_path, mlflow_server)
    path, digest = cache.fetch(registered, "1")
    for name in ("MLmodel", "planted.py"):
        (path / name).write_text("edited")
        assert cache.verified(Version("1", digest), registered) == path
        assert directory_digest(path) == digest
    (path / "MLmodel").write_text("edited")
    with pytest.raises(RegistryUnavailable):
        ArtifactCache(tmp_path, dead_server()).verified(Version("1", digest), registered)


def test_registry_with_other_bytes_is_tampering(registered: str, mlflow_server: str, tmp_path: Path) -> None:
    """When the registry's files are not of the journalled digest, nothing is given."""
    cache = ArtifactCache(tmp_path, mlflow_server)
    with pytest.raises(ArtifactTampered, match="the journal says"):
        cache.verified(Version("1", "sha256:" + "0" * 64), registered)
    with pytest.raises(ArtifactTampered, match="not the digest"):
        cache.verified(Version("1", "sha256:../../etc"), registered)


def test_absent_versions_are_not_found(registered: str, mlflow_server: str, tmp_path: Path) -> None:
    """A missing version, a missing model and a number that is none are NotFound, and leave nothing behind."""
    cache = ArtifactCache(tmp_path, mlflow_server)
    for model, number in ((registered, "99"), ("no-such-model", "1"), (registered, "champion")):
        with pytest.raises(NotFound, match=model):
            cache.fetch(model, number)
    assert list(tmp_path.iterdir()) == []


def test_dead_registry_is_unavailable(tmp_path: Path) -> None:
    """A server that does not answer is RegistryUnavailable."""
    with pytest.raises(RegistryUnavailable):
        ArtifactCache(tmp_path, dead_server()).fetch("m", "1")


def dead_server() -> str:
    """URL of a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_unloadable_files_are_rejected(tmp_path: Path) -> None:
    """A directory that is no model is Rejected, not MLflow's error."""
    with pytest.raises(Rejected, match="cannot be loaded"):
        load_model_directory(tree(tmp_path / "model"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pickled_model: model.pkl", "pickled_model: ../elsewhere/model.pkl"),
        ("pickled_model: model.pkl", "pickled_model: /tmp/model.pkl"),
        ("model_path: model.pkl", "model_path: sub/../../model.pkl"),
        ("virtualenv: python_env.yaml", "virtualenv: ..\\\\python_env.yaml"),
    ],
)
def test_a_path_that_leads_out_of_the_model_is_never_loaded(
    saved: Path, tmp_path: Path, before: str, after: str
) -> None:
    """A description that names a file outside of the digested folder is refused before anything of it is loaded."""
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    described = (folder / "MLmodel").read_text(encoding="utf-8")
    assert before in described
    (folder / "MLmodel").write_text(described.replace(before, after), encoding="utf-8")
    (folder / "model.pkl").write_bytes(b"not loaded")
    with pytest.raises(Rejected, match="lies outside of the model"):
        load_model_directory(folder)


def test_flavours_and_pickles_of_a_version_are_found(saved: Path, tmp_path: Path) -> None:
    """A saved scikit-learn model declares its flavours; a pickle is found by its bytes, whatever its name is."""
    assert read_artifact_contents(saved) == ArtifactContents(("python_function", "sklearn"), ("model.pkl",))
    shutil.copytree(saved, tmp_path / "model")
    (tmp_path / "model" / "model.pkl").rename(tmp_path / "model" / "weights.bin")
    (tmp_path / "model" / "notes.bin").write_bytes(b"\x80")
    assert read_artifact_contents(tmp_path / "model").pickles == ("weights.bin",)
    (tmp_path / "model" / "MLmodel").write_text("flavors: [", encoding="utf-8")
    with pytest.raises(Rejected, match="MLmodel cannot be read"):
        read_artifact_contents(tmp_path / "model")


def test_probabilities_come_as_a_list_a_row(scorer: PyfuncScorer) -> None:
    """A predict_proba model answers one list of two probabilities for every row."""
    answers = scorer.predict(
        [{"carrier": "AA", "distance": 500, "hour": 3}, {"carrier": "ZZ", "distance": 1.5, "hour": 20.0}]
    )
    assert len(answers) == 2
    for answer in answers:
        assert isinstance(answer, list)
        assert sum(answer) == pytest.approx(1)


def test_scores_equal_mlflows_own_server(scorer: PyfuncScorer, saved: Path) -> None:
    """Rows with integers for doubles, nulls, and numbers as text score as `mlflow models serve` scores them."""
    rows: list[dict[str, object]] = [
        {"carrier": "AA", "distance": 500, "hour": 3},
        {"carrier": "UA", "distance": None, "hour": 3},
        {"carrier": "DL", "distance": "700.5", "hour": 15},
        {"carrier": None, "distance": 0.5, "hour": 23},
        {"carrier": "AA", "distance": True, "hour": 7.0, "extra": [1]},
    ]
    model = mlflow.pyfunc.load_model(str(saved))
    body = json.dumps({"dataframe_records": rows})
    theirs = scoring_server.invocations(body, "application/json", model, model.metadata.get_input_schema())
    expected = json.loads(theirs.response)["predictions"]
    assert np.allclose(np.array(scorer.predict(rows)), np.array(expected))


def test_an_answer_does_not_depend_on_neighbours(scorer: PyfuncScorer) -> None:
    """A row alone and among others has the same answer."""
    rows: list[dict[str, object]] = [
        {"carrier": None, "distance": None, "hour": 3},
        {"carrier": "AA", "distance": 200, "hour": 15},
        {"carrier": 7, "distance": "900", "hour": 5},
    ]
    assert scorer.predict(rows) == [scorer.predict([row])[0] for row in rows]


def test_bad_rows_are_named(scorer: PyfuncScorer) -> None:
    """A missing column, a word for a number and a null for a long are refused by name, whatever their neighbours."""
    good: dict[str, object] = {"carrier": "AA", "distance": 1.0, "hour": 1}
    with pytest.raises(ValueError, match=r"row 1 lacks the required inputs \['distance'\]"):
        scorer.predict([good, {"carrier": "AA", "hour": 1}])
    with pytest.raises(ValueError, match="'distance' does not fit its type double"):
        scorer.predict([{**good, "distance": "far"}])
    with pytest.raises(ValueError, match="'hour' does not fit its type long"):
        scorer.predict([{**good, "hour": None}])


def pyfunc(
    tmp_path: Path, answer: Callable[[pd.DataFrame], object], example: pd.DataFrame | None = None
) -> PyfuncScorer:
    """Save and load a pyfunc that answers with this function."""

    class Model(PythonModel):
        def predict(self, context: object, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - MLflow warns about types it does not know
            return answer(model_input)

    signature = None if example is None else infer_signature(example)
    path = tmp_path / "pyfunc"
    mlflow.pyfunc.save_model(str(path), python_model=Model(), signature=signature, pip_requirements=["pandas"])
    return load_model_directory(path)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda frame: frame["x"].to_numpy(), [1.0, 2.0]),
        (lambda frame: frame["x"] * 2, [2.0, 4.0]),
        (lambda frame: frame.assign(y="a"), [{"x": 1.0, "y": "a"}, {"x": 2.0, "y": "a"}]),
        (lambda frame: [np.int64(1), {"k": np.float32(0.5)}], [1, {"k": 0.5}]),
        (
            lambda frame: pd.DatetimeIndex(["2013-01-01", "2013-01-02"]).to_list(),
            ["2013-01-01T00:00:00", "2013-01-02T00:00:00"],
        ),
    ],
)
def test_answers_become_json(tmp_path: Path, answer: Callable[[pd.DataFrame], object], expected: object) -> None:
    """Arrays, series, frames and lists of numpy values become one plain JSON value a row."""
    assert pyfunc(tmp_path, answer).predict([{"x": 1.0}, {"x": 2.0}]) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda frame: frame["x"] * np.nan, "gave nan"),
        (lambda frame: frame["x"] * np.inf, "gave inf"),
        (lambda frame: frame.assign(y=None), "gave None|gave nan"),
        (lambda frame: frame["x"].iloc[:1], "1 answers for 2 rows"),
        (lambda frame: 3, "one int, not one answer a row"),
        (lambda frame: [object(), 1], "not a JSON value"),
    ],
)
def test_no_answer_is_an_error(tmp_path: Path, answer: Callable[[pd.DataFrame], object], reason: str) -> None:
    """NaN, an infinity, null, a wrong number of answers and what is no JSON are errors that say so."""
    with pytest.raises(ValueError, match=reason):
        pyfunc(tmp_path, answer).predict([{"x": 1.0}, {"x": 2.0}])


def test_truth_values_and_dates_are_cast(tmp_path: Path) -> None:
    """Truth values pass as such, dates are read as pandas reads each alone; a word of JSON is no truth value."""
    example = pd.DataFrame({"ok": [True, False]})
    flags = pyfunc(tmp_path / "flags", lambda frame: frame["ok"].astype(bool).to_list(), example)
    assert flags.predict([{"ok": True}, {"ok": 0}]) == [True, False]
    with pytest.raises(ValueError, match="'ok' does not fit its type boolean"):
        flags.answer(("ok",), [["false"]])
    example = pd.DataFrame({"day": pd.to_datetime(["2013-01-01", "2013-01-02"])})
    days = pyfunc(tmp_path / "days", lambda frame: frame["day"].dt.day, example)
    assert days.predict([{"day": "2013-06-24T00:00:00"}]) == [24]
