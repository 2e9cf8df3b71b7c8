"""Check the signature of a version with the keys that its policy names."""

from surefoot.adapters.config.policy_folder import find_policy_file
from surefoot.adapters.signing.model_signature import check_signature
from surefoot.adapters.signing.signing_keys import SigningKey, read_signing_keys
from surefoot.core.domain import Version
from surefoot.core.errors import Rejected
from surefoot.core.policy.governance.artifact_trust import SignatureCheck
from surefoot.core.policy.policy_types import Policy
from surefoot.settings import Settings
from surefoot.wiring.adapters import make_artifact_cache


def check_version_signature(config: Settings, policy: Policy, version: Version) -> SignatureCheck:
    """Check whether a key that a policy names has signed exactly the verified files of a version.

    Args:
        config: Where everything is.
        policy: The policy.
        version: The version; its files are downloaded where this host does not have them.

    Raises:
        Rejected: A key cannot be read.
        ArtifactTampered: The files are not those of its digest.
        RegistryUnavailable: MLflow does not answer.
        Unavailable: The library that checks signatures is not installed.
    """
    keys = _read_keys(config, policy)
    return check_signature(make_artifact_cache(config).verified(version, policy.model), keys)


def _read_keys(config: Settings, policy: Policy) -> tuple[SigningKey, ...]:
    try:
        return read_signing_keys(find_policy_file(config.configs, policy.model), policy.artifacts.signed_by or ())
    except Rejected as error:
        raise Rejected(f"artifacts.signed_by: {error}") from error
