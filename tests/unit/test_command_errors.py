"""What a person reads who types a command line that cannot be right, or asks for what is not started yet."""

from pathlib import Path

import pytest

from surefoot.cli.connect import doctor
from surefoot.cli.local import stack
from surefoot.cli.local.stack_options import StackOptions
from surefoot.settings import Settings
from tests.command_here import command_exit_code

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A stack whose servers are not there."""
    made = Settings(tmp_path, tmp_path, NOWHERE, NOWHERE, NOWHERE, "t", page=NOWHERE)
    made.save()
    monkeypatch.setenv("SUREFOOT_HOME", str(tmp_path))
    return made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("incident", "close", "7"), "Missing argument 'reason'. Try 'surefoot incident close --help'."),
        (("status", "--nope"), "No such option: --nope. Try 'surefoot status --help'."),
        (("nope",), "No such command 'nope'. Try 'surefoot --help'."),
        (("webhook", "--url", "nonsense"), "--url is 'nonsense': give http:// or https:// and a host, such as"),
        (("webhook", "--url", "http://"), "--url is 'http://': give http:// or https:// and a host, such as"),
    ],
)
@pytest.mark.usefixtures("config")
def test_a_wrong_command_line_names_what_to_do(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    """The one line names the mistake and the help of the very command; nothing else is printed."""
    assert command_exit_code(*words) == 2
    printed = capsys.readouterr()
    assert (printed.out, said in printed.err) == ("", True), printed.err


def test_an_address_of_a_webhook_is_kept_as_it_is_given(config: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed address is the given one with the path of the webhook, or that of the status page."""
    for words, base in (
        (("webhook", "--url", "https://surefoot.example.com/"), "https://surefoot.example.com"),
        (("webhook",), config.page),
    ):
        assert command_exit_code(*words) == 0
        assert f"url     {base}/webhooks/mlflow" in capsys.readouterr().out


def test_a_plan_is_not_taken_for_what_runs(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` with options beside a running stack plans servers of its own, and asks none of them at a port 0."""
    monkeypatch.setattr(stack, "check_running_services", lambda _: {"mlflow": True, "prefect": True, "gateway": False})
    home = config.home
    now, running = doctor._subject(home, config.project, StackOptions(), chosen=False)
    assert (now.mlflow, running) == (NOWHERE, {"mlflow", "prefect"})
    planned, running = doctor._subject(home, config.project, StackOptions(listen="127.0.0.1:8099"), chosen=True)
    assert planned.mlflow != NOWHERE
    assert running == frozenset()
