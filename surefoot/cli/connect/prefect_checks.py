"""Check a Prefect server, its work pool and its deployments before Surefoot uses them."""

from dataclasses import dataclass
from typing import Any

import httpx

from surefoot.cli.local.prefect_access import open_prefect_client
from surefoot.cli.local.prefect_server import DEPLOYED_FLOWS
from surefoot.core.errors import Rejected, Unavailable
from surefoot.settings import OWN_WORK_POOL, Settings

_TIMEOUT_S = 15.0
_SUPPORTED_MAJOR = 3
_CREDENTIALS = "PREFECT_API_AUTH_STRING (user:password of a server) or PREFECT_API_KEY (Prefect Cloud)"
_NAMED_POOLS = 5
"""A message names no more pools than a person reads."""


@dataclass(frozen=True, slots=True)
class PrefectServerInfo:
    """A server that can be used.

    Attributes:
        version: Release of Prefect; "Cloud" of Prefect Cloud, which tells none.
        date: Its HTTP header Date; empty without one.
    """

    version: str
    date: str = ""


def check_prefect_server(config: Settings, timeout_s: float = _TIMEOUT_S) -> PrefectServerInfo:
    """Ask Prefect for its version.

    Args:
        config: Where it is.
        timeout_s: How long one request may take [s].

    Raises:
        Unavailable: Nothing answers there, or it is out of order.
        Rejected: It is no Prefect, of a release that is not supported, or refuses us.
    """
    pools = _ask(config, timeout_s, "POST", "/work_pools/filter", {"limit": 1})
    if not pools.is_success or not isinstance(_json(pools), list):
        raise Rejected(
            f"{config.prefect} answers, but not as Prefect ({pools.status_code} for {config.prefect_api}"
            "/work_pools/filter): correct the address"
        )
    told = _ask(config, timeout_s, "GET", "/admin/version")
    version = _json(told) if told.is_success else "Cloud"
    if not isinstance(version, str):
        raise Rejected(f"{config.prefect} answers, but tells no version of Prefect: correct the address")
    major = version.partition(".")[0]
    if major.isdigit() and int(major) != _SUPPORTED_MAJOR:
        age = "old" if int(major) < _SUPPORTED_MAJOR else "new"
        raise Rejected(
            f"Prefect at {config.prefect} is {version}, which is too {age}: Surefoot works with Prefect"
            f" {_SUPPORTED_MAJOR}.x"
        )
    return PrefectServerInfo(version, told.headers.get("date", ""))


def check_work_pool(config: Settings, timeout_s: float = _TIMEOUT_S) -> tuple[str, str]:
    """Look at the work pool, and at its workers where Surefoot starts none.

    Args:
        config: Where Prefect is, and the pool.
        timeout_s: How long one request may take [s].

    Returns:
        What was found, and what may keep runs from starting; the latter is empty where nothing does.

    Raises:
        Unavailable: Prefect does not answer.
        Rejected: The pool is missing, or flows of ours cannot run in it.
    """
    if "prefect" not in config.connected:
        if config.pool != OWN_WORK_POOL:
            raise Rejected(
                f"work pool '{config.pool}' needs a Prefect that has it: name the server with --prefect, or leave the"
                " pool out"
            )
        return f"work pool {config.pool}: its worker is started here", ""
    answer = _ask(config, timeout_s, "GET", f"/work_pools/{config.pool}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        if config.pool == OWN_WORK_POOL:
            return f"work pool {config.pool}: made by the worker that is started here", ""
        known = _json(_ask(config, timeout_s, "POST", "/work_pools/filter", {"limit": 200}))
        names = sorted(str(one["name"]) for one in known) if isinstance(known, list) else []
        listed = ", ".join(names[:_NAMED_POOLS]) + (" ..." if len(names) > _NAMED_POOLS else "")
        raise Rejected(
            f"Prefect at {config.prefect} has no work pool '{config.pool}' (it has: {listed or 'none'}): 'prefect"
            f" work-pool create {config.pool} --type process', or correct --pool"
        )
    pool = _json(answer)
    if pool["type"] != "process":
        raise Rejected(
            f"work pool '{config.pool}' is of type {pool['type']}: the flows need the home folder of this host, so name"
            " a pool of type process"
        )
    paused = f"work pool '{config.pool}' is paused in Prefect: no flow run starts" if pool.get("is_paused") else ""
    if config.pool == OWN_WORK_POOL:
        return f"work pool {config.pool} (process): its worker is started here", paused
    online = _json(
        _ask(config, timeout_s, "POST", f"/work_pools/{config.pool}/workers/filter", {"workers": _ONLINE, "limit": 5})
    )
    command = f"prefect worker start --pool {config.pool}"
    idle = f"no worker polls work pool '{config.pool}': start one on this host, '{command}'"
    return f"work pool {config.pool} (process), {len(online)} workers online", paused or ("" if online else idle)


_ONLINE = {"status": {"any_": ["ONLINE"]}}


def check_deployments(config: Settings, timeout_s: float = _TIMEOUT_S) -> None:
    """Refuse a Prefect whose deployments of our flows belong to another home folder: they would be replaced.

    Args:
        config: Where Prefect is, and the home folder.
        timeout_s: How long one request may take [s].

    Raises:
        Unavailable: Prefect does not answer.
        Rejected: A deployment of one of our names is of another installation.
    """
    for name in DEPLOYED_FLOWS:
        answer = _ask(config, timeout_s, "GET", f"/deployments/name/{name}/{name}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            continue
        variables = _json(answer).get("job_variables") or {}
        owner = (variables.get("env") or {}).get("SUREFOOT_HOME")
        if owner != str(config.home):
            whose = f"belongs to the Surefoot of {owner}" if owner else "is not of Surefoot"
            raise Rejected(
                f"deployment {name}/{name} at {config.prefect} {whose}, not to {config.home}: use another server or"
                f" workspace, or 'prefect deployment delete {name}/{name}'"
            )


def _ask(config: Settings, timeout_s: float, method: str, path: str, body: object = None) -> httpx.Response:
    try:
        with open_prefect_client(config, timeout_s) as client:
            answer = client.request(method, path, json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        said = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in said:
            raise Rejected(
                f"the certificate of Prefect at {config.prefect} is not trusted: set PREFECT_API_SSL_CERT_FILE to the"
                " file of its authority"
            ) from error
        raise Unavailable(
            f"nothing answers as Prefect at {config.prefect} ({said}): start it, or correct the address"
        ) from error
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise _refused_credentials(config, timeout_s, answer)
    if answer.is_server_error:
        raise Unavailable(f"Prefect at {config.prefect} is out of order ({answer.status_code}): see its log")
    return answer


def _refused_credentials(config: Settings, timeout_s: float, answer: httpx.Response) -> Rejected:
    """Why a server has answered 401 or 403: Prefect says without credentials that it is well, other servers do not."""
    with open_prefect_client(config, timeout_s) as client:
        try:
            is_prefect = _json(client.get("/health")) is True
        except httpx.HTTPError:
            is_prefect = False
    code = answer.status_code
    if not is_prefect and "/workspaces/" not in config.prefect_api:
        return Rejected(f"{config.prefect} answers {code}, but not as Prefect: correct the address, or {_CREDENTIALS}")
    if "authorization" in answer.request.headers:
        return Rejected(f"Prefect at {config.prefect} refuses our credentials ({code}): correct {_CREDENTIALS}")
    return Rejected(f"Prefect at {config.prefect} asks for credentials ({code}): set {_CREDENTIALS}")


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
