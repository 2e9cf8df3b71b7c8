"""Make keys and sign folders of models with them, as a data scientist does."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from model_signing import hashing, signing


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
