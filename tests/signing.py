"""Make keys and sign models with them, in a project whose policy demands a signature."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from model_signing import hashing, signing

from surefoot.adapters.mlflow.artifacts import ArtifactCache
from surefoot.core.domain import Version
from surefoot.rollout import Ports
from surefoot.settings import Settings
from surefoot.wiring.signatures import check_version_signature
from tests.fakes import POLICY, FakeRegistry, Faults, Scenario
from tests.scripted import scenario

SIGNED: dict[str, Any] = {**POLICY, "artifacts": {"signed_by": ["keys/release.pem"]}}
"""A policy that demands a signature of one key."""


@dataclass(frozen=True)
class KeyPair:
    """The two files of a key.

    Attributes:
        private: What signs.
        public: What a policy names.
    """

    private: Path
    public: Path


def make_key(folder: Path, name: str) -> KeyPair:
    """Write NAME.pem, the public key, and NAME.key, the private one."""
    key = ec.generate_private_key(ec.SECP256R1())
    folder.mkdir(parents=True, exist_ok=True)
    made = KeyPair(folder / f"{name}.key", folder / f"{name}.pem")
    made.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return made


def sign_model(folder: Path, key: Path, *left_out: str) -> None:
    """Write `model.sig` with the signature of all other files of a folder, but those that are left out."""
    files = hashing.Config().set_ignored_paths(paths=["model.sig", *left_out])
    config = signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(files)
    config.sign(folder, folder / "model.sig")


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


class SigningProject:
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
