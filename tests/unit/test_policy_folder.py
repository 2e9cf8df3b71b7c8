"""A policy belongs to the model that it names, wherever its file is in `configs/`."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from surefoot.adapters.config import policy_folder
from surefoot.adapters.config.policy_file import read_cached_policy
from surefoot.adapters.config.policy_folder import (
    find_cached_policy_file,
    find_policy_file,
    list_policy_files,
    read_declared_model,
    read_model_policy,
)
from surefoot.adapters.config.setting_by_model import SettingByModel
from surefoot.cli import build_app
from surefoot.core.errors import NotFound, PolicyInvalid, Rejected
from surefoot.settings import Settings
from surefoot.wiring.policies import find_broken_policies, hash_policy_files, read_policies

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "configs" / "flights-late.yaml").read_text(encoding="utf-8")
NAMES = ("catalog.schema.model", "Churn EU 2024", "50% off", "a [bold]b", ".hidden")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the suite of the flights and no policy."""
    (tmp_path / "configs" / "team a").mkdir(parents=True)
    (tmp_path / "expectations").mkdir()
    suite = ROOT / "expectations" / "flights-late.json"
    (tmp_path / "expectations" / suite.name).write_bytes(suite.read_bytes())
    return tmp_path


def _write(file: Path, model: str) -> Path:
    file.write_text(TEXT.replace("model: flights-late", f'model: "{model}"', 1), encoding="utf-8")
    return file


def _lint(project: Path, *words: str) -> Result:
    order = ["lint", "--project", str(project), *words]
    return CliRunner().invoke(build_app("lint"), order, standalone_mode=False)


@pytest.mark.parametrize("model", NAMES)
def test_a_policy_is_found_by_the_model_inside(project: Path, model: str) -> None:
    """A file of any name in a subfolder is the policy of the model that it names, for flows, gateway and commands."""
    file = _write(project / "configs" / "team a" / "some policy.yaml", model)
    config = Settings(project, project, "", "", "", "token")
    assert find_policy_file(config.configs, model) == file
    assert read_model_policy(config.configs, model)[1].model == model
    assert list(read_policies(config)) == [model]
    assert dict(SettingByModel(config.configs, lambda policy: policy.unit)) == {model: "tailnum"}
    assert hash_policy_files(config, model, read_policies(config)[model])["policy"]
    said = _lint(project, model)
    assert said.return_value == 0, said.output
    assert f"ok {model}: 4 steps" in said.output


def test_policies_of_many_models_are_listed_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One list of files does for all models, until a file comes, goes, or names another model."""
    folder = project / "configs"
    one = _write(folder / "one.yaml", "one")
    two = _write(folder / "team a" / "two.yaml", "two")
    for place in (folder, folder / "team a"):
        os.utime(place, (1e9, 1e9))  # nothing has come for a while
    lists: list[Path] = []
    listed = policy_folder.list_policy_files

    def counted(asked: Path) -> list[Path]:
        lists.append(asked)
        return listed(asked)

    monkeypatch.setattr(policy_folder, "list_policy_files", counted)
    for _ in range(3):
        assert find_cached_policy_file(folder, "one") == one
        assert find_cached_policy_file(folder, "two") == two
    assert len(lists) == 1
    _write(two, "renamed")
    assert find_cached_policy_file(folder, "renamed") == two
    with pytest.raises(NotFound):
        find_cached_policy_file(folder, "two")
    again = _write(folder / "team a" / "again.yaml", "one")
    with pytest.raises(Rejected, match="a second policy of one"):
        find_cached_policy_file(folder, "one")
    again.unlink()
    assert find_cached_policy_file(folder, "one") == one


def test_a_policy_is_read_again_when_its_file_has_changed(project: Path) -> None:
    """The same file is one policy; another content, a broken one and a file that is gone are seen at once."""
    file = _write(project / "configs" / "one.yaml", "one")
    first = read_cached_policy(file)
    assert read_cached_policy(file) is first
    assert read_cached_policy(_write(file, "another")).model == "another"
    file.write_text("model: 7", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(PolicyInvalid):
            read_cached_policy(file)
    file.unlink()
    with pytest.raises(NotFound):
        read_cached_policy(file)


def test_two_policies_of_one_model_are_refused(project: Path) -> None:
    """Neither of two files that name one model is in force, and every command names both."""
    one = _write(project / "configs" / "a.yaml", "churn")
    other = _write(project / "configs" / "team a" / "b.yaml", "churn")
    config = Settings(project, project, "", "", "", "token")
    with pytest.raises(Rejected, match="a second policy of churn"):
        find_policy_file(config.configs, "churn")
    assert read_policies(config) == {}
    assert list(find_broken_policies(config)) == ["churn"]
    assert "churn" not in SettingByModel(config.configs, lambda policy: policy.unit)
    said = _lint(project)
    assert said.return_value == 2
    assert f"{one}: a second policy of churn, beside {other}" in said.output


def test_a_model_without_a_policy_is_told_which_have_one(project: Path) -> None:
    """A model that no file names is answered with the models that have a policy."""
    _write(project / "configs" / "a.yaml", "churn")
    with pytest.raises(NotFound, match=r"there is no policy of chrun in .*; models with one: churn$"):
        find_policy_file(project / "configs", "chrun")


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("model: a.b # the first\ngates: [", "a.b"),
        ("'model': quoted\n", "quoted"),
        ('{"model": "json", "unit": "x"}', "json"),
        ("unit: x\n", "file"),
        ("model: [1]\n", "file"),
        ("\tmodel: x", "file"),
        ("", "file"),
    ],
)
def test_a_broken_file_is_named_by_the_model_inside(tmp_path: Path, text: str, model: str) -> None:
    """A file that breaks a rule is still told under the model that it names; without one, under its own name."""
    file = tmp_path / "file.yaml"
    file.write_text(text)
    assert read_declared_model(file) == model


def test_cases_templates_and_hidden_files_are_no_policies(project: Path) -> None:
    """Recorded incidents, templates, `notify.yaml` and hidden files are no policies; a renamed model is seen."""
    configs = project / "configs"
    for name in ("incidents/m/1/before/m.yaml", "messages/m.yaml", ".git/m.yaml", "notify.yaml", "team a/.m.yaml"):
        (configs / name).parent.mkdir(parents=True, exist_ok=True)
        _write(configs / name, "m")
    file = _write(configs / "team a" / "notify.yaml", "real")
    assert list_policy_files(configs) == [file]
    _write(file, "another one")
    assert find_policy_file(configs, "another one") == file
