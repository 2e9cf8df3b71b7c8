"""`surefoot init` writes a project that people own, and that a wheel carries too."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from surefoot.cli import build_app

ROOT = Path(__file__).parents[2]


def _init(*words: str) -> Result:
    return CliRunner().invoke(build_app("init"), ["init", *words], standalone_mode=False)


def test_a_project_is_complete_and_passes_lint(tmp_path: Path) -> None:
    """The folder has every flow and task of this release; the example's policy points to a schema that is there."""
    project = tmp_path / "ours"
    assert _init(str(project), "--example").exception is None
    for name in ("flows", "tasks"):
        wanted = {file.name: file.read_bytes() for file in (ROOT / name).glob("*.py")}
        assert {file.name: file.read_bytes() for file in (project / name).glob("*.py")} == wanted
    assert (project / "prefect.yaml").read_bytes() == (ROOT / "prefect.yaml").read_bytes()
    policy = (project / "configs" / "flights-late.yaml").read_text()
    schema = policy.splitlines()[0].partition("$schema=")[2]
    assert json.loads((project / "configs" / schema).read_text())["title"] == "Surefoot policy"
    done = CliRunner().invoke(build_app("lint"), ["lint", "--project", str(project)], standalone_mode=False)
    assert done.return_value == 0, done.output


def test_what_people_have_changed_is_kept(tmp_path: Path) -> None:
    """A second `init` changes nothing where a file differs, names it, and replaces it only with --force."""
    assert _init(str(tmp_path)).exception is None
    assert _init(str(tmp_path)).exception is None
    flow, own = tmp_path / "flows" / "promote.py", tmp_path / "configs" / "ours.yaml"
    flow.write_text("# ours\n")
    own.write_text("model: ours\n")
    refused = _init(str(tmp_path))
    assert str(refused.exception).startswith(f"{flow} would be replaced")
    assert flow.read_text() == "# ours\n"
    assert _init(str(tmp_path), "--force").exception is None
    assert flow.read_bytes() == (ROOT / "flows" / "promote.py").read_bytes()
    assert own.read_text() == "model: ours\n"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in the place of the folder is one line that names it."""
    (tmp_path / "file").write_text("")
    assert str(_init(str(tmp_path / "file")).exception).startswith(f"{tmp_path / 'file'} cannot be written")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this clone."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
    command += ["--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


def test_a_wheel_writes_the_same_project(wheel: Path, tmp_path: Path) -> None:
    """`init` of an unpacked wheel, with no clone beside it, writes the files that `init` of the clone writes."""
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
    _init(str(tmp_path / "clone"), "--example")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from surefoot.cli import main; main()"
    command = [sys.executable, "-P", "-c", code, "init", str(tmp_path / "wheel"), "--example"]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [
        {
            file.relative_to(tmp_path / name): file.read_bytes()
            for file in (tmp_path / name).rglob("*")
            if file.is_file()
        }
        for name in ("clone", "wheel")
    ]
    assert made[0] == made[1]
    assert len(made[0]) > 20
