"""The UnitPay mass-payout protocol, both directions: our server reads calls and writes answers, our connector the reverse.

This page is the way in; it holds the names others use and the magic of the test mode. The parts stand beside it:

* `unitpay_call.py`: where a call's method and parameters stand in a request (GET or POST, nested, flat, JSON), one value a name;
* `unitpay_messages.py`: one typed message for each method, read from a call, written as a request;
* `unitpay_codes.py`: error codes, statuses, and what they say to people;
* `unitpay_answers.py`: what our server answers;
* `unitpay_upstream.py`: what the provider answers to us.

May not live in any of them: I/O, clocks, what an amount or a card must look like (the domain reads those texts), who may ask,
and what an answer proves about money. Source of every fact: the project's page `unitpay.md`; vectors in `tests/vectors/unitpay`.

The door's order, which keeps the idempotency rules (section 3): `decode_call`, `read_credentials` and authenticate,
`read_mass_payment_status` (login, secretKey, transactionId: all that a repeat must carry) and look the id up, and only for an id
never seen `read_mass_payment`.
"""

from __future__ import annotations

from disburse.protocols.unitpay_answers import (
    CONTENT_TYPE,
    UNITPAY_TIME,
    Bank,
    BinInfo,
    PayoutAnswer,
    answer,
    encode_available_amount,
    encode_banks,
    encode_bin_info,
    encode_commissions,
    encode_error,
    encode_partner,
    encode_payout,
)
from disburse.protocols.unitpay_call import PATH, Call, decode_call, encode_call
from disburse.protocols.unitpay_codes import (
    Code,
    Language,
    Status,
    code_text,
    nothing_found_text,
    parameter_text,
    status_text,
)
from disburse.protocols.unitpay_messages import (
    METHODS,
    Credentials,
    GetBinInfo,
    GetPartner,
    GetSbpBankList,
    MassPayment,
    MassPaymentAvailableAmount,
    MassPaymentCommissions,
    MassPaymentStatus,
    Question,
    clean_comment,
    clean_purse,
    encode_question,
    read_credentials,
    read_get_bin_info,
    read_get_partner,
    read_get_sbp_bank_list,
    read_mass_payment,
    read_mass_payment_available_amount,
    read_mass_payment_commissions,
    read_mass_payment_status,
    read_question,
    read_transaction_id,
)
from disburse.protocols.unitpay_upstream import (
    Answer,
    AvailableAmount,
    ErrorAnswer,
    PartnerBalance,
    PayoutResult,
    ResultAnswer,
    Unreadable,
    available_amount_of,
    banks_of,
    bin_info_of,
    commissions_of,
    decode_answer,
    partner_of,
    payout_of,
)

__all__ = [
    "CONTENT_TYPE",
    "METHODS",
    "PATH",
    "UNITPAY_TIME",
    "Answer",
    "AvailableAmount",
    "Bank",
    "BinInfo",
    "Call",
    "Code",
    "Credentials",
    "ErrorAnswer",
    "GetBinInfo",
    "GetPartner",
    "GetSbpBankList",
    "Language",
    "MassPayment",
    "MassPaymentAvailableAmount",
    "MassPaymentCommissions",
    "MassPaymentStatus",
    "PartnerBalance",
    "PayoutAnswer",
    "PayoutResult",
    "Question",
    "ResultAnswer",
    "Status",
    "Unreadable",
    "answer",
    "available_amount_of",
    "banks_of",
    "bin_info_of",
    "clean_comment",
    "clean_purse",
    "code_text",
    "commissions_of",
    "decode_answer",
    "decode_call",
    "encode_available_amount",
    "encode_banks",
    "encode_bin_info",
    "encode_call",
    "encode_commissions",
    "encode_error",
    "encode_partner",
    "encode_payout",
    "encode_question",
    "nothing_found_text",
    "parameter_text",
    "partner_of",
    "payout_of",
    "read_credentials",
    "read_get_bin_info",
    "read_get_partner",
    "read_get_sbp_bank_list",
    "read_mass_payment",
    "read_mass_payment_available_amount",
    "read_mass_payment_commissions",
    "read_mass_payment_status",
    "read_question",
    "read_transaction_id",
    "status_text",
    "test_mode_question",
    "test_mode_status",
]

_TEST_IDS = {"F12358132134": Status.SUCCESS, "F383117770": Status.ERROR}


def test_mode_status(transaction_id: str) -> Status:
    """What massPayment answers with test=1 and the test key: the id alone decides, nothing is stored (section 10)."""
    return _TEST_IDS.get(transaction_id, Status.NOT_COMPLETED)


def test_mode_question(transaction_id: str) -> Status | None:
    """What massPaymentStatus answers in test mode; None is an error answer, since nothing was stored (section 10)."""
    return _TEST_IDS.get(transaction_id)
