"""Signed versions: what opens a rollout, each refusal by its name, and a way back that needs no key."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from model_signing import hashing, signing

from surefoot.adapters.mlflow.artifacts import ArtifactCache
from surefoot.adapters.signing import signing_keys
from surefoot.adapters.signing.model_signature import check_signature
from surefoot.adapters.signing.signing_keys import read_signing_keys
from surefoot.core.domain import Version
from surefoot.core.errors import ArtifactTampered, Rejected, Unavailable
from surefoot.core.policy.governance.artifact_trust import SignatureCheck
from surefoot.rollout import Ports, adopt_champion, drive_rollout, open_promotion, open_requested_rollout, open_rollback
from surefoot.settings import Settings
from surefoot.wiring.policies import policy_facts, read_policies
from surefoot.wiring.signatures import check_version_signature
from tests.certificates import make_certificate
from tests.fakes import POLICY, FakeRegistry, Faults, Scenario
from tests.scripted import events, scenario
from tests.signing import KeyPair, make_key, sign_model

SIGNED: dict[str, Any] = {**POLICY, "artifacts": {"signed_by": ["keys/release.pem"]}}


class FolderRegistry(FakeRegistry):
    """A registry whose version 2 and 3 are folders, which are digested and filed as a download is."""

    def __init__(self, faults: Faults, cache: ArtifactCache, folders: dict[str, Path]) -> None:
        super().__init__(faults)
        self.cache, self.folders = cache, folders

    def resolve(self, model: str, number: str) -> Version:
        if number not in self.folders:
            return super().resolve(model, number)
        arrived = self.cache.root / f".incoming-{number}"
        shutil.copytree(self.folders[number], arrived, symlinks=True)
        try:
            return Version(number, self.cache._file_away(arrived, self.cache.root / ".broken")[1])
        finally:
            shutil.rmtree(arrived, ignore_errors=True)


class World:
    """A project whose policy demands a signature, and a model that may have one."""

    def __init__(self, root: Path) -> None:
        self.root, self.configs = root, root / "configs"
        self.config = Settings(root / "home", root, "http://127.0.0.1:1", "", "", "token")
        self.key = make_key(root / "elsewhere", "release")
        self.other = make_key(root / "elsewhere", "other")
        (self.configs / "keys").mkdir(parents=True)
        shutil.copy(self.key.public, self.configs / "keys" / "release.pem")
        self.write_policy(SIGNED)
        self.model = self.folder("model")
        self.env: Scenario = scenario(SIGNED)
        cache = ArtifactCache(self.config.home / "artifacts", self.config.mlflow)
        cache.root.mkdir(parents=True)
        self.env.registry = FolderRegistry(self.env.faults, cache, {"2": self.model})

    def write_policy(self, policy: dict[str, Any]) -> None:
        """Write the policy file."""
        (self.configs / "m.yaml").write_text(yaml.safe_dump(policy))

    def folder(self, name: str, weights: bytes = b"weights") -> Path:
        """The files of a model, which are not signed."""
        folder = self.root / name
        (folder / "data").mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: {sklearn: {}}")
        (folder / "requirements.txt").write_text("scikit-learn")
        (folder / "data" / "weights.bin").write_bytes(weights)
        (folder / "registered_model_meta").write_text("model_name: m")  # a download adds it; nothing covers it
        return folder

    def sign(self, key: KeyPair | None = None, *left_out: str) -> None:
        """Sign the model as it is now."""
        sign_model(self.model, (key or self.key).private, "registered_model_meta", *left_out)

    def ports(self) -> Ports:
        """The ports of a rollout, with the signature check of an installation."""
        return replace(
            self.env.ports(),
            check_signature=lambda policy, version: check_version_signature(self.config, policy, version),
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A project and a model that no key has signed."""
    return World(tmp_path)


def edited(file: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a file."""
    value = json.loads(file.read_text())
    edit(value)
    file.write_text(json.dumps(value))


def change_file(world: World) -> None:
    """Change a file after the signature."""
    world.sign()
    (world.model / "data" / "weights.bin").write_bytes(b"weightS")


def add_file(world: World) -> None:
    """Add a file after the signature."""
    world.sign()
    (world.model / "data" / "planted.py").touch()


def lose_file(world: World) -> None:
    """Remove a file after the signature."""
    world.sign()
    (world.model / "requirements.txt").unlink()


def leave_out_git(world: World) -> None:
    """Sign as the library does by default, which leaves files of git out."""
    (world.model / ".gitignore").write_text("*.pyc")
    world.sign()


def leave_out_code(world: World) -> None:
    """Have the signer leave a file out."""
    (world.model / "data" / "run.py").touch()
    world.sign(None, "data/run.py")


def take_another_models(world: World) -> None:
    """Copy the signature of another model, by the right key."""
    other = world.folder("other", b"other weights")
    sign_model(other, world.key.private, "registered_model_meta")
    shutil.copy(other / "model.sig", world.model / "model.sig")


def rename_file(world: World) -> None:
    """Give a file another name after the signature."""
    world.sign()
    (world.model / "requirements.txt").rename(world.model / "conda.yaml")


def forge_statement(world: World) -> None:
    """Change a file, and say in the signed statement that it is so."""
    change_file(world)
    fresh = world.root / "fresh"
    shutil.copytree(world.model, fresh)
    sign_model(fresh, world.other.private, "registered_model_meta")
    payload = json.loads((fresh / "model.sig").read_text())["dsseEnvelope"]["payload"]
    edited(world.model / "model.sig", lambda bundle: bundle["dsseEnvelope"].update(payload=payload))


def claim_the_key(world: World) -> None:
    """Sign by another key, and name the right one as the signer."""
    world.sign()
    hint = json.loads((world.model / "model.sig").read_text())["verificationMaterial"]["publicKey"]["hint"]
    world.sign(world.other)
    edited(world.model / "model.sig", lambda bundle: bundle["verificationMaterial"]["publicKey"].update(hint=hint))


def hide_key(world: World) -> None:
    """Leave out which key has signed, as releases before 1.1 did."""
    world.sign()
    edited(world.model / "model.sig", lambda bundle: bundle["verificationMaterial"]["publicKey"].pop("hint"))


def drop_signatures(world: World) -> None:
    """Take the signature out of its envelope."""
    world.sign()
    edited(world.model / "model.sig", lambda bundle: bundle["dsseEnvelope"].update(signatures=[]))


def sign_by_certificate(world: World) -> None:
    """Sign with a certificate where the policy names a key."""
    authority = make_certificate(world.root, "authority", authority=True)
    config = signing.Config().use_certificate_signer(
        private_key=authority.key_file, signing_certificate=authority.file, certificate_chain=[authority.file]
    )
    config.sign(world.model, world.model / "model.sig")


def sign_with_another_hash(world: World) -> None:
    """List the files with another hash than the command line of the library."""
    files = hashing.Config().use_file_serialization(hashing_algorithm="blake2")
    config = signing.Config().use_elliptic_key_signer(private_key=world.key.private).set_hashing_config(files)
    config.sign(world.model, world.model / "model.sig")


def write(text: str | bytes) -> Callable[[World], object]:
    """Write a signature file of this content."""
    body = text if isinstance(text, bytes) else text.encode()
    return lambda world: (world.model / "model.sig").write_bytes(body)


def statement(value: object) -> str:
    """A bundle with this statement."""
    payload = base64.b64encode(json.dumps(value).encode()).decode()
    return json.dumps({"verificationMaterial": {"publicKey": {"hint": "x"}}, "dsseEnvelope": {"payload": payload}})


def link_file(world: World) -> None:
    """Put a symbolic link in the place of a signed file."""
    world.sign()
    (world.model / "requirements.txt").rename(world.root / "requirements.txt")
    (world.model / "requirements.txt").symlink_to(world.root / "requirements.txt")


def link_signature(world: World) -> None:
    """Put a symbolic link in the place of the signature."""
    world.sign()
    (world.model / "model.sig").rename(world.root / "model.sig")
    (world.model / "model.sig").symlink_to(world.root / "model.sig")


def make_folder(world: World) -> None:
    """Make a folder with the name of the signature."""
    (world.model / "model.sig").mkdir()
    (world.model / "model.sig" / "file").touch()


REFUSED: dict[str, tuple[Callable[[World], object], str]] = {
    "unsigned": (lambda _: None, r"it is not signed: there is no model\.sig beside its MLmodel"),
    "other key": (lambda world: world.sign(world.other), r"another key \(sha256:\w{16}\) than those .*keys/release"),
    "changed file": (change_file, r"not those that were signed: changed: data/weights\.bin$"),
    "extra file": (add_file, r"not those that were signed: not signed: data/planted\.py$"),
    "missing file": (lose_file, r"not those that were signed: missing: requirements\.txt$"),
    "renamed file": (rename_file, r"not signed: conda\.yaml; missing: requirements\.txt$"),
    "file of git": (leave_out_git, r"not signed: \.gitignore$"),
    "file that the signer left out": (leave_out_code, r"not signed: data/run\.py$"),
    "signature of another model": (take_another_models, r"changed: data/weights\.bin$"),
    "forged statement": (forge_statement, r"the signature in its model\.sig is not by keys/release\.pem"),
    "other key under the right name": (claim_the_key, r"the signature in its model\.sig is not by keys/release\.pem"),
    "no key named": (hide_key, r"is no signature of OpenSSF model signing: it has no 'hint'"),
    "no signature inside": (drop_signatures, r"the signature in its model\.sig is not by keys/release\.pem"),
    "certificate": (sign_by_certificate, r"another certificate \(CN=authority\) than those .*keys/release\.pem"),
    "another hash": (sign_with_another_hash, r"it lists files in another way"),
    "empty": (write(""), r"is no signature of OpenSSF model signing"),
    "bytes": (write(bytes(range(256))), r"is no signature of OpenSSF model signing"),
    "list": (write("[]"), r"is no signature of OpenSSF model signing"),
    "deep": (write("[" * 200_000), r"is no signature of OpenSSF model signing"),
    "huge": (write(b" " * ((16 << 20) + 1)), r"it has more than 16 MB"),
    "text for a statement": (write(statement("x")), r"is no signature of OpenSSF model signing"),
    "no files": (write(statement({"predicateType": "x", "predicate": {}})), r"it has no 'serialization'"),
    "folder": (make_folder, r"it is not signed"),
    "symbolic link": (link_file, r"requirements\.txt is not a regular file"),
    "link to the signature": (link_signature, r"model\.sig is not a regular file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_signed_as_the_policy_says_opens_no_rollout(case: str, world: World) -> None:
    """Each version whose files are not exactly those that a key of the policy has signed is refused by name."""
    prepare, said = REFUSED[case]
    prepare(world)
    with pytest.raises((Rejected, ArtifactTampered), match=said) as refused:
        open_promotion(world.ports(), world.env.request())
    assert "\n" not in str(refused.value)
    assert not events(world.env, "RolloutOpened")
    assert world.env.traffic.split is None or world.env.traffic.split.candidate is None


def test_a_signed_version_is_promoted_and_the_journal_keeps_whose_key_it_was(world: World) -> None:
    """With the signature of the policy's key the rollout opens, and its entry names the key."""
    world.sign()
    open_promotion(world.ports(), world.env.request())
    (opened,) = events(world.env, "RolloutOpened")
    kept = opened["provenance"]
    assert isinstance(kept, dict)
    assert list(kept) == ["signature"]
    assert kept["signature"].startswith("keys/release.pem (key sha256:")
    assert drive_rollout(world.ports(), "m", until=lambda ledger: not ledger.open).champion == Version(
        "2",
        str(opened["candidate"]["digest"]),  # type: ignore[index]
    )


def test_the_reason_is_journalled_once_where_an_alias_asks(world: World) -> None:
    """A refusal of what an alias asks for is one entry with its reason, until key or policy change."""

    def opened() -> str:
        policy = read_policies(world.config)["m"]
        facts = policy_facts(world.config, "m", policy)
        view = world.env.registry.view("m")
        return open_requested_rollout(world.ports(), "m", view, lambda _: world.env.request(), facts).number

    adopt_champion(world.ports(), "m")
    world.sign(world.other)
    assert [opened(), opened()] == ["", ""]
    (refused,) = events(world.env, "CandidateRefused")
    assert "version 2 of m is not promoted: it is signed by another key" in str(refused["reason"])
    shutil.copy(world.other.public, world.configs / "keys" / "release.pem")
    assert opened() == "2"


@pytest.mark.parametrize("gone", ["file", "policy"])
def test_the_way_back_needs_no_key(world: World, gone: str) -> None:
    """A rollback goes to a version whose key was removed since: its digest, which the journal has, is enough."""
    world.sign()
    assert isinstance(world.env.registry, FolderRegistry)
    open_promotion(world.ports(), world.env.request())
    drive_rollout(world.ports(), "m", until=lambda ledger: not ledger.open)
    newer = world.env.registry.folders["3"] = world.folder("newer", b"newer weights")
    sign_model(newer, world.other.private, "registered_model_meta")
    shutil.copy(world.other.public, world.configs / "keys" / "other.pem")
    world.env.policy = {**SIGNED, "artifacts": {"signed_by": ["keys/other.pem"]}}
    if gone == "file":
        (world.configs / "keys" / "release.pem").unlink()
    world.write_policy(world.env.policy if gone == "policy" else SIGNED)
    open_promotion(world.ports(), world.env.request("3"))
    promoted = drive_rollout(world.ports(), "m", until=lambda ledger: not ledger.open)
    assert promoted.champion is not None
    assert promoted.champion.number == "3"
    shutil.rmtree(world.configs / "keys")
    open_rollback(world.ports(), "m", "it is worse")
    back = drive_rollout(world.ports(), "m", until=lambda ledger: not ledger.open)
    assert back.champion is not None
    assert back.champion.number == "2"
    assert world.env.traffic.split is not None
    assert world.env.traffic.split.champion == back.champion


def test_a_key_that_is_gone_is_named(world: World) -> None:
    """A promotion is refused by the name of the key file that is missing."""
    world.sign()
    (world.configs / "keys" / "release.pem").unlink()
    with pytest.raises(Rejected, match=r"artifacts\.signed_by: there is no file .*keys/release\.pem"):
        open_promotion(world.ports(), world.env.request())


def test_without_the_library_nothing_is_promoted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without the extra opens no rollout, and says what to install; the version itself is not refused."""
    world.sign()
    monkeypatch.setattr(signing_keys, "find_spec", lambda _name: None)
    with pytest.raises(Unavailable, match=r"pip install 'surefoot\[signing\]'"):
        open_promotion(world.ports(), world.env.request())
    assert not events(world.env, "RolloutOpened")


def test_a_process_that_cannot_check_refuses(world: World) -> None:
    """Ports without a signature check open no rollout of a policy that demands a signature."""
    world.sign()
    with pytest.raises(Rejected, match="cannot be checked by this process"):
        open_promotion(world.env.ports(), world.env.request())


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A signed model, of which tests copy the files."""
    made = World(tmp_path_factory.mktemp("signed"))
    made.sign()
    return made


def checked(world: World, folder: Path) -> SignatureCheck:
    """Check the signature of a folder by the key of a world."""
    return check_signature(folder, read_signing_keys(world.configs / "m.yaml", ["keys/release.pem"]))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_other_byte_in_any_file_is_refused(data: st.DataObject, signed: World) -> None:
    """Any other value of any byte of any signed file is refused, and the file is named."""
    name = data.draw(st.sampled_from(["MLmodel", "requirements.txt", "data/weights.bin"]))
    body = bytearray((signed.model / name).read_bytes())
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    folder = signed.root / "altered"
    shutil.copytree(signed.model, folder)
    try:
        (folder / name).write_bytes(bytes(body))
        assert checked(signed, folder) == SignatureCheck(
            problem=f"its files are not those that were signed: changed: {name}"
        )
    finally:
        shutil.rmtree(folder)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_signature_file_leads_to_another_end(data: st.DataObject, signed: World) -> None:
    """A signature file with other bytes anywhere gives an answer: the same signer, or why it is refused."""
    body = bytearray((signed.model / "model.sig").read_bytes())
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    folder = signed.root / "altered"
    shutil.copytree(signed.model, folder)
    try:
        (folder / "model.sig").write_bytes(bytes(body))
        found = checked(signed, folder)
        assert bool(found.signer) != bool(found.problem)
        assert found.problem or found == checked(signed, signed.model)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_vouches_for_its_signers(world: World, trusted: bool) -> None:
    """A signer whose certificate the policy's authority has issued is taken and named; another authority's is not."""
    authority = make_certificate(world.root, "authority", authority=True)
    stranger = make_certificate(world.root, "stranger", authority=True)
    issuer = authority if trusted else stranger
    signer = make_certificate(world.root, "ann", issuer=issuer, signs=True)
    shutil.copy(authority.file, world.configs / "keys" / "authority.pem")
    (world.model / "registered_model_meta").unlink()
    config = signing.Config().use_certificate_signer(
        private_key=signer.key_file,
        signing_certificate=signer.file,
        certificate_chain=[issuer.file],
    )
    config.sign(world.model, world.model / "model.sig")
    found = check_signature(world.model, read_signing_keys(world.configs / "m.yaml", ["keys/authority.pem"]))
    if trusted:
        assert found.signer.startswith("keys/authority.pem (certificate sha256:")
        assert found.signer.endswith(", certificate of CN=ann")
    else:
        assert "is not by keys/authority.pem" in found.problem


LOG = """
import mlflow
from sklearn.dummy import DummyClassifier

model = DummyClassifier().fit([[0.0]], [1])
logged = mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"])
mlflow.artifacts.download_artifacts(logged.model_uri, dst_path="signed")
print(logged.model_id)
"""
REGISTER = """
import sys

import mlflow

mlflow.MlflowClient().log_model_artifact(sys.argv[1], "signed/model.sig")
print(mlflow.register_model(f"models:/{sys.argv[1]}", "signed-by-command").version)
"""


def test_a_model_is_signed_as_the_manual_says(mlflow_server: str, world: World) -> None:
    """Logged, downloaded, signed by the library's command, registered: what is fetched has a signature that counts."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_server, "MLFLOW_DISABLE_TELEMETRY": "true"}

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=world.root, env=environment)
        return said.stdout.split()[-1]

    logged = run("-c", LOG)
    folder = ["signed", "--signature", "signed/model.sig", "--private_key", str(world.key.private)]
    run("-m", "model_signing", "sign", "key", *folder)
    number = run("-c", REGISTER, logged)
    world.write_policy({**SIGNED, "model": "signed-by-command"})
    config = replace(world.config, mlflow=mlflow_server)
    _, digest = ArtifactCache(config.home / "artifacts", mlflow_server).fetch("signed-by-command", number)
    found = check_version_signature(config, read_policies(config)["signed-by-command"], Version(number, digest))
    assert found.signer.startswith("keys/release.pem (key sha256:")
