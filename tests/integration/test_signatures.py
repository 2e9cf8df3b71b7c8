"""Signed versions: what opens a rollout, each refusal by its name, and a way back that needs no key."""

import shutil
from pathlib import Path

import pytest

from surefoot.adapters.signing import signing_keys
from surefoot.core.domain import Version
from surefoot.core.errors import ArtifactTampered, Rejected, Unavailable
from surefoot.rollout import adopt_champion, drive_rollout, open_promotion, open_requested_rollout, open_rollback
from surefoot.wiring.policies import hash_policy_files, read_policies
from tests.integration.forged_signatures import REFUSED
from tests.scripted import events
from tests.signing import SIGNED, FolderRegistry, SigningProject, sign_model


@pytest.fixture
def project(tmp_path: Path) -> SigningProject:
    """A project and a model that no key has signed."""
    return SigningProject(tmp_path)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_signed_as_the_policy_says_opens_no_rollout(case: str, project: SigningProject) -> None:
    """Each version whose files are not exactly those that a key of the policy has signed is refused by name."""
    prepare, said = REFUSED[case]
    prepare(project)
    with pytest.raises((Rejected, ArtifactTampered), match=said) as refused:
        open_promotion(project.ports(), project.env.request())
    assert "\n" not in str(refused.value)
    assert not events(project.env, "RolloutOpened")
    assert project.env.traffic.split is None or project.env.traffic.split.candidate is None


def test_a_signed_version_is_promoted_and_the_journal_keeps_whose_key_it_was(project: SigningProject) -> None:
    """With the signature of the policy's key the rollout opens, and its entry names the key."""
    project.sign()
    open_promotion(project.ports(), project.env.request())
    (opened,) = events(project.env, "RolloutOpened")
    kept = opened["provenance"]
    assert isinstance(kept, dict)
    assert list(kept) == ["signature"]
    assert kept["signature"].startswith("keys/release.pem (key sha256:")
    assert drive_rollout(project.ports(), "m", until=lambda ledger: not ledger.open).champion == Version(
        "2",
        str(opened["candidate"]["digest"]),  # type: ignore[index]
    )


def test_the_reason_is_journalled_once_where_an_alias_asks(project: SigningProject) -> None:
    """A refusal of what an alias asks for is one entry with its reason, until key or policy change."""

    def opened() -> str:
        policy = read_policies(project.config)["m"]
        facts = hash_policy_files(project.config, "m", policy)
        view = project.env.registry.view("m")
        return open_requested_rollout(project.ports(), "m", view, lambda _: project.env.request(), facts).number

    adopt_champion(project.ports(), "m")
    project.sign(project.other)
    assert [opened(), opened()] == ["", ""]
    (refused,) = events(project.env, "CandidateRefused")
    assert "version 2 of m is not promoted: it is signed by another key" in str(refused["reason"])
    shutil.copy(project.other.public, project.configs / "keys" / "release.pem")
    assert opened() == "2"


@pytest.mark.parametrize("gone", ["file", "policy"])
def test_the_way_back_needs_no_key(project: SigningProject, gone: str) -> None:
    """A rollback goes to a version whose key was removed since: its digest, which the journal has, is enough."""
    project.sign()
    assert isinstance(project.env.registry, FolderRegistry)
    open_promotion(project.ports(), project.env.request())
    drive_rollout(project.ports(), "m", until=lambda ledger: not ledger.open)
    newer = project.env.registry.folders["3"] = project.folder("newer", b"newer weights")
    sign_model(newer, project.other.private, "registered_model_meta")
    shutil.copy(project.other.public, project.configs / "keys" / "other.pem")
    project.env.policy = {**SIGNED, "artifacts": {"signed_by": ["keys/other.pem"]}}
    if gone == "file":
        (project.configs / "keys" / "release.pem").unlink()
    project.write_policy(project.env.policy if gone == "policy" else SIGNED)
    open_promotion(project.ports(), project.env.request("3"))
    promoted = drive_rollout(project.ports(), "m", until=lambda ledger: not ledger.open)
    assert promoted.champion is not None
    assert promoted.champion.number == "3"
    shutil.rmtree(project.configs / "keys")
    open_rollback(project.ports(), "m", "it is worse")
    back = drive_rollout(project.ports(), "m", until=lambda ledger: not ledger.open)
    assert back.champion is not None
    assert back.champion.number == "2"
    assert project.env.traffic.split is not None
    assert project.env.traffic.split.champion == back.champion


def test_a_key_that_is_gone_is_named(project: SigningProject) -> None:
    """A promotion is refused by the name of the key file that is missing."""
    project.sign()
    (project.configs / "keys" / "release.pem").unlink()
    with pytest.raises(Rejected, match=r"artifacts\.signed_by: there is no file .*keys/release\.pem"):
        open_promotion(project.ports(), project.env.request())


def test_without_the_library_nothing_is_promoted(project: SigningProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without the extra opens no rollout, and says what to install; the version itself is not refused."""
    project.sign()
    monkeypatch.setattr(signing_keys, "find_spec", lambda _name: None)
    with pytest.raises(Unavailable, match=r"pip install 'surefoot\[signing\]'"):
        open_promotion(project.ports(), project.env.request())
    assert not events(project.env, "RolloutOpened")


def test_a_process_that_cannot_check_refuses(project: SigningProject) -> None:
    """Ports without a signature check open no rollout of a policy that demands a signature."""
    project.sign()
    with pytest.raises(Rejected, match="cannot be checked by this process"):
        open_promotion(project.env.ports(), project.env.request())
