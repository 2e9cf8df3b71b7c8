"""Verify who signed an approval, and read who may approve, from the approver files of a project."""

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, ValidationError

from surefoot.adapters.approvals.ssh_keygen import find_principals, verify_signature
from surefoot.adapters.approvals.ssh_signature import parse_signature
from surefoot.adapters.config.policy_folder import APPROVERS_FILE
from surefoot.adapters.config.strict_yaml import YamlDocument, load_yaml
from surefoot.core.approvals.approval_checks import Signer
from surefoot.core.approvals.approval_statement import APPROVAL_SIGNATURE_NAMESPACE
from surefoot.core.errors import ApprovalInvalid, NotFound, PolicyInvalid, Unavailable
from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.pydantic_errors import convert_pydantic_error
from surefoot.core.policy.scalars import Name, Text, Texts

if TYPE_CHECKING:
    from collections.abc import Mapping

SIGNERS_FILE = "allowed_signers"
"""Name of the file of keys, in the format of OpenSSH."""
_REVOKED_FILE = "revoked_keys"
"""Name of the key revocation list, in the format of OpenSSH; it may be missing."""
_PATTERN_SIGNS = frozenset("*?!,")
"""Signs that make a principal of an allowed_signers file a pattern, or a list."""


def _mapping(value: object) -> object:
    return {} if value is None else value


class PersonAccounts(PolicyModel):
    """Other names of a person."""

    mlflow: Texts = Field((), description="Users of MLflow that are this person.")


class ApproverGroups(PolicyModel):
    """Who is in which group, and which other names a person has."""

    groups: dict[Name, Texts] = Field(description="Principals of `allowed_signers` by group.")
    people: Annotated[dict[Text, PersonAccounts], BeforeValidator(_mapping)] = Field(
        default_factory=dict, description="Other names of a principal: the author of a version may not approve it."
    )


def read_approver_groups(configs: Path) -> ApproverGroups:
    """Read and check the file of groups.

    Args:
        configs: Folder of the policies.

    Raises:
        NotFound: There is no such file.
        PolicyInvalid: Names file, line and rule of everything in it that is broken.
    """
    path = configs / APPROVERS_FILE
    if not path.exists():
        raise NotFound(f"there is no {path}: it says who is in the groups that policies ask for approvals")
    document = YamlDocument()
    value = load_yaml(path, document, "file of approvers")
    try:
        groups = ApproverGroups.model_validate(value)
    except ValidationError as error:
        broken = convert_pydantic_error(error, value, root=ApproverGroups)
        (line, rule), *more = [(document.line(one.path), str(one)) for one in (*document.unread, *broken)]
        raise PolicyInvalid(str(path), line, rule, more) from error
    if document.unread:
        (line, rule), *more = [(document.line(one.path), str(one)) for one in document.unread]
        raise PolicyInvalid(str(path), line, rule, more)
    return groups


def _lines_of_key(allowed: Path, key: bytes) -> list[str]:
    """Principals of every line of the file of keys that holds a key, whatever its options say.

    Raises:
        Unavailable: The file cannot be read.
    """
    wanted = base64.b64encode(key).decode()
    try:
        lines = allowed.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"{allowed} cannot be read: {error}") from error
    words = (line.split() for line in lines if not line.lstrip().startswith("#"))
    return [line[0].strip('"') for line in words if wanted in line]


class ApproverFiles:
    """The files of a project that say who may approve, read anew for each decision."""

    def __init__(self, configs: Path) -> None:
        """Remember the folder of the policies; nothing is read yet."""
        self._configs = configs

    def verify(self, statement: bytes, armour: str) -> Signer:
        """Find the person who signed a statement, and check that it is one person.

        Raises:
            ApprovalInvalid: The signature is no good, or its key is not that of one person who may sign.
            Rejected: `ssh-keygen` or the file of keys is missing.
        """
        person, key = self.find_signer(statement, armour)
        return Signer(person, key, self._names(person), self._digest())

    def find_signer(
        self, statement: bytes, armour: str, namespace: str = APPROVAL_SIGNATURE_NAMESPACE
    ) -> tuple[str, str]:
        """Find the one principal whose key has signed a statement for a purpose; no group is asked.

        Args:
            statement: The bytes that were signed.
            armour: The signature.
            namespace: What it must have been made for.

        Returns:
            The principal, and the fingerprint of the key.

        Raises:
            ApprovalInvalid: The signature is no good, or its key is not that of one person who may sign.
            Rejected: `ssh-keygen` or the file of keys is missing.
        """
        allowed = self._configs / SIGNERS_FILE
        if not allowed.is_file():
            raise NotFound(f"there is no {allowed}: it says whose keys may approve, as ssh-keygen reads it")
        found = parse_signature(armour)
        if found.namespace != namespace:
            made_for = found.namespace[:60].encode("unicode_escape").decode()
            raise ApprovalInvalid(f"the signature was made for namespace '{made_for}', not for '{namespace}'")
        named = find_principals(allowed, armour)
        if not named:
            raise ApprovalInvalid(f"key {found.fingerprint} is not in {SIGNERS_FILE}, or not valid now")
        # `ssh-keygen` names the first line of a key alone: a second name would pass for another person.
        principals = tuple(dict.fromkeys((*named, *_lines_of_key(allowed, found.key))))
        if len(principals) > 1 or set(principals[0]) & _PATTERN_SIGNS:
            who = ", ".join(principals)[:120]
            raise ApprovalInvalid(f"key {found.fingerprint} is not that of one person in {SIGNERS_FILE}: {who}")
        revoked = self._configs / _REVOKED_FILE
        verify_signature(allowed, revoked if revoked.exists() else None, principals[0], armour, statement, namespace)
        return principals[0], found.fingerprint

    def people(self, group: str) -> frozenset[str]:
        """Principals of a group.

        Raises:
            NotFound: There is no such group, or no file of groups.
            PolicyInvalid: The file is broken.
        """
        groups = read_approver_groups(self._configs).groups
        if group not in groups:
            known = ", ".join(groups) or "none"
            raise NotFound(f"{self._configs / APPROVERS_FILE} has no group '{group}'; groups: {known}")
        return frozenset(groups[group])

    def _names(self, person: str) -> frozenset[str]:
        people: Mapping[str, PersonAccounts] = read_approver_groups(self._configs).people
        return frozenset(people[person].mlflow) if person in people else frozenset()

    def _digest(self) -> str:
        """SHA-256 of all files that decide who may approve, each by its name."""
        whole = hashlib.sha256()
        for name in (SIGNERS_FILE, APPROVERS_FILE, _REVOKED_FILE):
            file = self._configs / name
            body = file.read_bytes() if file.is_file() else b""
            whole.update(f"{name} {len(body)}\n".encode() + body)
        return f"sha256:{whole.hexdigest()}"
