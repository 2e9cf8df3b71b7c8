"""Which files a signature covers, who may have made it, and how a model in MLflow gets one."""

import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_signing import signing

from surefoot.adapters.mlflow.artifacts import ArtifactCache
from surefoot.adapters.signing.model_signature import check_signature
from surefoot.adapters.signing.signing_keys import read_signing_keys
from surefoot.core.domain import Version
from surefoot.core.policy.governance.artifact_trust import SignatureCheck
from surefoot.wiring.policies import read_policies
from surefoot.wiring.signatures import check_version_signature
from tests.certificates import make_certificate
from tests.signing import SIGNED, SigningProject

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc  # noqa: F401 - what fetches versions imports it


@pytest.fixture
def world(tmp_path: Path) -> SigningProject:
    """A project and a model that no key has signed."""
    return SigningProject(tmp_path)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> SigningProject:
    """A signed model, of which tests copy the files."""
    made = SigningProject(tmp_path_factory.mktemp("signed"))
    made.sign()
    return made


def checked(world: SigningProject, folder: Path) -> SignatureCheck:
    """Check the signature of a folder by the key of a world."""
    return check_signature(folder, read_signing_keys(world.configs / "m.yaml", ["keys/release.pem"]))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_other_byte_in_any_file_is_refused(data: st.DataObject, signed: SigningProject) -> None:
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
def test_no_signature_file_leads_to_another_end(data: st.DataObject, signed: SigningProject) -> None:
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
def test_a_certificate_vouches_for_its_signers(world: SigningProject, trusted: bool) -> None:
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


def test_a_model_is_signed_as_the_manual_says(mlflow_server: str, world: SigningProject) -> None:
    """Logged, downloaded, signed by the library's command, registered: what is fetched has a signature that counts."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_server, "MLFLOW_DISABLE_TELEMETRY": "true"}

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=world.root, env=environment)
        return said.stdout.split()[-1]

    logged = run("-c", LOG)
    folder = ["signed", "--signature", "signed/model.sig", "--private_key", str(world.key.private)]
    folder += ["--ignore-paths", "signed/registered_model_meta"]
    run("-m", "model_signing", "sign", "key", *folder)
    number = run("-c", REGISTER, logged)
    world.write_policy({**SIGNED, "model": "signed-by-command"})
    config = replace(world.config, mlflow=mlflow_server)
    _, digest = ArtifactCache(config.home / "artifacts", mlflow_server).fetch("signed-by-command", number)
    found = check_version_signature(config, read_policies(config)["signed-by-command"], Version(number, digest))
    assert found.signer.startswith("keys/release.pem (key sha256:"), found.problem
