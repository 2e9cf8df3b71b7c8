"""Build and check the requests that prove who asks for a flow run."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from surefoot.adapters.access.access_log import record_access
from surefoot.adapters.access.roles_file import has_roles_file
from surefoot.adapters.access.used_requests import UsedRequests
from surefoot.adapters.approvals.approver_files import ApproverFiles
from surefoot.core.access.run_requests import (
    MAX_REQUEST_LIFE_S,
    REQUEST_SIGNATURE_NAMESPACE,
    SIGNED_PERSON_PREFIX,
    RunOrder,
    RunPermit,
    RunRequest,
    find_request_problem,
    is_run_proof,
    make_request,
    make_run_proof,
    read_run_proof,
    read_signed_request,
)
from surefoot.core.errors import Forbidden, Rejected, RequestInvalid
from surefoot.settings import Settings
from surefoot.wiring.access.access_control import AccessControl


def prove_run_request(config: Settings, order: RunOrder, actor: str) -> dict[str, str]:
    """Prove that a process of this installation starts a flow run, once its actor was found to be allowed to.

    Args:
        config: Where everything is.
        order: What the run is to do.
        actor: Who has it started, as the journal names them.

    Returns:
        The parameter of the flow; nothing without a file of roles, where no run is asked for it.
    """
    if not has_roles_file(config.configs):
        return {}
    expires = int(time.time() + MAX_REQUEST_LIFE_S)
    request = make_request(order, config.token, secrets.token_hex(16), expires, actor)
    return {"request": make_run_proof(request, config.token)}


def build_run_permit_check(config: Settings, order: RunOrder, text: str, run: str) -> Callable[[], RunPermit] | None:
    """What has to be called before a flow run begins something new; None where no run is asked who starts it.

    Args:
        config: Where everything is.
        order: What the run is about to do.
        text: Its parameter `request`.
        run: Id and attempt of the run; empty where it has none.
    """
    if not text.strip() and not has_roles_file(config.configs):
        return None
    return partial(_permit, config, order, text, run)


def _permit(config: Settings, order: RunOrder, text: str, run: str) -> RunPermit:
    """Check a request, and use it up.

    Raises:
        RequestInvalid: There is none, or it does not count; recorded in `access.log`.
        Forbidden: The person who has signed it has no role that may do this; recorded in `access.log`.
        Unavailable: It cannot be recorded now that the request was used.
    """
    signer = _Signer()
    try:
        request = _read(config, text, signer)
        _check(config, order, request, signer.person)
        if not UsedRequests(config.home).claim(request.nonce, run, time.time(), request.expires):
            raise RequestInvalid("it was used before")
    except Forbidden:
        raise
    except Rejected as error:
        why = f"its request does not count: {error}" if text.strip() else "configs/roles.yaml asks who starts it"
        refused = RequestInvalid(f"{order.flow} of {order.model} was not begun: {why}; {order.way_to_ask}")
        _record(config, order, signer.actor or "unknown", f"refused: {refused}")
        raise refused from error
    if not signer.person:
        return RunPermit("", order.reason)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    _record(config, order, signer.actor, f"accepted: key {signer.key}, request sha256:{digest}")
    return RunPermit(signer.actor, request.reason)


@dataclass
class _Signer:
    """Who has signed a request, as far as that is known; empty in a proof of the installation.

    Attributes:
        person: Principal of `configs/allowed_signers`.
        key: Fingerprint of the key.
    """

    person: str = ""
    key: str = ""

    @property
    def actor(self) -> str:
        """As the journal names the person; empty where none is known."""
        return f"{SIGNED_PERSON_PREFIX}{self.person}" if self.person else ""


def _read(config: Settings, text: str, signer: _Signer) -> RunRequest:
    """Verify who made a request, and read it.

    Args:
        config: Where everything is.
        text: The request, or a proof of the installation.
        signer: Is told who has signed it.

    Raises:
        Rejected: It was made neither by a person who may sign nor by this installation.
    """
    if is_run_proof(text):
        return read_run_proof(text, config.token)
    request, armour = read_signed_request(text.encode("utf-8", "replace"))
    files = ApproverFiles(config.configs)
    signer.person, signer.key = files.find_signer(request.signed_bytes, armour, REQUEST_SIGNATURE_NAMESPACE)
    return request


def _check(config: Settings, order: RunOrder, request: RunRequest, person: str) -> None:
    """Check what a verified request asks for, and the role of the person who has signed it.

    Raises:
        RequestInvalid: It is not one for this run now.
        Forbidden: The person has no role that may do this.
        PolicyInvalid: The file of roles is broken; a rollback is let go on.
    """
    if problem := find_request_problem(request, order, config.token, time.time()):
        raise RequestInvalid(problem)
    if not person:  # the role was checked before the proof was made
        return
    if request.actor:
        raise RequestInvalid("it names another person than its signature")
    access = AccessControl(config)
    for action in order.actions:
        access.check_person(f"{SIGNED_PERSON_PREFIX}{person}", action, order.model)


def _record(config: Settings, order: RunOrder, actor: str, outcome: str) -> None:
    record_access(config.home, time.time(), actor, f"flow run {order.flow}", order.model, outcome)


def build_request_to_sign(order: RunOrder, config: Settings, life_s: float) -> RunRequest:
    """The request that a person is to sign.

    Args:
        order: What is asked for.
        config: Where everything is.
        life_s: For how long it counts [s].

    Raises:
        Rejected: That is too long, or no time at all.
    """
    if not 0 < life_s <= MAX_REQUEST_LIFE_S:
        raise Rejected(f"a request counts for at most {MAX_REQUEST_LIFE_S / 3600:.0f}h: --expires 1h")
    return make_request(order, config.token, secrets.token_hex(16), int(time.time() + life_s))
