"""Tokens come back from their text; damaged ones are told from wrong ones; secrets stay hidden."""

from __future__ import annotations

import traceback

import pytest
from ampacity.protocol.addresses import parse_address, parse_listen
from ampacity.protocol.errors import TokenDamaged
from ampacity.protocol.ids import parse_group, show_group
from ampacity.protocol.tokens import Token, parse_token, secret_hash
from hypothesis import assume, example, given
from hypothesis import strategies as st

from .amounts import examples

URL_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

tokens = st.builds(
    Token,
    st.sampled_from(["worker", "client"]),
    st.binary(min_size=32, max_size=32),
    st.text(URL_SAFE, min_size=8, max_size=24),
    st.binary(min_size=17, max_size=48),
)


@given(token=tokens, before=st.sampled_from(["", " ", "\n"]), after=st.sampled_from(["", "\r\n"]))
def test_a_token_comes_back_from_its_text(token: Token, before: str, after: str) -> None:
    assert parse_token(before + token.reveal() + after) == token


@given(token=tokens, data=st.data())
def test_every_cut_is_damage(token: Token, data: st.DataObject) -> None:
    text = token.reveal()
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    with pytest.raises(TokenDamaged):
        parse_token(cut)


@given(token=tokens, data=st.data())
def test_every_changed_letter_is_damage(token: Token, data: st.DataObject) -> None:
    text = token.reveal()
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from(URL_SAFE + ". "))
    assume(letter != text[place])
    changed = text[:place] + letter + text[place + 1 :]
    assume(changed.strip() != text)
    with pytest.raises(TokenDamaged):
        parse_token(changed)


@given(token=tokens, data=st.data())
def test_any_other_character_anywhere_is_damage(token: Token, data: st.DataObject) -> None:
    """In the place of one, before it, twice, or two of them the other way round."""
    text = token.reveal()
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters() | st.sampled_from("\u212a\u017f\uff21\u0660=+/%\0\n "))
    how = data.draw(st.sampled_from(["instead", "besides", "twice", "swapped", "none", "case"]))
    middle = {
        "instead": other,
        "besides": other + text[place],
        "twice": text[place] * 2,
        "swapped": text[place : place + 2][::-1],
        "none": "",
        "case": text[place].swapcase(),
    }[how]
    changed = text[:place] + middle + text[place + (2 if how == "swapped" else 1) :]
    assume(changed.strip() != text)
    with pytest.raises(TokenDamaged) as caught:
        parse_token(changed)
    assert_keeps(token, caught.value)


def assert_keeps(token: Token, error: BaseException) -> None:
    """Nothing of an error, its causes included, shows as much as eight characters of the secret."""
    said = "".join(traceback.format_exception(error, chain=True)) + repr(error)
    said = "\n".join(line for line in said.splitlines() if not line.startswith('  File "'))
    secret = token.reveal().split(".")[4]
    assert not any(secret[k : k + 8] in said for k in range(len(secret) - 7))


PLACES = ["{}", "host:{}", "{}:8786", "tcp:{}", "unix:{}", "/x/{}", "[{}]", "[::1]{}", "user@{}"]


@examples(200)
@given(
    token=tokens,
    place=st.sampled_from([*PLACES, "host:8786 {}", "host#{}", "{}#{}", "unix:/x#{}"]),
    broken=st.sampled_from(["", " ", "\n", "\r\n  ", "#", "/", "\0"]),
    data=st.data(),
)
@example(token=Token("worker", b"h" * 32, "abcdefgh", b"s" * 32), place="{}", broken="", data=None)
@example(
    # the half of a token that came after a line's end was repeated
    token=Token("worker", b"h" * 32, "abcdefgh", bytes(range(32))), place="{}", broken="\n",
    data=None,
)  # fmt: skip
def test_a_token_at_the_wrong_place_is_no_host_and_is_not_repeated(
    token: Token, place: str, broken: str, data: st.DataObject | None
) -> None:
    """A host would be shown to every name server."""
    text = token.reveal()
    at = data.draw(st.integers(6, len(text) - 1)) if data is not None else 80
    text = place.replace("{}", text[:at] + broken + text[at:])
    for parse in (parse_address, parse_listen):
        try:
            parsed = parse(text)
        except (ValueError, TokenDamaged) as e:
            assert_keeps(token, e)
        else:
            assert token.reveal().rsplit(".", 3)[0] not in str(parsed)


@given(text=st.text(max_size=200))
@example("amp1.worker." + "A" * 43 + ".abcdefgh." + "A" * 43 + ".AAAAAAAA")
@example("amp1.operator." + "A" * 43 + ".abcdefgh." + "A" * 43 + ".AAAAAAAA")
@example("amp2.worker")
@example("")
def test_anything_else_is_no_token_and_is_not_repeated(text: str) -> None:
    with pytest.raises(TokenDamaged) as caught:
        parse_token(text)
    assert len(text.strip()) < 12 or text.strip() not in str(caught.value)


@given(token=tokens)
def test_the_secret_shows_nowhere_but_in_reveal(token: Token) -> None:
    assume(token.secret not in token.key_hash)
    secret = token.reveal().split(".")[4]
    for shown in (str(token), repr(token), f"{token}", f"{[token]}"):
        assert secret not in shown
        assert repr(token.secret) not in shown
    assert token.secret.hex() not in secret_hash(token.secret)


@given(token=tokens)
def test_a_token_goes_with_an_address(token: Token) -> None:
    assert parse_address(f"host:1#{token.reveal()}").token == token


ODD = st.sampled_from(["unix:", "tcp:", "/", "[", "]", ":", "#", "@", "\0", "\x1b", "1", "a", "٣"])


@examples(200)
@given(text=st.text(max_size=60) | st.lists(ODD | st.text(max_size=4), max_size=9).map("".join))
@example("unix:/a\0b")  # was taken, and failed when it was connected to
@example("/a\0b")
def test_an_address_or_a_sentence(text: str) -> None:
    for parse in (parse_address, parse_listen):
        try:
            parsed = parse(text)
        except (ValueError, TokenDamaged) as e:
            assert str(e).isprintable()
            assert len(str(e)) < 2 * len(repr(text)) + 150
        else:
            assert "\0" not in str(parsed)


@given(text=st.text("[]:.#/ abc019²", max_size=20))
@example(text="/ /")
def test_an_address_that_is_taken_can_be_shown_and_taken_again(text: str) -> None:
    try:
        address = parse_address(text)
    except (ValueError, TokenDamaged):
        return
    assert parse_address(str(address)) == address


@given(group=st.integers(1, 10**18 - 1))
def test_a_group_is_written_as_it_is_read(group: int) -> None:
    assert show_group(parse_group(f"g{group}")) == f"g{group}"


@pytest.mark.parametrize("text", ["g", "g0", "g01", "3", "G3", "g3 ", "g-1", "g" + "9" * 19, "g²"])
def test_what_is_no_group_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="a group is written like g3"):
        parse_group(text)
