"""Read the policies and suites of one installation, and build promotion requests from them."""

import hashlib
from contextlib import suppress
from pathlib import Path

from surefoot.adapters.config.policy_fallback import read_fallback_answer
from surefoot.adapters.config.policy_file import read_cached_policy
from surefoot.adapters.config.policy_folder import (
    duplicate_policy_message,
    find_policy_file,
    policy_files_by_model,
    read_model_policy,
)
from surefoot.core.errors import NotFound, PolicyInvalid, Rejected
from surefoot.core.policy.policy_types import Policy
from surefoot.rollout import (
    CandidateRequest,
    PromotionRequest,
)
from surefoot.settings import Settings
from surefoot.wiring.policy_column_checks import find_encrypted_expectations


def locate_suite_file(config: Settings, digest: str) -> Path:
    """Where a suite is kept as it was when a rollout opened."""
    return config.home / "suites" / f"{digest.removeprefix('sha256:')}.json"


def read_policies(config: Settings) -> dict[str, Policy]:
    """Every policy in configs/ that can be read; broken ones, and several of one model, are left to `lint`."""
    found = {}
    for model, files in policy_files_by_model(config.configs).items():
        with suppress(PolicyInvalid, NotFound):
            if len(files) == 1:
                found[model] = read_cached_policy(files[0])
    return found


def find_broken_policies(config: Settings) -> dict[str, str]:
    """What is wrong with the policies in configs/ that cannot be read, by model."""
    found = {}
    for model, files in policy_files_by_model(config.configs).items():
        try:
            read_cached_policy(files[0])
        except (PolicyInvalid, NotFound) as error:
            found[model] = str(error)
        if len(files) > 1:
            found[model] = duplicate_policy_message(model, files)
    return found


def promotion_request(
    config: Settings,
    model: str,
    number: str,
    reason: str,
    *,
    force: bool = False,
    ticket: str = "",
    override_freeze: bool = False,
) -> PromotionRequest:
    """Resolve policy and suite once; later edits change nothing for this rollout.

    Raises:
        Rejected: Policy or suite are missing or wrong.
    """
    value, policy = read_model_policy(config.configs, model)
    suite = config.project / "expectations" / f"{policy.suite}.json"
    if not suite.is_file():
        raise NotFound(f"policy {model} names suite '{policy.suite}', but there is no {suite}")
    if problems := find_encrypted_expectations(policy, suite):
        raise Rejected(f"policy {model}: {problems[0]}")
    fallback = read_fallback_answer(config.project, policy)
    body = suite.read_bytes()
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    kept = locate_suite_file(config, digest)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(body)
    secret = hashlib.sha256(f"assignment {config.token}".encode()).hexdigest()
    return PromotionRequest(
        value,
        digest,
        number,
        reason,
        force,
        secret,
        fallback_digest=fallback.digest if fallback else "",
        ticket=ticket,
        override_freeze=override_freeze,
    )


def build_candidate_promotion_request(config: Settings, model: str, candidate: CandidateRequest) -> PromotionRequest:
    """The request for a version that the registry asks for; raises what `promotion_request` raises."""
    return promotion_request(config, model, candidate.number, candidate.reason)


def hash_policy_files(config: Settings, model: str, policy: Policy) -> dict[str, str]:
    """Digests of the files on which the refusal of a promotion may depend."""
    try:
        file = find_policy_file(config.configs, model)
    except Rejected:  # none, or several of one model
        file = config.configs / "none.yaml"
    files = {
        "policy": file,
        "suite": config.project / "expectations" / f"{policy.suite}.json",
    }
    files |= {f"key {name}": file.parent / name for name in policy.artifacts.signed_by or ()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for name, path in files.items()
    }
