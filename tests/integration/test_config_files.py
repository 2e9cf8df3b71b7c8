"""Configuration files on a real disk: whole or not at all, verified, and never over another writer's content."""

import hashlib
import os
import stat
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from surefoot.adapters.bundle.config_files import MAX_CONFIG_FILE_BYTES, ConfigFileStore
from surefoot.adapters.mlflow.artifacts import ArtifactCache
from surefoot.core.domain import Version
from surefoot.core.errors import ArtifactTampered, ConfigUnavailable, Rejected

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.sklearn

TWO = Version("2", "sha256:" + "2" * 64)


@pytest.fixture
def store(tmp_path: Path) -> ConfigFileStore:
    """A store of a project in this folder, whose version 2 carries thresholds."""
    artifact = tmp_path / "artifact"
    (artifact / "config").mkdir(parents=True)
    (artifact / "config" / "thresholds.json").write_text('{"late": 0.4}')
    return ConfigFileStore(tmp_path, tmp_path / "kept", lambda _version, _model: artifact)


def digest(content: str) -> str:
    """Name of a content."""
    return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


def test_a_file_goes_to_the_version_and_back(tmp_path: Path, store: ConfigFileStore) -> None:
    """Content, mode and link survive: only the bytes change, and the old ones come back exactly."""
    real, link = tmp_path / "real.json", tmp_path / "thresholds.json"
    real.write_text('{"late": 0.3}\n')
    real.chmod(0o640)
    link.symlink_to(real)
    before, after = store.keep_current("thresholds.json"), store.keep_bundled("m", TWO, "config/thresholds.json")
    assert (before, after) == (digest('{"late": 0.3}\n'), digest('{"late": 0.4}'))
    store.write("thresholds.json", after)
    assert link.is_symlink()
    assert real.read_text() == '{"late": 0.4}'
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert store.current_digest("thresholds.json") == after
    store.write("thresholds.json", before)
    assert real.read_bytes() == b'{"late": 0.3}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "kept", "real.json", "thresholds.json"]


def test_no_file_before_is_no_file_after(tmp_path: Path, store: ConfigFileStore) -> None:
    """A file that was not there has an empty digest, and goes again; to remove it twice is no error."""
    assert store.keep_current("new.json") == store.current_digest("new.json") == ""
    store.write("new.json", store.keep_bundled("m", TWO, "config/thresholds.json"))
    assert (tmp_path / "new.json").exists()
    for _ in range(2):
        store.write("new.json", "")
        assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize("damage", ["gone", "altered", "cut"])
def test_a_damaged_content_is_never_written(tmp_path: Path, store: ConfigFileStore, damage: str) -> None:
    """What was kept is verified before it is written: a lost, altered or shortened one leaves the file alone."""
    (tmp_path / "t.json").write_text("now")
    wanted = store.keep_bundled("m", TWO, "config/thresholds.json")
    kept = tmp_path / "kept" / wanted.removeprefix("sha256:")
    if damage == "gone":
        kept.unlink()
    else:
        kept.write_bytes(b'{"late": 0.9}' if damage == "altered" else kept.read_bytes()[:5])
    with pytest.raises(ArtifactTampered, match=r"gone|altered"):
        store.write("t.json", wanted)
    assert (tmp_path / "t.json").read_text() == "now"
    assert store.keep_bundled("m", TWO, "config/thresholds.json") == wanted  # kept again, whole
    store.write("t.json", wanted)
    assert store.current_digest("t.json") == wanted


def test_what_cannot_be_a_configuration_file_is_refused(tmp_path: Path, store: ConfigFileStore) -> None:
    """A folder, a file in no folder, one that the artifact lacks and one of gigabytes are refused in one line."""
    with pytest.raises(Rejected, match="no regular file"):
        store.keep_current("artifact")
    with pytest.raises(Rejected, match="does not exist"):
        store.keep_current("nowhere/t.json")
    with pytest.raises(Rejected, match=r"has no file other\.json"):
        store.keep_bundled("m", TWO, "other.json")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(MAX_CONFIG_FILE_BYTES + 1)
    with pytest.raises(Rejected, match="bytes"):
        store.keep_current("large")


def test_a_disk_that_refuses_leaves_the_old_content(
    tmp_path: Path, store: ConfigFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the middle of writing leaves the file whole and no rest beside it; it may be tried again."""
    (tmp_path / "t.json").write_text("now")
    wanted = store.keep_bundled("m", TWO, "config/thresholds.json")
    with monkeypatch.context() as shell:

        def full(_handle: int) -> None:
            raise OSError(28, "No space left on device")

        shell.setattr(os, "fsync", full)
        with pytest.raises(ConfigUnavailable, match="No space"):
            store.write("t.json", wanted)
    assert (tmp_path / "t.json").read_text() == "now"
    assert not list(tmp_path.glob(".t.json*"))
    store.write("t.json", wanted)
    assert store.current_digest("t.json") == wanted


@pytest.mark.filterwarnings("ignore:.*[Tt]ype hint:UserWarning")
def test_a_model_that_is_logged_with_its_file_carries_it(
    tmp_path: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way that the policy page names works with a real registry: `code_paths` for any flavor."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    Path("thresholds.json").write_text('{"late": 0.4}')
    with mlflow.start_run():
        model = LogisticRegression().fit(np.array([[0.0], [1.0]]), [0, 1])
        info = mlflow.sklearn.log_model(
            model, name="model", code_paths=["thresholds.json"], registered_model_name="bundled", pip_requirements=[]
        )
    cache = ArtifactCache(tmp_path / "cache", mlflow_server)
    _, digest_of_all = cache.fetch("bundled", str(info.registered_model_version))
    version = Version(str(info.registered_model_version), digest_of_all)
    store = ConfigFileStore(tmp_path, tmp_path / "kept", cache.verified)
    assert store.keep_bundled("bundled", version, "code/thresholds.json") == digest('{"late": 0.4}')
