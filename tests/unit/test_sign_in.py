"""Links, cookies and form tokens of the status page hold for their purpose, their person and their time only."""

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from surefoot.status_page.sign_in import (
    LINK_LIFE_S,
    SESSION_LIFE_S,
    find_signed_in_person,
    form_token,
    is_valid_form_token,
    make_link_key,
    make_session_cookie,
)

NOW = 1_700_000_000.0
NAMES = st.text(min_size=1, max_size=40)


@given(NAMES, st.floats(0.0, LINK_LIFE_S - 1.0), st.floats(0.0, SESSION_LIFE_S - 1.0))
def test_a_link_opens_a_session_of_its_person(name: str, wait: float, later: float) -> None:
    """Within its ten minutes a link gives a cookie, which names its person for twelve hours."""
    cookie = make_session_cookie("secret", make_link_key("secret", name, NOW), NOW + wait)
    assert cookie is not None
    person = find_signed_in_person("secret", cookie, NOW + wait + later)
    assert person is not None
    assert person.name == name


@given(NAMES, st.data())
def test_what_was_altered_signs_in_no_person(name: str, data: st.DataObject) -> None:
    """A key or a cookie with one other character signs in no person."""
    key = make_link_key("secret", name, NOW)
    cookie = make_session_cookie("secret", key, NOW) or ""
    for is_cookie, text in ((False, key), (True, cookie)):
        place = data.draw(st.integers(0, len(text) - 1))
        other = data.draw(st.sampled_from([one for one in "aB3.-_é" if one != text[place]]))
        altered = text[:place] + other + text[place + 1 :]
        assert (
            find_signed_in_person("secret", altered, NOW) if is_cookie else make_session_cookie("secret", altered, NOW)
        ) is None


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    """What a stranger writes into a link or a cookie signs in no person, and raises nothing."""
    assert make_session_cookie("secret", text, NOW) is None
    assert find_signed_in_person("secret", text, NOW) is None
    assert not is_valid_form_token("secret", "cookie", text)


def test_each_text_serves_its_own_purpose_only() -> None:
    """A key is no cookie, a cookie is no key, another secret signs nothing, and both end."""
    key = make_link_key("secret", "ada", NOW)
    cookie = make_session_cookie("secret", key, NOW) or ""
    assert find_signed_in_person("secret", key, NOW) is None
    assert make_session_cookie("secret", cookie, NOW) is None
    assert make_session_cookie("other", key, NOW) is None
    assert find_signed_in_person("other", cookie, NOW) is None
    assert make_session_cookie("secret", key, NOW + LINK_LIFE_S) is None
    assert find_signed_in_person("secret", cookie, NOW + SESSION_LIFE_S) is None


def test_a_payload_without_a_signature_is_refused() -> None:
    """A person who writes the payload himself lacks the signature."""
    payload = base64.urlsafe_b64encode(json.dumps({"name": "eve", "until": NOW * 2}).encode()).decode().rstrip("=")
    assert find_signed_in_person("secret", f"{payload}.{'0' * 64}", NOW) is None


def test_a_form_belongs_to_its_session() -> None:
    """The token of a form is that of one cookie under one secret."""
    token = form_token("secret", "one")
    assert is_valid_form_token("secret", "one", token)
    assert not is_valid_form_token("secret", "two", token)
    assert not is_valid_form_token("other", "one", token)
