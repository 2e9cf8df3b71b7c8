"""Whatever a person gets wrong is answered in one line, with the exit code that says whose turn it is."""

import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from surefoot import cli
from tests.conftest import free_port
from tests.e2e.promotion_fixtures import QUICK, SUITE, Cabins
from tests.e2e.stack_scenario import ROOT, Home, Scenario, write

BROKEN = ROOT / "tests" / "e2e" / "expected_failures"
COMMANDS = sorted(cli.MODULES)


@dataclass
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on standard error."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("surefoot: "), lines[0]
        assert len(lines[0]) <= 300, lines[0]
        return lines[0]


@dataclass
class Terminal:
    """Runs the command's own `main` in this process: the same lines and codes without three seconds of imports."""

    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def type(self, home: Path, *words: str) -> Said:
        """Run one command."""
        self.patch.setenv("SUREFOOT_HOME", str(home))
        self.patch.setattr(sys, "argv", ["surefoot", *words])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = self.capture.readouterr()
        return Said(int(str(left.value.code)), out, err)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    """A terminal in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal(monkeypatch, capsys)


@pytest.fixture(scope="module")
def desk(stack: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home over the running stack, with good and bad policies of its own and an empty journal."""
    folder = tmp_path_factory.mktemp("desk")
    for model in ("lost", "unregistered"):
        write(folder / "project", model, QUICK)
    (folder / "project" / "expectations" / "cabins.json").write_text(SUITE.replace("MODEL", "cabins"))
    for name in ("unknown_key", "duplicate_key", "nan"):
        shutil.copy(BROKEN / f"{name}.yaml", folder / "project" / "configs")
    return stack.side(folder, project=str(folder / "project"), journal=f"sqlite:///{folder}/journal.db")


@pytest.mark.parametrize("model", ["unknown_key", "duplicate_key", "nan"])
def test_a_wrong_policy_is_refused_with_its_line(desk: Home, terminal: Terminal, model: str) -> None:
    """`promote` with a policy that breaks a rule names file and line, exits 2 and journals nothing."""
    said = terminal.type(desk.folder, "promote", model, "2", "--here")
    assert said.code == 2
    assert f"/configs/{model}.yaml:" in said.line
    assert desk.entries(model) == []


def test_a_model_without_a_policy_is_refused(desk: Home, terminal: Terminal) -> None:
    """`promote` of a model that nobody wrote a policy for says which policies there are."""
    said = terminal.type(desk.folder, "promote", "nobody", "2", "--here")
    assert said.code == 2
    assert "there is no policy" in said.line
    assert desk.entries("nobody") == []


@pytest.mark.parametrize(
    ("model", "version", "reason"),
    [
        ("unregistered", "2", "no registered model unregistered"),
        ("lost", "9", "model lost has no version 9; it has 1, 2"),
        ("lost", "2", "lost has no champion yet: set the alias 'champion'"),
    ],
)
def test_what_the_registry_lacks_is_refused(desk: Home, model: str, version: str, reason: str) -> None:
    """`promote` of a model, a version or a champion that is not in the registry exits 2 and journals nothing."""
    done = desk.run("promote", model, version, "--here")
    said = Said(done.returncode, done.stdout, done.stderr)
    assert said.code == 2
    assert reason in said.line
    assert desk.entries(model) == []


def test_the_champion_cannot_be_promoted(cabins: Cabins) -> None:
    """`promote` of the version that serves exits 2, and the journal stays as it was."""
    head = cabins.home.entries("cabins-abort")
    done = cabins.home.run("promote", "cabins-abort", "1", "--here")
    said = Said(done.returncode, done.stdout, done.stderr)
    assert said.code == 2
    assert "version 1 of cabins-abort is the champion: nothing to promote" in said.line
    assert cabins.home.entries("cabins-abort") == head


def test_mlflow_down_is_not_the_persons_fault(stack: Scenario, cabins: Cabins, tmp_path: Path) -> None:
    """`promote` without MLflow exits 4, which means try again, and the journal stays as it was."""
    plain = cabins.home.settings
    away = stack.side(
        tmp_path, project=str(plain.project), journal=plain.journal, mlflow=f"http://127.0.0.1:{free_port()}"
    )
    head = away.entries("cabins-abort")
    done = away.run("promote", "cabins-abort", "2", "--here", "--force")
    said = Said(done.returncode, done.stdout, done.stderr)
    assert said.code == 4
    assert said.line
    assert away.entries("cabins-abort") == head


def test_up_refuses_a_port_that_is_taken(stack: Scenario, terminal: Terminal, tmp_path: Path) -> None:
    """`up` with a port on which somebody listens exits 2 before it starts anything."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = terminal.type(tmp_path / "home", "up", "--mlflow-port", port, "--project", str(stack.project))
    assert said.code == 2
    assert f"port {port} for mlflow is taken" in said.line
    assert not (tmp_path / "home").exists()


def test_up_refuses_a_second_stack_in_the_same_home(stack: Scenario, terminal: Terminal) -> None:
    """`up` where a stack runs already exits 2 and leaves it alone."""
    said = terminal.type(stack.folder, "up", "--project", str(stack.project))
    assert said.code == 2
    assert "a stack is running" in said.line
    assert stack.settings.processes


def test_up_refuses_a_folder_without_flows(terminal: Terminal, tmp_path: Path) -> None:
    """`up` in a folder without prefect.yaml says what it misses."""
    said = terminal.type(tmp_path / "home", "up")
    assert said.code == 2
    assert "has no prefect.yaml" in said.line


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("rollback", "m"),
        ("abort", "m"),
        ("promote", "m", "2"),
        ("history", "m"),
        ("verify",),
        ("compact",),
        ("down",),
    ],
)
def test_without_a_stack_every_command_says_how_to_start_one(
    terminal: Terminal, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A command that needs a stack and finds none exits 2 and names `surefoot up`."""
    said = terminal.type(tmp_path / "nothing", *words)
    assert said.code == 2
    assert "start one with 'surefoot up'" in said.line


@pytest.mark.parametrize(
    "words",
    [("promot",), ("status", "--jsn"), ("promote", "only-a-model"), ("up", "--tick", "soon"), ("up", "--tick", "1")],
)
def test_a_typing_mistake_is_one_line(terminal: Terminal, tmp_path: Path, words: tuple[str, ...]) -> None:
    """An unknown command, an unknown option, a missing word and a word that is no number exit 2."""
    said = terminal.type(tmp_path, *words)
    assert said.code == 2
    assert said.line


def test_lint_names_file_and_line(desk: Home, terminal: Terminal) -> None:
    """`lint` checks every policy, names file and line of each that is wrong, and exits 2."""
    said = terminal.type(desk.folder, "lint", "--project", str(desk.settings.project))
    assert said.code == 2
    wrong = [line for line in said.out.splitlines() if ".yaml:" in line]
    assert [Path(line.split(":")[0]).stem for line in wrong] == ["duplicate_key", "nan", "unknown_key"]
    assert all(line.split(":")[1].isdigit() for line in wrong)
    assert "ok lost: 3 steps, 4 expectations" in said.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_is_in_the_readme(command: str) -> None:
    """`--help` of every command works, and README.md names every command."""
    shown = CliRunner().invoke(cli.build_app(), [command, "--help"])
    assert shown.exit_code == 0
    assert "--help" in shown.output
    assert f"surefoot {command}" in (ROOT / "README.md").read_text()
