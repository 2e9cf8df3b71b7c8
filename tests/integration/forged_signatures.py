"""Models whose signature is not that which a policy demands, and what is said of each."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_signing import hashing, signing

from tests.certificates import make_certificate
from tests.signing import SigningProject, sign_model


def edited(file: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a file."""
    value = json.loads(file.read_text())
    edit(value)
    file.write_text(json.dumps(value))


def change_file(project: SigningProject) -> None:
    """Change a file after the signature."""
    project.sign()
    (project.model / "data" / "weights.bin").write_bytes(b"weightS")


def add_file(project: SigningProject) -> None:
    """Add a file after the signature."""
    project.sign()
    (project.model / "data" / "planted.py").touch()


def lose_file(project: SigningProject) -> None:
    """Remove a file after the signature."""
    project.sign()
    (project.model / "requirements.txt").unlink()


def leave_out_git(project: SigningProject) -> None:
    """Sign as the library does by default, which leaves files of git out."""
    (project.model / ".gitignore").write_text("*.pyc")
    project.sign()


def leave_out_code(project: SigningProject) -> None:
    """Have the signer leave a file out."""
    (project.model / "data" / "run.py").touch()
    project.sign(None, "data/run.py")


def take_another_models(project: SigningProject) -> None:
    """Copy the signature of another model, by the right key."""
    other = project.folder("other", b"other weights")
    sign_model(other, project.key.private, "registered_model_meta")
    shutil.copy(other / "model.sig", project.model / "model.sig")


def rename_file(project: SigningProject) -> None:
    """Give a file another name after the signature."""
    project.sign()
    (project.model / "requirements.txt").rename(project.model / "conda.yaml")


def sign_added_file(project: SigningProject) -> None:
    """Sign the file that MLflow adds to a download, too."""
    sign_model(project.model, project.key.private)


def forge_statement(project: SigningProject) -> None:
    """Change a file, and say in the signed statement that it is so."""
    change_file(project)
    fresh = project.root / "fresh"
    shutil.copytree(project.model, fresh)
    sign_model(fresh, project.other.private, "registered_model_meta")
    payload = json.loads((fresh / "model.sig").read_text())["dsseEnvelope"]["payload"]
    edited(project.model / "model.sig", lambda bundle: bundle["dsseEnvelope"].update(payload=payload))


def claim_the_key(project: SigningProject) -> None:
    """Sign by another key, and name the right one as the signer."""
    project.sign()
    hint = json.loads((project.model / "model.sig").read_text())["verificationMaterial"]["publicKey"]["hint"]
    project.sign(project.other)
    edited(project.model / "model.sig", lambda bundle: bundle["verificationMaterial"]["publicKey"].update(hint=hint))


def hide_key(project: SigningProject) -> None:
    """Leave out which key has signed, as releases before 1.1 did."""
    project.sign()
    edited(project.model / "model.sig", lambda bundle: bundle["verificationMaterial"]["publicKey"].pop("hint"))


def drop_signatures(project: SigningProject) -> None:
    """Take the signature out of its envelope."""
    project.sign()
    edited(project.model / "model.sig", lambda bundle: bundle["dsseEnvelope"].update(signatures=[]))


def sign_by_certificate(project: SigningProject) -> None:
    """Sign with a certificate where the policy names a key."""
    authority = make_certificate(project.root, "authority", authority=True)
    config = signing.Config().use_certificate_signer(
        private_key=authority.key_file, signing_certificate=authority.file, certificate_chain=[authority.file]
    )
    config.sign(project.model, project.model / "model.sig")


def sign_with_another_hash(project: SigningProject) -> None:
    """List the files with another hash than the command line of the library."""
    files = hashing.Config().use_file_serialization(hashing_algorithm="blake2")
    config = signing.Config().use_elliptic_key_signer(private_key=project.key.private).set_hashing_config(files)
    config.sign(project.model, project.model / "model.sig")


def write(text: str | bytes) -> Callable[[SigningProject], object]:
    """Write a signature file of this content."""
    body = text if isinstance(text, bytes) else text.encode()
    return lambda project: (project.model / "model.sig").write_bytes(body)


def statement(value: object) -> str:
    """A bundle with this statement."""
    payload = base64.b64encode(json.dumps(value).encode()).decode()
    return json.dumps({"verificationMaterial": {"publicKey": {"hint": "x"}}, "dsseEnvelope": {"payload": payload}})


def link_file(project: SigningProject) -> None:
    """Put a symbolic link in the place of a signed file."""
    project.sign()
    (project.model / "requirements.txt").rename(project.root / "requirements.txt")
    (project.model / "requirements.txt").symlink_to(project.root / "requirements.txt")


def link_signature(project: SigningProject) -> None:
    """Put a symbolic link in the place of the signature."""
    project.sign()
    (project.model / "model.sig").rename(project.root / "model.sig")
    (project.model / "model.sig").symlink_to(project.root / "model.sig")


def make_folder(project: SigningProject) -> None:
    """Make a folder with the name of the signature."""
    (project.model / "model.sig").mkdir()
    (project.model / "model.sig" / "file").touch()


REFUSED: dict[str, tuple[Callable[[SigningProject], object], str]] = {
    "unsigned": (lambda _: None, r"it is not signed: there is no model\.sig beside its MLmodel"),
    "other key": (
        lambda project: project.sign(project.other),
        r"another key \(sha256:\w{16}\) than those .*keys/release",
    ),
    "changed file": (change_file, r"not those that were signed: changed: data/weights\.bin$"),
    "extra file": (add_file, r"not those that were signed: not signed: data/planted\.py$"),
    "missing file": (lose_file, r"not those that were signed: missing: requirements\.txt$"),
    "renamed file": (rename_file, r"not signed: conda\.yaml; missing: requirements\.txt$"),
    "file of git": (leave_out_git, r"not signed: \.gitignore$"),
    "file that the signer left out": (leave_out_code, r"not signed: data/run\.py$"),
    "signature of another model": (take_another_models, r"changed: data/weights\.bin$"),
    "file that MLflow adds": (sign_added_file, r"registered_model_meta was signed, .*sign without it"),
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
"""How each model comes to be, and what is said of it."""
