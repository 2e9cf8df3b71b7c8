"""Add an approval step to the demo's policy, and sign the approval."""

import secrets
import subprocess
from pathlib import Path

from surefoot.adapters.approvals.approver_files import SIGNERS_FILE
from surefoot.adapters.approvals.ssh_keygen import find_keygen, sign_statement
from surefoot.adapters.config.policy_folder import APPROVERS_FILE
from surefoot.core.approvals.approval_statement import APPROVE, SignedText
from surefoot.rollout import Ports, approval_view, record_signed_decision

_PERSON, _GROUP = "release-manager@example.com", "release-managers"
_STEP = f"  - approve: {{ by: {_GROUP}, expires: 14d }} # before it answers everything\n"
_KEY_FILE = "release-manager"


def add_approval_step(policy: str, project: Path) -> str:
    """Add an approve step before the promotion to the demo's policy, and make a key for the person who signs it.

    Args:
        policy: Text of the policy.
        project: The demo's own project, with configs/.

    Returns:
        The policy; as it was where it has such steps, or `ssh-keygen` is not installed.
    """
    before, bake, rest = policy.partition("\nbake:")
    if not find_keygen() or "approve:" in policy or not bake:
        return policy
    key = project.parent / _KEY_FILE
    words = [find_keygen(), "-q", "-t", "ed25519", "-N", "", "-C", _PERSON, "-f", str(key)]
    subprocess.run(words, check=True)  # noqa: S603 - fixed words and our own file
    public = " ".join(Path(f"{key}.pub").read_text(encoding="ascii").split()[:2])
    (project / "configs" / SIGNERS_FILE).write_text(f"{_PERSON} {public}\n", encoding="ascii")
    groups = f"groups:\n  {_GROUP}: [{_PERSON}]\n"
    (project / "configs" / APPROVERS_FILE).write_text(groups, encoding="utf-8")
    return f"{before}\n{_STEP.rstrip()}{bake}{rest}"


def sign_approval(ports: Ports, model: str, home: Path) -> str:
    """Approve what the rollout waits for; returns who has signed.

    Args:
        ports: The outside world.
        model: Registered model.
        home: Folder of the demo's state, with the key.

    Raises:
        SurefootError: The rollout does not wait, or the approval does not count.
    """
    statement = approval_view(ports.ledger(model)).statement(APPROVE, secrets.token_hex(16), ports.clock.now())
    text = SignedText(statement, sign_statement(statement.signed_bytes, home / _KEY_FILE)).text
    return record_signed_decision(ports, model, text.encode()).signed.person
