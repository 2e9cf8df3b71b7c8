"""People with real SSH keys, and the files that say what they may approve."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from surefoot.adapters.approvals.approver_files import ApproverFiles
from surefoot.core.approvals.approval_statement import APPROVAL_SIGNATURE_NAMESPACE, ApprovalStatement, SignedText


@dataclass
class ApproverFolder:
    """A folder of policies with keys of people beside it.

    Attributes:
        root: Where everything is.
        keys: Private keys by name.
    """

    root: Path
    keys: dict[str, Path] = field(default_factory=dict)

    @property
    def configs(self) -> Path:
        return self.root / "configs"

    def make_key(self, name: str, kind: str = "ed25519") -> Path:
        """Make a key pair; the same one when it is asked for again."""
        if name not in self.keys:
            file = self.root / f"key-{name}"
            words = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(file)]
            subprocess.run([*words, *(["-b", "2048"] if kind == "rsa" else [])], check=True)
            self.keys[name] = file
        return self.keys[name]

    def public(self, name: str) -> str:
        """Public key of a name, without its comment."""
        return " ".join(Path(f"{self.make_key(name)}.pub").read_text().split()[:2])

    def person(self, person: str, key: str, options: str = "") -> None:
        """Let a key be one of a person's."""
        self.configs.mkdir(exist_ok=True)
        line = " ".join(part for part in (person, options, self.public(key)) if part)
        with (self.configs / "allowed_signers").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def groups(self, text: str) -> None:
        """Write the file of groups."""
        self.configs.mkdir(exist_ok=True)
        (self.configs / "approvers.yaml").write_text(text, encoding="utf-8")

    def revoke(self, key: str) -> None:
        """Write a key revocation list with one key."""
        public = f"{self.make_key(key)}.pub"
        subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(self.configs / "revoked_keys"), public], check=True)

    def sign(
        self, body: bytes, key: str, namespace: str = APPROVAL_SIGNATURE_NAMESPACE, options: tuple[str, ...] = ()
    ) -> str:
        """Sign bytes with a key of a name."""
        file = self.root / "to-sign"
        file.write_bytes(body)
        Path(f"{file}.sig").unlink(missing_ok=True)
        words = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(self.make_key(key)), "-n", namespace, *options, str(file)]
        subprocess.run(words, check=True, capture_output=True)
        return Path(f"{file}.sig").read_text(encoding="ascii")

    def text(self, statement: ApprovalStatement, key: str) -> bytes:
        """A statement with its signature."""
        return SignedText(statement, self.sign(statement.signed_bytes, key)).text.encode()

    def approvers(self) -> ApproverFiles:
        """The adapter that reads this folder."""
        return ApproverFiles(self.configs)


def approver_folder(root: Path) -> ApproverFolder:
    """A folder in which Ann and Ben of group `releasers` may approve, and Eve has a key of no person."""
    made = ApproverFolder(root)
    for name in ("ann", "ben"):
        made.person(f"{name}@example.com", name)
    made.groups("groups:\n  releasers: [ann@example.com, ben@example.com, cyd@example.com]\n")
    made.make_key("eve")
    return made
