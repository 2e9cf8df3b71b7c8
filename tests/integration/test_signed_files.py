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
from typer.testing import CliRunner

from surefoot import cli, wiring
from surefoot.adapters.mlflow.artifacts import ArtifactCache
from surefoot.adapters.signing.model_signature import check_signature
from surefoot.adapters.signing.signing_keys import read_signing_keys
from surefoot.core.domain import Version
from surefoot.core.errors import Rejected
from surefoot.core.policy.governance.artifact_trust import SignatureCheck
from surefoot.wiring.policies import read_policies
from surefoot.wiring.signatures import check_version_signature
from tests.certificates import make_certificate
from tests.signing import SIGNED, SigningProject

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc  # noqa: F401 - what fetches versions imports it


@pytest.fixture
def project(tmp_path: Path) -> SigningProject:
    """A project and a model that no key has signed."""
    return SigningProject(tmp_path)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> SigningProject:
    """A signed model, of which tests copy the files."""
    made = SigningProject(tmp_path_factory.mktemp("signed"))
    made.sign()
    return made


def checked(project: SigningProject, folder: Path) -> SignatureCheck:
    """Check the signature of a folder by the key of a project."""
    return check_signature(folder, read_signing_keys(project.configs / "m.yaml", ["keys/release.pem"]))


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
def test_a_certificate_vouches_for_its_signers(project: SigningProject, trusted: bool) -> None:
    """A signer whose certificate the policy's authority has issued is taken and named; another authority's is not."""
    authority = make_certificate(project.root, "authority", authority=True)
    stranger = make_certificate(project.root, "stranger", authority=True)
    issuer = authority if trusted else stranger
    signer = make_certificate(project.root, "ann", issuer=issuer, signs=True)
    shutil.copy(authority.file, project.configs / "keys" / "authority.pem")
    (project.model / "registered_model_meta").unlink()
    config = signing.Config().use_certificate_signer(
        private_key=signer.key_file,
        signing_certificate=signer.file,
        certificate_chain=[issuer.file],
    )
    config.sign(project.model, project.model / "model.sig")
    found = check_signature(project.model, read_signing_keys(project.configs / "m.yaml", ["keys/authority.pem"]))
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
first, second = (mlflow.register_model(f"models:/{sys.argv[1]}", "signed-by-command") for _ in range(2))
mlflow.MlflowClient().set_registered_model_alias("signed-by-command", "champion", second.version)
print(first.version)
"""


def test_a_model_is_signed_as_the_manual_says(
    mlflow_server: str, project: SigningProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is logged, downloaded, signed by command and registered counts; by another key, `plan` loads none of it."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_server, "MLFLOW_DISABLE_TELEMETRY": "true"}

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=project.root, env=environment)
        return said.stdout.split()[-1]

    logged = run("-c", LOG)
    folder = ["signed", "--signature", "signed/model.sig", "--private_key", str(project.key.private)]
    folder += ["--ignore-paths", "signed/registered_model_meta"]
    run("-m", "model_signing", "sign", "key", *folder)
    number = run("-c", REGISTER, logged)
    project.write_policy({**SIGNED, "model": "signed-by-command"})
    config = replace(project.config, mlflow=mlflow_server)
    _, digest = ArtifactCache(config.home / "artifacts", mlflow_server).fetch("signed-by-command", number)
    found = check_version_signature(config, read_policies(config)["signed-by-command"], Version(number, digest))
    assert found.signer.startswith("keys/release.pem (key sha256:"), found.problem
    shutil.copy(project.other.public, project.configs / "keys" / "other.pem")
    project.write_policy({**SIGNED, "model": "signed-by-command", "artifacts": {"signed_by": "keys/other.pem"}})
    config.save()
    monkeypatch.setenv("SUREFOOT_HOME", str(config.home))
    monkeypatch.setattr(wiring, "make_version_processes", lambda _config: pytest.fail("the version is loaded"))
    app = cli.build_app("plan")
    with pytest.raises(Rejected, match=r"is not promoted: it is signed by another key .* keys/other\.pem"):
        CliRunner().invoke(app, ["plan", "signed-by-command", number], standalone_mode=False, catch_exceptions=False)
