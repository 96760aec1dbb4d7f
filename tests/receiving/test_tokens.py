"""Who may deliver: what a stage variable means, as a pure function."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loops import for_each
from support.project import TOKEN

from chalicelib.tokens import NoToken, WrongToken, check_token, variable_name

OTHER = "another-token-that-only-these-tests-use"
ANY_TEXT = st.text(st.characters(exclude_categories=[]), min_size=1)  # lone surrogates as well


def hashed(token: str) -> str:
    return "sha256:" + sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def may_deliver(variables, token, app=None) -> bool:
    try:
        check_token(variables, app, token)
    except WrongToken:
        return False
    return True


UNUSABLE = {
    "empty": "",
    "blank": " \t\r\n",
    "a comma": ",",
    "blank members": " , ,\t",
    "a hash of nothing at all": "sha256:",
    "a hash too short": "sha256:" + "a" * 63,
    "a hash too long": "sha256:" + "a" * 65,
    "a hash with a letter beyond f": "sha256:" + "g" * 64,
    "a hash with a blank in it": "sha256: " + "a" * 64,
    "a hash with digits of another script": "sha256:" + "١" * 64,
    "a hash of the empty string": hashed(""),
    "the same in capitals": "sha256:" + sha256(b"").hexdigest().upper(),
    "several of these": f",sha256:, {hashed('')} ,",
}


@for_each("presented", [None, "", TOKEN, "sha256:", ",", " "])
@for_each("value", UNUSABLE)
def test_a_stage_without_a_usable_token_lets_nobody_deliver(value, presented):
    with pytest.raises(NoToken):
        check_token({"validToken": value}, None, presented)


@pytest.mark.parametrize("presented", [None, "", TOKEN])
@pytest.mark.parametrize("variables", [None, {}, {"validtoken": TOKEN}, {"validToken": None}])
def test_a_stage_without_the_variable_lets_nobody_deliver(variables, presented):
    with pytest.raises(NoToken):
        check_token(variables, None, presented)


@pytest.mark.parametrize(
    "value", [TOKEN, hashed(TOKEN), hashed(TOKEN)[:7] + hashed(TOKEN)[7:].upper()]
)
def test_the_stage_s_token_delivers_however_it_is_written_down(value):
    assert may_deliver({"validToken": value}, TOKEN)


@pytest.mark.parametrize(
    "presented",
    [None, "", " ", OTHER, TOKEN[:-1], TOKEN + "x", TOKEN.upper(), f" {TOKEN}", f"{TOKEN}\n"],
)
def test_anything_else_does_not_deliver(presented):
    assert not may_deliver({"validToken": TOKEN}, presented)
    assert not may_deliver({"validToken": hashed(TOKEN)}, presented)


def test_the_hash_is_no_token_itself():
    """Whoever reads the stage's variables cannot deliver with what stands there."""
    variables = {"validToken": hashed(TOKEN)}

    assert not may_deliver(variables, hashed(TOKEN))
    assert not may_deliver(variables, hashed(TOKEN).removeprefix("sha256:"))


@pytest.mark.parametrize("value", ["old,new", " old , new ", "old,,new,", "sha256:bad,old,new"])
def test_while_a_token_is_rotated_the_old_and_the_new_one_deliver(value):
    variables = {"validToken": value}

    assert may_deliver(variables, "old")
    assert may_deliver(variables, "new")
    assert not may_deliver(variables, value)
    assert not may_deliver(variables, "")


def test_seven_hashed_members_fit_into_a_stage_variable_and_all_of_them_deliver():
    tokens = [f"token-{number}" for number in range(7)]
    value = ",".join(map(hashed, tokens))

    assert len(value) <= 512
    assert all(may_deliver({"validToken": value}, token) for token in tokens)


def test_plain_and_hashed_members_mix():
    variables = {"validToken": f"{TOKEN},{hashed(OTHER)}"}

    assert may_deliver(variables, TOKEN)
    assert may_deliver(variables, OTHER)


@pytest.mark.parametrize("token", ["tökén", "鍵", "🔑", "\ud83d", "a\x00b", "\udcff\udcfe"])
def test_tokens_need_not_be_ascii_nor_even_proper_text(token):
    assert may_deliver({"validToken": token}, token)
    assert may_deliver({"validToken": hashed(token)}, token)
    assert not may_deliver({"validToken": TOKEN}, token)
    assert not may_deliver({"validToken": token}, TOKEN)


def test_letters_that_only_look_alike_are_different():
    assert not may_deliver({"validToken": "caf\u00e9"}, "cafe\u0301")


@given(token=ANY_TEXT, other=ANY_TEXT)
def test_a_hashed_member_lets_exactly_its_own_token_deliver(token, other):
    variables = {"validToken": hashed(token)}

    assert may_deliver(variables, token)
    assert may_deliver(variables, other) == (other == token)


@given(value=ANY_TEXT, presented=ANY_TEXT)
def test_nothing_that_is_set_or_presented_raises_anything_else(value, presented):
    try:
        may_deliver({"validToken": value}, presented)
    except NoToken:
        assert not may_deliver({"validToken": f"{value},{TOKEN}"}, "")


@pytest.mark.parametrize(
    ("app", "name"),
    [
        (None, "validToken"),
        ("sendgrid", "validToken_sendgrid"),
        ("Shop", "validToken_Shop"),
        ("my-shop", "validToken_my__shop"),
        ("my_shop", "validToken_my_shop"),
        ("a-b_c-d", "validToken_a__b_c__d"),
    ],
)
def test_an_app_s_own_variable_has_its_name_with_two_underscores_for_a_dash(app, name):
    assert variable_name(app) == name


def test_two_apps_never_share_a_variable():
    assert variable_name("my-shop") != variable_name("my_shop")
    assert variable_name("Shop") != variable_name("shop")


def test_an_app_with_tokens_of_its_own_takes_no_others():
    variables = {"validToken": TOKEN, "validToken_my__shop": OTHER}

    assert may_deliver(variables, OTHER, app="my-shop")
    assert not may_deliver(variables, TOKEN, app="my-shop")
    assert not may_deliver(variables, OTHER, app="my_shop")
    assert not may_deliver(variables, OTHER, app="My-shop")
    assert not may_deliver(variables, OTHER)
    assert may_deliver(variables, TOKEN, app="my_shop")


def test_an_app_s_own_token_needs_none_for_the_stage():
    variables = {"validToken_shop": TOKEN}

    assert may_deliver(variables, TOKEN, app="shop")
    with pytest.raises(NoToken):
        check_token(variables, "other", TOKEN)


@pytest.mark.parametrize("value", [*UNUSABLE.values(), None], ids=[*UNUSABLE, "null"])
def test_an_app_whose_own_variable_is_unusable_is_closed_and_no_other_is(value):
    variables = {"validToken": TOKEN, "validToken_shop": value}

    assert may_deliver(variables, TOKEN, app="other")
    with pytest.raises(NoToken):
        check_token(variables, "shop", TOKEN)
