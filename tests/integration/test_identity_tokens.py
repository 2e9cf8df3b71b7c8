"""People of an identity provider act over HTTP, with tokens of a real (local) issuer; everything else is refused."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from surefoot.adapters.access import identity_tokens
from surefoot.adapters.access.access_log import ACCESS_LOG
from surefoot.core.access.roles import Action
from surefoot.core.errors import Forbidden, PolicyInvalid, SurefootError, TokenInvalid, Unavailable
from surefoot.settings import Settings
from surefoot.status_page.page_server import serve_status_page
from surefoot.wiring import AccessControl
from tests import local_http
from tests.conftest import free_port
from tests.integration.emergency import MODEL, Emergency

AUDIENCE, ANN = "surefoot-client", "ann@example.com"


class Issuer:
    """An OpenID Connect provider: its keys, how it answers, and tokens that it signs."""

    def __init__(self) -> None:
        self.key: RSAKey | ECKey = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.url, self.asked, self.down, self.jwks = "", 0, False, ""

    def answer(self, path: str) -> tuple[int, object]:
        """What it answers to a path."""
        self.asked += 1
        if self.down:
            return 503, {}
        if path.endswith("/openid-configuration"):
            return 200, {"issuer": self.url, "jwks_uri": self.jwks or f"{self.url}/keys"}
        return 200, KeySet([self.key]).as_dict(private=False)

    def token(self, key: Any = None, algorithm: str = "RS256", **more: Any) -> str:
        """A token; a claim of None is left out."""
        now = int(time.time())
        told = {"iss": self.url, "aud": AUDIENCE, "sub": "1", "iat": now, "exp": now + 300, "email": ANN, **more}
        claims = {name: value for name, value in told.items() if value is not None}
        signing = key or self.key
        header = {"alg": algorithm, **({"kid": signing.kid} if getattr(signing, "kid", None) else {})}
        return str(jwt.encode(header, claims, signing, algorithms=[algorithm]))


@contextmanager
def issuing() -> Iterator[Issuer]:
    """A provider that listens."""
    state = Issuer()

    class Handler(BaseHTTPRequestHandler):
        """Answers as the provider says."""

        def do_GET(self) -> None:
            """Answer."""
            status, told = state.answer(self.path)
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_told: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """A provider for all tests."""
    with issuing() as one:
        yield one


def write_roles(home: Path, issuer: Issuer, **more: str) -> None:
    """Ann operates one model."""
    (home / "configs").mkdir(parents=True, exist_ok=True)
    oidc = {"issuer": issuer.url, "audience": AUDIENCE, **more}
    people = {"*": {"admin": ["ada"]}, MODEL: {"operator": [f"oidc:{ANN}"], "approver": ["oidc:ben"]}}
    (home / "configs" / "roles.yaml").write_text(json.dumps({"roles": people, "oidc": oidc}))


@pytest.fixture
def access(tmp_path: Path, issuer: Issuer) -> AccessControl:
    """Roles with a provider."""
    issuer.down, issuer.jwks = False, ""
    write_roles(tmp_path, issuer)
    return AccessControl(Settings(tmp_path, tmp_path, "", "", "", "secret"))


def act(access: AccessControl, token: str, action: Action = Action.ROLLBACK, model: str = MODEL) -> str:
    """Who acts, as the journal will say."""
    return access.check_token(f"Bearer {token}", action, model)


def test_a_person_may_do_what_their_role_may(access: AccessControl, issuer: Issuer) -> None:
    """The journal names the person; what the role does not allow is refused, and so is a person without a role."""
    assert act(access, issuer.token()) == f"oidc:{ANN}"
    for refused in (
        lambda: act(access, issuer.token(), Action.APPROVE),
        lambda: act(access, issuer.token(), model="other"),
        lambda: act(access, issuer.token(email="eve@example.com")),
        lambda: act(access, issuer.token(email="ada")),  # an account of the host is no person of the provider
        lambda: act(access, issuer.token(email="oidc:" + ANN)),
    ):
        with pytest.raises(Forbidden):
            refused()


def _changed(token: str) -> str:
    """The same token for another person, with the old signature."""
    head, claims, signature = token.split(".")
    told = json.loads(base64.urlsafe_b64decode(claims + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**told, "email": "eve@example.com"}).encode()).rstrip(b"=").decode()
    return f"{head}.{forged}.{signature}"


def _unsigned(token: str) -> str:
    """The same claims with the algorithm `none`."""
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{head}.{token.split('.')[1]}."


def _encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _shared(issuer: Issuer) -> str:
    """A token signed with the public key as if it were a shared secret; libraries refuse to make one."""
    claims = issuer.token().split(".")[1]
    signed = f"{_encode(json.dumps({'alg': 'HS256', 'kid': issuer.key.kid}).encode())}.{claims}"
    secret = issuer.key.as_pem(private=False)
    return f"{signed}.{_encode(hmac.digest(secret, signed.encode(), 'sha256'))}"


def _critical(issuer: Issuer) -> str:
    """A token whose head asks for an extension that has to be understood."""
    _, claims, signature = issuer.token().split(".")
    head = {"alg": "RS256", "kid": issuer.key.kid, "crit": ["exp"], "exp": 1}
    return f"{_encode(json.dumps(head).encode())}.{claims}.{signature}"


HOUR = 3600
FORGED: dict[str, Callable[[Issuer], str]] = {
    "signed by another key": lambda it: it.token(RSAKey.generate_key(2048, {"kid": "one"})),
    "unknown key id": lambda it: it.token(RSAKey.generate_key(2048, {"kid": "two"})),
    "no algorithm": lambda it: _unsigned(it.token()),
    "public key as a secret": _shared,
    "changed claims": lambda it: _changed(it.token()),
    "cut signature": lambda it: it.token()[:-20],
    "no signature": lambda it: it.token().rpartition(".")[0] + ".",
    "expired": lambda it: it.token(iat=int(time.time()) - 2 * HOUR, exp=int(time.time()) - HOUR),
    "not yet valid": lambda it: it.token(nbf=int(time.time()) + HOUR),
    "issued in the future": lambda it: it.token(iat=int(time.time()) + HOUR, exp=int(time.time()) + 2 * HOUR),
    "no end": lambda it: it.token(exp=None),
    "end is a text": lambda it: it.token(exp="never"),
    "end is true": lambda it: it.token(exp=True),
    "no time of issue": lambda it: it.token(iat=None),
    "lives for a week": lambda it: it.token(exp=int(time.time()) + 7 * 24 * HOUR),
    "another issuer": lambda it: it.token(iss="https://login.example.com"),
    "no issuer": lambda it: it.token(iss=None),
    "another audience": lambda it: it.token(aud="another-client"),
    "no audience": lambda it: it.token(aud=None),
    "for several, given to another": lambda it: it.token(aud=[AUDIENCE, "another"], azp="another"),
    "for several, given to none": lambda it: it.token(aud=[AUDIENCE, "another"]),
    "no person": lambda it: it.token(email=None),
    "empty person": lambda it: it.token(email="  "),
    "person is a list": lambda it: it.token(email=[ANN]),
    "person with a line break": lambda it: it.token(email=f"{ANN}\nada"),
    "address not verified": lambda it: it.token(email_verified=False),
    "far too long": lambda it: it.token(more="x" * 20_000),
    "no JSON": lambda _: "a.b.c",
    "dots alone": lambda _: "..",
    "critical extension": _critical,
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_token_that_does_not_count_is_refused_and_recorded(
    access: AccessControl, issuer: Issuer, tmp_path: Path, kind: str
) -> None:
    """Each forged, stale or malformed token is refused in one line, which the access log has."""
    with pytest.raises(TokenInvalid) as refused:
        act(access, FORGED[kind](issuer))
    assert "\n" not in str(refused.value)
    assert (tmp_path / ACCESS_LOG).read_text().count("refused: ") == 1


def test_several_audiences_are_taken_when_it_was_given_to_us(access: AccessControl, issuer: Issuer) -> None:
    """A token for two parties counts where `azp` names this one."""
    assert act(access, issuer.token(aud=[AUDIENCE, "another"], azp=AUDIENCE)) == f"oidc:{ANN}"


def test_keys_that_the_provider_has_changed_are_found(
    access: AccessControl, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of keys tokens of the new ones count, those of the old ones do not; forged ones ask rarely."""
    old = issuer.key
    assert act(access, issuer.token())
    asked = issuer.asked
    for _ in range(20):
        with pytest.raises(TokenInvalid):
            act(access, issuer.token(RSAKey.generate_key(2048, {"kid": "x"})))
    assert issuer.asked == asked, "a stranger must not have the provider asked at will"
    issuer.key = ECKey.generate_key("P-256", {"kid": "three", "use": "sig"})
    monkeypatch.setattr(identity_tokens, "_AGAIN_S", 0.0)
    try:
        assert act(access, issuer.token(algorithm="ES256")) == f"oidc:{ANN}"
        with pytest.raises(TokenInvalid):
            act(access, issuer.token(old))
    finally:
        issuer.key = old


def test_a_provider_that_is_down(
    access: AccessControl, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known keys count on for a day; without known keys the error says that an access token works, and it does."""
    assert act(access, issuer.token())
    issuer.down = True
    monkeypatch.setattr(identity_tokens, "_FRESH_S", 0.0)
    monkeypatch.setattr(identity_tokens, "_AGAIN_S", 0.0)
    assert act(access, issuer.token()) == f"oidc:{ANN}"
    fresh = AccessControl(Settings(tmp_path, tmp_path, "", "", "", "secret"))
    with pytest.raises(Unavailable, match="an access token of surefoot works without it"):
        act(fresh, issuer.token())
    monkeypatch.setattr(identity_tokens, "_KEPT_S", 0.0)
    with pytest.raises(Unavailable):
        act(access, issuer.token())


@pytest.mark.parametrize("keys", ["http://keys.example.com/keys", "ftp://x/keys", "file:///etc/passwd"])
def test_keys_come_from_an_encrypted_address(access: AccessControl, issuer: Issuer, keys: str) -> None:
    """Keys at an address that another host could answer for are not fetched."""
    issuer.jwks = keys
    with pytest.raises(Unavailable, match="not encrypted"):
        act(access, issuer.token())


def test_the_file_of_roles_says_what_is_wrong_with_a_provider(
    access: AccessControl, issuer: Issuer, tmp_path: Path
) -> None:
    """An issuer that is not encrypted is refused with file and line; without a provider tokens of one are refused."""
    write_roles(tmp_path, replace_url(issuer, "http://login.example.com"))
    with pytest.raises(PolicyInvalid, match="https"):
        act(access, issuer.token())
    (tmp_path / "configs" / "roles.yaml").write_text('{"roles": {"*": {"admin": ["ada"]}}}')
    with pytest.raises(TokenInvalid, match="names no identity provider"):
        act(access, issuer.token())


def replace_url(issuer: Issuer, url: str) -> Issuer:
    """The same provider elsewhere."""
    made = Issuer()
    made.key, made.url = issuer.key, url
    return made


@given(text=st.text(max_size=60), parts=st.lists(st.binary(max_size=30), min_size=3, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_is_anything_but_refused(access: AccessControl, text: str, parts: list[bytes]) -> None:
    """Whatever stands behind `Bearer`, the answer is that it does not count."""
    encoded = ".".join(base64.urlsafe_b64encode(part).decode() for part in parts)
    for given_text in (text, f"{text}.{text}.{text}", encoded):
        with pytest.raises(SurefootError):
            act(access, given_text)


def test_a_rollback_over_http_is_journalled_in_the_persons_name(emergency: Emergency, issuer: Issuer) -> None:
    """An operator of the provider rolls back through the controller's interface; a forged token changes nothing."""
    issuer.down, issuer.jwks = False, ""
    emergency.config = replace(emergency.config, page=f"http://127.0.0.1:{free_port()}")
    emergency.config.save()
    write_roles(emergency.home, issuer)
    emergency.ramp()
    url = f"{emergency.config.page}/api/models/{MODEL}/rollback"

    def ask(token: str) -> httpx.Response:
        return local_http.post(url, headers={"authorization": f"Bearer {token}"}, json={"reason": "slow"}, timeout=60.0)

    with serve_status_page(emergency.config):
        head = emergency.journal.heads()
        assert ask(_changed(issuer.token())).status_code == 401
        assert ask(issuer.token(email="eve@example.com")).status_code == 403
        assert emergency.journal.heads() == head
        done = ask(issuer.token())
        assert (done.status_code, done.json()["actor"]) == (200, f"oidc:{ANN}")
    assert emergency.live().weight == 0.0
    assert f"oidc:{ANN}" in {entry.actor for entry in emergency.journal.read(MODEL)}
