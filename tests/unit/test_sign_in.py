"""Links, cookies and form tokens of the status page hold for their purpose, their person and their time only."""

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from surefoot.status_page.sign_in import (
    LINK_LIFE_S,
    SESSION_LIFE_S,
    form_token,
    is_form_token,
    make_link_key,
    open_session,
    signed_in,
)

NOW = 1_700_000_000.0
NAMES = st.text(min_size=1, max_size=40)


@given(NAMES, st.floats(0.0, LINK_LIFE_S - 1.0), st.floats(0.0, SESSION_LIFE_S - 1.0))
def test_a_link_opens_a_session_of_its_person(name: str, wait: float, later: float) -> None:
    """Within its ten minutes a link gives a cookie, which names its person for twelve hours."""
    cookie = open_session("secret", make_link_key("secret", name, NOW), NOW + wait)
    assert cookie is not None
    person = signed_in("secret", cookie, NOW + wait + later)
    assert person is not None
    assert person.name == name


@given(NAMES, st.data())
def test_what_was_altered_signs_in_no_person(name: str, data: st.DataObject) -> None:
    """A key or a cookie with one other character signs in no person."""
    key = make_link_key("secret", name, NOW)
    cookie = open_session("secret", key, NOW) or ""
    for is_cookie, text in ((False, key), (True, cookie)):
        place = data.draw(st.integers(0, len(text) - 1))
        other = data.draw(st.sampled_from([one for one in "aB3.-_é" if one != text[place]]))
        altered = text[:place] + other + text[place + 1 :]
        assert (signed_in("secret", altered, NOW) if is_cookie else open_session("secret", altered, NOW)) is None


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    """What a stranger writes into a link or a cookie signs in no person, and raises nothing."""
    assert open_session("secret", text, NOW) is None
    assert signed_in("secret", text, NOW) is None
    assert not is_form_token("secret", "cookie", text)


def test_each_text_serves_its_own_purpose_only() -> None:
    """A key is no cookie, a cookie is no key, another secret signs nothing, and both end."""
    key = make_link_key("secret", "ada", NOW)
    cookie = open_session("secret", key, NOW) or ""
    assert signed_in("secret", key, NOW) is None
    assert open_session("secret", cookie, NOW) is None
    assert open_session("other", key, NOW) is None
    assert signed_in("other", cookie, NOW) is None
    assert open_session("secret", key, NOW + LINK_LIFE_S) is None
    assert signed_in("secret", cookie, NOW + SESSION_LIFE_S) is None


def test_a_payload_without_a_signature_is_refused() -> None:
    """A person who writes the payload himself lacks the signature."""
    payload = base64.urlsafe_b64encode(json.dumps({"name": "eve", "until": NOW * 2}).encode()).decode().rstrip("=")
    assert signed_in("secret", f"{payload}.{'0' * 64}", NOW) is None


def test_a_form_belongs_to_its_session() -> None:
    """The token of a form is that of one cookie under one secret."""
    token = form_token("secret", "one")
    assert is_form_token("secret", "one", token)
    assert not is_form_token("secret", "two", token)
    assert not is_form_token("other", "one", token)
