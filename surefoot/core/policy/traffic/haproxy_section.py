"""Define the policy section `traffic.haproxy`, which names HAProxy's servers."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import Name, Texts, one_or_more_schema
from surefoot.core.policy.violations import describe_type, rule_error

_ADDRESS_PATTERN = r"^(unix:/[^\s]+|tcp://[^\s:/]+:[0-9]{1,5})$"
_SERVER_PATTERN = r"^[A-Za-z0-9_.-]*\{version\}[A-Za-z0-9_.-]*$"


def _addresses(found: tuple[str, ...]) -> tuple[str, ...]:
    for address in found:
        if re.fullmatch(_ADDRESS_PATTERN, address) is None:
            raise rule_error(
                "expected a runtime address such as unix:/run/haproxy/admin.sock or tcp://10.0.0.5:9999, found"
                f" {describe_type(address)}"
            )
    if not found or len(set(found)) < len(found):
        raise rule_error("expected one or more addresses, each once")
    return found


def _server(template: str) -> str:
    if re.fullmatch(_SERVER_PATTERN, template) is None:
        raise rule_error(f"expected a server's name with {{version}} in it, such as v{{version}}, found '{template}'")
    return template


class HaproxySection(PolicyModel):
    """Where HAProxy is, and which of its servers serve the versions."""

    addresses: Annotated[
        Texts,
        AfterValidator(_addresses),
        one_or_more_schema({"type": "string", "pattern": _ADDRESS_PATTERN}, 1),
    ] = Field(description="Runtime API of each HAProxy process: unix:/run/haproxy/admin.sock or tcp://10.0.0.5:9999.")
    backend: Name = Field(description="Backend whose servers serve the versions.")
    server: Annotated[str, AfterValidator(_server), Field(json_schema_extra={"pattern": _SERVER_PATTERN})] = Field(
        "v{version}", description="Name of the server of a version in that backend."
    )
