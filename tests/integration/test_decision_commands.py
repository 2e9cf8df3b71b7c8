"""The commands by which people decide, with a real journal and real keys, without MLflow, Prefect and gateway."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from surefoot.adapters.clock import ReplayClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.core.domain import Stage
from surefoot.core.journal.chain import check_chain
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.stages.hold_events import FreezeSource
from surefoot.settings import Settings
from surefoot.status_page.wait_notes import describe_waits
from tests.approvers import ApproverFolder, approver_folder
from tests.command_here import command_exit_code
from tests.conftest import free_port
from tests.fakes import APPROVED
from tests.scripted import at, scenario, started


class Waiting:
    """A home folder whose journal holds a rollout of model m that waits for its first approval."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder: ApproverFolder = approver_folder(root)
        home = root / "home"
        dead = f"http://127.0.0.1:{free_port()}"
        clock = ReplayClock(root / "clock")
        env = scenario(APPROVED)
        started(env, at(Stage.AWAITING_APPROVAL, 0))
        clock.set(env.clock.time)
        self.config = Settings(home, root, dead, dead, dead, "token", clock=f"replay:{root / 'clock'}")
        self.config.save()
        self.journal = SqlJournal(self.config.journal_url, clock)
        for entry in env.journal.entries:
            self.journal.append("m", entry.seq - 1, entry.at, entry.actor, entry.kind, dict(entry.data))
        self.ports = replace(env.ports(), journal=self.journal, clock=clock)
        monkeypatch.setenv("SUREFOOT_HOME", str(home))

    def ledger(self) -> Ledger:
        """The state of the model."""
        return fold_entries("m", self.journal.read("m"))

    def command(self, *words: str) -> int:
        """Run a command in this process; its exit code."""
        return command_exit_code(*words)

    def notes(self) -> str:
        """What `status` says of waits."""
        return "\n".join(describe_waits(self.ports, self.ledger()))


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """A rollout that waits."""
    return Waiting(tmp_path, monkeypatch)


def test_approve_shows_the_evidence_signs_and_records(waiting: Waiting, capsys: pytest.CaptureFixture[str]) -> None:
    """The command shows verdicts and what follows, also while MLflow is down; the journal says who signed."""
    assert "no person has approved yet" in waiting.notes()
    key = str(waiting.folder.keys["ann"])
    assert waiting.command("approve", "m", "--key", key, "--yes", "-m", "looks good") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "version 2 against champion 1" in said
    assert "errors PASS" in said
    assert "what is new in it is not known" in said
    assert "an approval lets this happen: version 2 answers 5 % of the units" in said
    assert "approved by ann@example.com with key SHA256:" in said
    state = waiting.ledger().rollout
    assert state is not None
    assert [(one.signed.person, one.reason) for one in state.approvals.given] == [("ann@example.com", "looks good")]
    assert "approved by ann@example.com" in waiting.notes()
    check_chain(waiting.journal.read("m"))


def test_nothing_is_signed_without_a_yes(waiting: Waiting, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal and without --yes the evidence is shown, and nothing is signed."""
    head = waiting.ledger().head
    assert waiting.command("approve", "m", "--key", str(waiting.folder.keys["ann"])) == 2
    assert "no terminal to ask" in " ".join(capsys.readouterr().err.split())
    assert waiting.ledger().head == head


def test_a_refused_approval_exits_with_2(waiting: Waiting, capsys: pytest.CaptureFixture[str]) -> None:
    """An approval by a key of no person is one line of error, exit code 2, and one entry of the journal."""
    assert waiting.command("approve", "m", "--key", str(waiting.folder.keys["eve"]), "--yes") == 2
    error = capsys.readouterr().err
    assert "is not in allowed_signers" in error
    assert error.count("\n") == 1
    assert waiting.journal.read("m")[-1].kind == "ApprovalRejected"
    assert "1 statements were refused" in waiting.notes()


def test_a_statement_is_signed_on_another_computer(waiting: Waiting, tmp_path: Path) -> None:
    """--write gives the statement, `ssh-keygen` signs it, --signed hands both files in."""
    file = tmp_path / "statement"
    assert waiting.command("approve", "m", "--write", str(file)) == 0
    words = [
        "ssh-keygen",
        "-q",
        "-Y",
        "sign",
        "-n",
        "approval@surefoot",
        "-f",
        str(waiting.folder.keys["ben"]),
        str(file),
    ]
    subprocess.run(words, check=True, capture_output=True)
    assert waiting.command("approve", "m", "--signed", str(file)) == 0
    assert waiting.journal.read("m")[-1].kind == "ApprovalGiven"
    assert waiting.command("approve", "m", "--signed", str(file)) == 2
    assert waiting.journal.read("m")[-1].kind == "ApprovalRejected"


def test_the_task_of_prefect_records_what_is_pasted(waiting: Waiting, tmp_path: Path) -> None:
    """The task of the deployment `approve` records a signed text, and is FAILED for one that does not count."""
    from tasks.approve import record_decision  # noqa: PLC0415 - Prefect takes seconds

    file = tmp_path / "statement"
    assert waiting.command("approve", "m", "--write", str(file)) == 0
    text = f"{file.read_text()}\n{waiting.folder.sign(file.read_bytes(), 'ann')}"
    done = record_decision.fn("m", text)
    assert done.is_completed()
    assert waiting.journal.read("m")[-1].kind == "ApprovalGiven"
    again = record_decision.fn("m", text)
    assert (again.is_failed(), again.name, again.message) == (
        True,
        "ApprovalRejected",
        "it was used before: sign a new one",
    )


def test_an_agent_signs(waiting: Waiting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A public key is enough where an SSH agent holds the private one."""
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if socket.exists():
                break
            waiting.ports.clock.sleep(0.05)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        private = waiting.folder.keys["ann"]
        subprocess.run(["ssh-add", "-q", str(private)], check=True)
        private.unlink()
        monkeypatch.setenv("SUREFOOT_SIGNING_KEY", f"{private}.pub")
        assert waiting.command("approve", "m", "--yes", "--json") == 0
        assert waiting.journal.read("m")[-1].kind == "ApprovalGiven"
    finally:
        agent.terminate()
        agent.wait()


def test_deny_is_a_signed_no(waiting: Waiting, capsys: pytest.CaptureFixture[str]) -> None:
    """A denial is recorded with its reason and person, and stands in the status as JSON of the command."""
    key = str(waiting.folder.keys["ben"])
    assert waiting.command("deny", "m", "--key", key, "--yes", "--json", "-m", "not now") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["decision"], told["person"]) == ("deny", "ben@example.com")
    last = waiting.journal.read("m")[-1]
    assert (last.kind, last.data["reason"]) == ("ApprovalDenied", "not now")
    assert "denied by ben@example.com" in waiting.notes()


def test_pause_and_resume_are_on_record(waiting: Waiting) -> None:
    """A pause needs a reason; it and its end are journalled, and a second end is refused."""
    assert waiting.command("pause", "m") == 2
    assert waiting.command("pause", "m", "-m", "the night shift looks at it") == 0
    assert "paused by a person: the night shift looks at it" in waiting.notes()
    assert waiting.command("resume", "m") == 0
    assert waiting.command("resume", "m") == 2
    assert [entry.kind for entry in waiting.journal.read("m")][-2:] == ["RolloutPaused", "RolloutResumed"]


@pytest.mark.parametrize("words", [["m"], ["--all"]])
def test_freeze_and_unfreeze(waiting: Waiting, words: list[str]) -> None:
    """A freeze holds one model or all, until it is ended or its time is over; a time that is over is refused."""
    now = waiting.ports.clock.now()
    assert waiting.command("freeze", *words, "-m", "audit", "--until", "12h") == 0
    (frozen,) = waiting.ledger().freezes.in_force(now)
    assert (frozen.source, frozen.reason, frozen.until) == (FreezeSource.PERSON, "audit", now + 43_200.0)
    assert not waiting.ledger().freezes.in_force(now + 43_200.0)
    assert "frozen by a person until" in waiting.notes()
    assert waiting.command("unfreeze", *words) == 0
    assert waiting.command("unfreeze", *words) == 2
    assert waiting.command("freeze", *words, "-m", "audit", "--until", "1970-01-01T00:00:00Z") == 2
    assert waiting.command("freeze", *words, "-m", "audit", "--until", "soon") == 2
    assert waiting.command("freeze", "m", "--all", "-m", "audit") == 2
