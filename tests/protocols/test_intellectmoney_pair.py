"""Our client against our server: whatever message is sent, in either generation and any carrier, the same is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.protocols.intellectmoney import Generation, Method, decode_call, find_method
from disburse.protocols.intellectmoney_client import Access, Carrier, encode_call, method_of
from disburse.protocols.intellectmoney_messages import (
    CreateCard,
    CreateOperation,
    CreateWallet,
    Execute,
    GetState,
    GetUserToken,
    Message,
    PreferenceType,
    read_message,
)
from disburse.protocols.intellectmoney_sign import verify_sign
from disburse.protocols.wire import Malformed, WireRequest, trim

TOKENS = st.text("ABCxyz019+/=", min_size=1, max_size=88)
PANS = st.text("0123456789", min_size=12, max_size=20)
ACCOUNTS = st.text("0123456789", min_size=10, max_size=15)
AMOUNTS = st.from_regex(r"[0-9]{1,10}\.[0-9]{2}", fullmatch=True)
CURRENCIES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3)
NAMES = st.none() | st.text(st.characters(exclude_categories=["C", "Z"]), min_size=2, max_size=50).filter(
    str.isprintable
)
CREDENTIALS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=40).filter(lambda t: trim(t) == t)
GUIDS = st.uuids().map(str)

MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(GetUserToken, CREDENTIALS, CREDENTIALS),
    st.builds(CreateCard, TOKENS, PANS, AMOUNTS, CURRENCIES, NAMES, st.booleans()),
    st.builds(CreateWallet, TOKENS, ACCOUNTS, AMOUNTS, CURRENCIES, NAMES),
    st.builds(
        CreateOperation,
        user_token=TOKENS,
        preference_type=st.just(PreferenceType.OUT_BANK_CARD),
        pan=PANS,
        amount=AMOUNTS,
        currency=CURRENCIES,
        recipient_name=NAMES,
        eshop_id=st.none() | st.integers(0, 10**9),
    ),
    st.builds(
        CreateOperation,
        user_token=TOKENS,
        preference_type=st.just(PreferenceType.OUT_SBP),
        account=ACCOUNTS,
        bank_id=st.text("0123456789", min_size=1, max_size=12),
        amount=AMOUNTS,
        currency=CURRENCIES,
        recipient_name=NAMES,
    ),
    st.builds(Execute, TOKENS, GUIDS),
    st.builds(GetState, TOKENS, GUIDS),
)
ACCESS = Access("808e1cc4", "signSecret0")


@given(
    message=MESSAGES,
    generation=st.sampled_from(Generation),
    carrier=st.none() | st.sampled_from(Carrier),
    qivi=st.booleans(),
)
def test_what_our_client_sends_our_server_reads(
    message: Message, generation: Generation, carrier: Carrier | None, qivi: bool
) -> None:
    """The message, the method, the generation, the Bearer and the Sign all arrive."""
    request = encode_call(message, generation, access=ACCESS, carrier=carrier, qivi_spelling=qivi)
    call = decode_call(request)
    assert read_message(call) == message
    assert call.method is method_of(message)
    assert call.generation is generation or call.method is Method.GET_USER_TOKEN
    assert (call.bearer, call.wants_json) == (ACCESS.bearer, True)
    assert verify_sign(call, ACCESS.sign_secret_key)
    assert not verify_sign(call, "other")


@given(message=MESSAGES, generation=st.sampled_from(Generation), carrier=st.sampled_from(Carrier))
def test_nothing_secret_is_printed(message: Message, generation: Generation, carrier: Carrier) -> None:
    """No repr on the way holds a card, a token or the key."""
    request = encode_call(message, generation, access=ACCESS, carrier=carrier)
    printed = repr((message, request, decode_call(request), ACCESS))
    assert ACCESS.bearer not in printed and ACCESS.sign_secret_key not in printed
    if isinstance(message, CreateCard | CreateOperation) and message.pan is not None:
        assert message.pan not in printed


@pytest.mark.parametrize(
    "message, generation, path, kind",
    [
        (GetUserToken("u", "p"), Generation.OLD, "/personal/user/getUserToken", Carrier.FORM),
        (GetUserToken("u", "p"), Generation.NEW, "/personal/user/getUserToken", Carrier.FORM),
        (CreateCard("t", "4" * 16, "50", "RUB"), Generation.OLD, "/personal/payout/CreateBankCardRussiaOperation", Carrier.FORM),
        (CreateWallet("t", "7" * 11, "50", "RUB"), Generation.OLD, "/personal/payout/CreateQiwiWalletOperation", Carrier.FORM),
        (Execute("t", "g"), Generation.OLD, "/personal/payout/ExecuteOperation", Carrier.FORM),
        (Execute("t", "g"), Generation.NEW, "/personal/payout/executeOperation", Carrier.JSON),
        (GetState("t", "g"), Generation.OLD, "/personal/payout/GetOperationState", Carrier.FORM),
        (GetState("t", "g"), Generation.NEW, "/personal/payout/getOperationState", Carrier.JSON),
    ],
)  # fmt: skip
def test_paths_and_content_types(message: Message, generation: Generation, path: str, kind: Carrier) -> None:
    """Names are written as each page writes them: forms on the old paths, JSON on the new, the Qiwi spelling."""
    request = encode_call(message, generation)
    assert (request.method, request.path, request.headers["content-type"]) == ("POST", path, kind.value)
    assert find_method(path) is not None
    assert {"authorization", "sign"}.isdisjoint(request.headers)


def test_new_paths_get_two_decimals() -> None:
    """The new pages demand two decimals; the old ones are sent what we were given."""
    message = CreateCard("t", "4" * 16, "50", "RUB")
    assert b"Amount=50&" in encode_call(message, Generation.OLD).body
    assert b'"Amount":"50.00"' in encode_call(message, Generation.NEW).body


PATHS = st.sampled_from(["/personal/user/getUserToken"] + [
    "/personal/payout/" + name for name in ("CreateQiviWalletOperation", "createOperation", "ExecuteOperation", "getOperationState")
])  # fmt: skip
KINDS = st.sampled_from(["", "application/json", "application/xml", "application/x-www-form-urlencoded"])
SCRAPS = st.lists(
    st.sampled_from([b"UserToken", b"Pan", b"Amount", b"=", b"&", b"%", b"%0A", b"\n", b"<", b">", b"/", b"{", b"}", b'"', b":", b",",
                     b"<r>", b"</r>", b"<Pan>", b"</Pan>", b"1", b"\\ud800", b"\xff", b" ", b"+", b"[", b"null", b"-1e9"]),
    max_size=24,
).map(b"".join)  # fmt: skip


@given(path=PATHS, kind=KINDS, query=SCRAPS, body=SCRAPS | st.binary(max_size=40))
def test_any_bytes_are_read_or_malformed(path: str, kind: str, query: bytes, body: bytes) -> None:
    """Nothing but Malformed is ever raised, and a Sign can be checked on whatever was read."""
    request = WireRequest("POST", path, query, {"content-type": kind, "sign": "a"}, body)
    try:
        call = decode_call(request)
        verify_sign(call, "key")
        read_message(call)
    except Malformed:
        pass
