"""Keys that a policy names: what `lint` and `doctor` say of them, with file, line and what to do."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner, Result

from surefoot import cli
from surefoot.adapters.signing import signing_keys
from surefoot.cli.connect.doctor_report import Finding, FindingLevel, run_setup_checks
from surefoot.settings import Settings
from tests.certificates import make_certificate
from tests.fakes import POLICY
from tests.signing import make_key


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose policy names the key `keys/release.pem`, which is there."""
    make_key(tmp_path / "configs" / "keys", "release").private.unlink()
    (tmp_path / "expectations").mkdir()
    expectation = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    (tmp_path / "expectations" / "m.json").write_text(json.dumps({"name": "m", "expectations": [expectation]}))
    (tmp_path / "prefect.yaml").touch()
    write(tmp_path, ["keys/release.pem"])
    return tmp_path


def write(project: Path, signed_by: object) -> int:
    """Write a policy that takes these signers; returns the line of the first one."""
    text = yaml.safe_dump({**POLICY, "artifacts": {"signed_by": signed_by}}, sort_keys=False)
    (project / "configs" / "m.yaml").write_text(text)
    return next((number for number, line in enumerate(text.splitlines(), 1) if line == "  - keys/release.pem"), 0)


def lint(project: Path) -> Result:
    """Run `surefoot lint`."""
    return CliRunner().invoke(cli.build_app("lint"), ["lint", "--project", str(project)], standalone_mode=False)


def rsa_key(file: Path) -> None:
    """Write a key of a kind that model signing does not take."""
    key = rsa.generate_private_key(65537, 2048).public_key()
    file.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def other_curve(file: Path) -> None:
    """Write a key of a curve that model signing does not take."""
    key = ec.generate_private_key(ec.SECP256K1()).public_key()
    file.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def private_key(file: Path) -> None:
    """Write a private key."""
    file.write_bytes(make_key(file.parent, "mine").private.read_bytes())


def two_keys(file: Path) -> None:
    """Write two keys into one file."""
    file.write_bytes(file.read_bytes() * 2)


def leave(file: Path) -> None:
    """Move the key out of the folder of policies, and put a link in its place."""
    file.rename(file.parents[2] / "release.pem")
    file.symlink_to(file.parents[2] / "release.pem")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, "there is no file"),
        (lambda file: file.write_text("a key"), "must hold one public key or one certificate, as PEM"),
        (lambda file: file.write_text("-----BEGIN PUBLIC KEY-----\nx\n"), "holds no public key or certificate"),
        (lambda file: file.write_text("-----BEGIN CERTIFICATE-----\nx\n"), "holds no public key or certificate"),
        (lambda file: file.write_bytes(b" " * (2 << 20)), "must hold one public key or one certificate, as PEM"),
        (two_keys, "must hold one public key or one certificate, as PEM"),
        (private_key, "holds a private key: only the public key belongs here"),
        (rsa_key, "holds a key of another kind"),
        (other_curve, "holds a key of another kind"),
        (leave, "keep keys there, where they are reviewed with the policies"),
        (lambda file: (file.unlink(), file.mkdir()), "cannot be read: Is a directory"),
    ],
)
def test_a_key_that_cannot_be_used_is_named_with_path_and_line(
    project: Path, change: Callable[[Path], object], said: str
) -> None:
    """`lint` names policy, line and key file of each key that is missing or none, and exits with 2."""
    line = write(project, ["keys/release.pem"])
    change(project / "configs" / "keys" / "release.pem")
    found = lint(project)
    assert found.return_value == 2
    text = " ".join(found.output.split())
    assert f"m.yaml:{line}: artifacts.signed_by:" in text
    assert said in text
    assert "release.pem" in text


@pytest.mark.parametrize(
    ("signed_by", "said"),
    [
        ([], "names no file, so no version could be promoted"),
        (["keys/release.pem", "keys/release.pem"], "names a file twice"),
        (["/etc/release.pem"], "is absolute: write the path from the folder of the policy"),
        ([""], "signed_by"),
        (["../release.pem"], "keep keys there, where they are reviewed with the policies"),
        (7, "expected a list"),
    ],
)
def test_names_that_are_no_files_of_the_project_are_refused(project: Path, signed_by: object, said: str) -> None:
    """An empty list, a file twice, and a path that leads out of the folder of policies are errors of the policy."""
    (project / "release.pem").write_bytes((project / "configs" / "keys" / "release.pem").read_bytes())
    write(project, signed_by)
    found = lint(project)
    assert found.return_value == 2
    assert said in " ".join(found.output.split())


def test_one_name_keys_of_subfolders_and_certificates_are_taken(project: Path) -> None:
    """A policy in a subfolder names its key from there; one name needs no list; a certificate is a signer too."""
    team = project / "configs" / "team"
    team.mkdir()
    (project / "configs" / "m.yaml").rename(team / "m.yaml")
    make_certificate(project / "configs" / "keys", "authority", authority=True)
    for name in ("../keys/release.pem", "../keys/authority.pem"):
        (team / "m.yaml").write_text(yaml.safe_dump({**POLICY, "artifacts": {"signed_by": name}}))
        assert lint(project).return_value == 0


def doctor(project: Path) -> Finding:
    """What `doctor` finds after the policies, before it looks at any server."""
    found = list(
        zip(range(3), run_setup_checks(Settings(project / "home", project, "", "", "", "token")), strict=False)
    )
    return found[2][1]


def test_a_host_without_the_library_says_what_to_install(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lint` and `doctor` say in one line how to install what checks signatures; with it they say nothing."""
    assert "surefoot[signing]" not in lint(project).output
    assert doctor(project).part == "home"
    monkeypatch.setattr(signing_keys, "find_spec", lambda name: None if name == "OpenSSL" else name)
    assert "note: signatures of models cannot be checked here" in lint(project).output
    assert "pip install 'surefoot[signing]'" in " ".join(lint(project).output.split())
    noted = doctor(project)
    assert (noted.part, noted.level) == ("signatures", FindingLevel.NOTE)
    assert "pip install 'surefoot[signing]'" in noted.text
