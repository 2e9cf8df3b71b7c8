"""Damage the artifacts of two kinds of MLflow models, in a host's cache and in the registry."""

import random
import warnings
from collections.abc import Iterator
from pathlib import Path

from bench.damaging.files import Snapshot, damage_file
from surefoot.adapters.mlflow.artifacts import ArtifactCache, directory_digest
from surefoot.core.domain import Version
from surefoot.core.errors import SurefootError

_NOWHERE = "http://127.0.0.1:9"
"""A registry that does not answer."""


class _Registry:
    """MLflow on SQLite and a folder, with two versions of a model of each kind."""

    def __init__(self, folder: Path) -> None:
        """Train, save and register."""
        import mlflow  # noqa: PLC0415 - costs seconds

        warnings.simplefilter("ignore")  # advice on saving a model; the import has set filters of its own
        self.folder, self.uri = folder, f"sqlite:///{folder}/mlflow.db"
        self.client = mlflow.MlflowClient(self.uri, self.uri)
        self._experiment = self.client.create_experiment("damage", artifact_location=f"{folder}/store")
        for kind in ("sklearn", "pyfunc"):
            self.client.create_registered_model(kind)
            for number in ("1", "2"):
                saved = folder / "saved" / kind / number
                _save_model(kind, saved, float(number))
                run = self.client.create_run(self._experiment).info
                self.client.log_artifacts(run.run_id, str(saved), "model")
                self.client.create_model_version(kind, f"{run.artifact_uri}/model", run.run_id)

    def store(self, kind: str, number: str) -> Path:
        """Folder of a version's files in the registry."""
        source = str(self.client.get_model_version(kind, number).source)
        return Path(source.removeprefix("file://"))


def _save_model(kind: str, path: Path, slope: float) -> None:
    """Save a scikit-learn model, or a pyfunc that reads a file of its own."""
    import mlflow.pyfunc  # noqa: PLC0415 - costs seconds
    import mlflow.sklearn  # noqa: PLC0415 - same
    import pandas as pd  # noqa: PLC0415 - same
    from mlflow.models import infer_signature  # noqa: PLC0415 - same
    from mlflow.pyfunc.model import PythonModel  # noqa: PLC0415 - same
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415 - same

    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    signature = infer_signature(frame, frame["x"])
    if kind == "sklearn":
        mlflow.sklearn.save_model(
            LinearRegression().fit(frame, frame["x"] * slope), str(path), signature=signature,
            serialization_format="cloudpickle", pip_requirements=["scikit-learn"],
        )  # fmt: skip
        return

    class Table(PythonModel):
        """Answers with what a table says."""

        def load_context(self, context):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - MLflow's own shape
            self.slope = float(Path(context.artifacts["slope"]).read_text())

        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG002 - same
            return model_input["x"] * self.slope

    slope_file = path.parent / f"slope-{slope}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    slope_file.write_text(f"{slope}\n")
    mlflow.pyfunc.save_model(
        str(path), python_model=Table(), artifacts={"slope": str(slope_file)}, signature=signature,
        pip_requirements=["pandas"],
    )  # fmt: skip


def damage_artifacts(folder: Path, each: int) -> Iterator[tuple[str, str, str]]:
    """Damage a version's files many times; name, way and what was wrong of each (empty: it was stopped).

    Args:
        folder: Where everything is made.
        each: How often for each kind of model and place [count].
    """
    registry = _Registry(folder)
    for kind in ("sklearn", "pyfunc"):
        cache = ArtifactCache(folder / "cache" / kind, registry.uri)
        older, _ = cache.fetch(kind, "1")
        path, digest = cache.fetch(kind, "2")
        version = Version("2", digest)
        store = registry.store(kind, "2")
        for place, root in (("cached", path), ("registered", store)):
            whole = Snapshot(root)
            files = sorted(one for one in root.rglob("*") if one.is_file() and one.name != "registered_model_meta")
            for seed in range(each):
                draw = random.Random(f"{kind}/{place}/{seed}")  # noqa: S311 - a seed
                target = draw.choice(files)
                before = older / target.relative_to(root)
                way = damage_file(target, files, before.read_bytes() if before.is_file() else b"", draw)
                if place == "cached":
                    problem = _cached(cache, version, kind, path)
                    whole.put_back()
                else:
                    problem = _given(ArtifactCache(folder / "empty" / f"{kind}-{seed}", registry.uri), version, kind)
                    whole.put_back()
                yield f"{place} {kind} model", way, problem


def _given(cache: ArtifactCache, version: Version, kind: str) -> str:
    """What a cache gives that it should not; empty when it refuses."""
    try:
        path = cache.verified(version, kind)
    except SurefootError:
        return ""
    return f"{path} was given, of digest {directory_digest(path)}"


def _cached(cache: ArtifactCache, version: Version, kind: str, path: Path) -> str:
    """What is wrong with a damaged copy: given without a registry, or not replaced with one."""
    if problem := _given(ArtifactCache(cache.root, _NOWHERE), version, kind):
        return problem
    cache.verified(version, kind)
    return "" if directory_digest(path) == version.digest else "the damaged copy was not replaced by the registry's"
