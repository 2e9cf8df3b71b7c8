"""What `lint` says of approve steps, and of the files that say who may approve."""

import json
import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from surefoot import cli
from tests.approvers import ApproverFolder, approver_folder
from tests.fakes import APPROVED

SUITE = {"name": "m", "expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "user"}, "meta": {}}]}


@pytest.fixture
def folder(tmp_path: Path) -> ApproverFolder:
    """A project whose policy asks two people of a group with three, of whom two have keys."""
    made = approver_folder(tmp_path)
    (tmp_path / "expectations").mkdir()
    (tmp_path / "expectations" / "m.json").write_text(json.dumps(SUITE), encoding="utf-8")
    (made.configs / "m.yaml").write_text(yaml.safe_dump(APPROVED, sort_keys=False), encoding="utf-8")
    return made


def lint(folder: ApproverFolder) -> tuple[int, str]:
    """Exit code and output of `surefoot lint`."""
    words = ["lint", "--project", str(folder.root)]
    done = CliRunner().invoke(cli.build_app("lint"), words, standalone_mode=False, env={"COLUMNS": "400"})
    return int(done.return_value), " ".join(done.output.split())


def test_people_with_keys_are_enough(folder: ApproverFolder) -> None:
    """A group with as many keys as the quorum is fine, and the steps are shown."""
    code, said = lint(folder)
    assert code == 0, said
    assert "approval: 2 signed approvals by people of group 'releasers', for 2 h at most" in said


def test_what_can_never_be_approved_is_named(folder: ApproverFolder) -> None:
    """Too few keys, no keys, no group, no file: each is named with file and line."""
    line = (folder.configs / "m.yaml").read_text().splitlines().index("- approve:") + 1
    folder.groups("groups: {releasers: [ann@example.com, cyd@example.com]}\n")
    code, said = lint(folder)
    assert code == 2
    assert "steps.3.approve: quorum 2 is more than the 1 people of group 'releasers' who have a key" in said
    folder.groups("groups: {releasers: [cyd@example.com]}\n")
    assert f"m.yaml:{line}: steps.1.approve: no person of group 'releasers' has a key" in lint(folder)[1]
    folder.groups("groups: {others: [ann@example.com]}\n")
    assert "approvers.yaml has no group 'releasers'; groups: others" in lint(folder)[1]
    folder.groups("groups: {releasers: [ann@example.com]}\nroles: {}\n")
    assert "approvers.yaml:2: roles: unknown key 'roles'; known here: groups, people" in lint(folder)[1]
    (folder.configs / "approvers.yaml").unlink()
    assert "it says who is in the groups that policies ask for approvals" in lint(folder)[1]


def test_lines_of_keys_are_checked(folder: ApproverFolder) -> None:
    """Lines that are no keys, and lines of several people, are named with their number."""
    signers = folder.configs / "allowed_signers"
    signers.write_text(f"# keys\n*@example.com {folder.public('eve')}\nann@example.com ssh-ed25519\n", encoding="utf-8")
    said = lint(folder)[1]
    assert "allowed_signers:2: name one person a line, not a list or a pattern" in said
    assert "allowed_signers:3: expected principals, options and a public key" in said
    signers.unlink()
    assert "it says whose keys may approve, as ssh-keygen reads it" in lint(folder)[1]


def test_a_broken_calendar_is_named(folder: ApproverFolder) -> None:
    """A calendar that cannot be read is an error of `lint`."""
    (folder.configs / "freeze.ics").write_text("hello", encoding="utf-8")
    code, said = lint(folder)
    assert code == 2
    assert "freeze.ics is no calendar" in said


def test_a_missing_program_is_a_note(folder: ApproverFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `ssh-keygen` a policy that asks for approvals is valid, and one line says what to install."""
    monkeypatch.setenv("PATH", os.fspath(folder.root))
    code, said = lint(folder)
    assert code == 0
    assert "note: ssh-keygen is not installed, and approvals need it: install the package openssh-client" in said
