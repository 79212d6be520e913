"""The UnitPay connector: pays through UnitPay's mass payouts, or whatever speaks that protocol (ours does).

Lives here: the connector and its settings. What an answer looks like is in `protocols/unitpay_upstream.py`, what it proves in
`unitpay_reading.py` and the table `unitpay_table.py`. Source: docs/protocols/unitpay.md, its driver side.

What the page promises, and so what the capabilities say: a known transactionId is never paid again, and no end of that is
named, so a repeat of our id is harmless for ever. It can be asked by our id. It calls nobody back. That an id is not known is
no proof that it will not be paid. Nothing is said of two calls with one id at the same moment; the engine leaves time between.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from disburse.connectors.contract import Bank, Callback, Capabilities, Hear, Order, Question
from disburse.connectors.kind import (
    Bounds,
    Http,
    Kind,
    Secret,
    Surroundings,
    Tariff,
    by_rail_and_currency,
    fees_by_rail,
)
from disburse.connectors.transport import MOST_BYTES, HttpTransport
from disburse.connectors.unitpay_reading import Reading, read_order_answer, read_status_answer, shows_nothing
from disburse.connectors.unitpay_simulator import simulate
from disburse.domain.destinations import Destination, Rail
from disburse.domain.money import BadAmount, Money, read_amount
from disburse.domain.outcomes import Absent, Accepted, Finding, NotSent, Outcome, Rejected, Settled, Unknown
from disburse.protocols import unitpay
from disburse.protocols.unitpay_upstream import LARGEST
from disburse.protocols.wire import WireAnswer, WireRequest

CURRENCY: Final = "RUB"
RAILS: Final = (Rail.CARD, Rail.SBP, Rail.WEBMONEY, Rail.USDT)
"""The seed's four kinds of payment (Q18)."""

KEY_REST_S: Final = 60.0
"""After our key was refused no order is sent for so long: it would be refused too, and a provider may lock us out."""

_LOOKS: Final = 2
"""How often an id is asked about that was refused: the first question may meet a connection that just broke."""

_PROBE_SUM: Final = "1.00"
_LOOPBACK: Final = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1")


class BalanceProbe(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A destination of our own, which the question for the available amount must name (unitpay.md section 6)."""

    payment_type: str
    purse: Secret
    sum: str = _PROBE_SUM


class UnitPaySettings(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The keys of `[connectors.NAME]` with `kind = "unitpay"`.

    `login` is the account's e-mail, `secret_key` the account's key (not a project's). `spelling` and `http_method`: how calls
    go out (Q8). `balance_probe`: ask for the amount that is available to this destination; without it for the account's.
    """

    login: str
    secret_key: Secret
    url: str = "https://unitpay.ru/api"
    spelling: Literal["nested", "flat"] = "nested"
    http_method: Literal["GET", "POST"] = "GET"
    project_id: str | None = None
    rails: Annotated[tuple[Rail, ...], Meta(min_length=1)] = RAILS
    limits: dict[Rail, Bounds] = {}
    fees: dict[Rail, Tariff] = {}
    balance_probe: BalanceProbe | None = None
    http: Http = Http()


class UnitPayConnector:
    """One account at UnitPay. Made by `make`; the transport is closed by whoever made it."""

    def __init__(self, name: str, settings: UnitPaySettings, around: Surroundings, transport: HttpTransport) -> None:
        self._name = name
        self._settings = settings
        self._clock = around.clock
        self._alert = around.alert
        self._transport = transport
        self._origin, self._path = _split(settings.url)
        self._capabilities = _capabilities(settings)
        self._rest_until = -math.inf

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def start(self, hear: Hear) -> None:
        """Read the key and the files that connections need. Raises what reading them raises. UnitPay tells nothing unasked."""
        self._settings.secret_key.reveal()
        if self._settings.balance_probe is not None:
            self._settings.balance_probe.purse.reveal()
        self._transport.open()

    async def stop(self) -> None:
        """Nothing runs."""

    async def submit(self, order: Order) -> Outcome:
        """massPayment with our end-to-end id as transactionId, once. A refusal by code is confirmed by a question."""
        if self._clock.monotonic() < self._rest_until:
            return NotSent("resting, since the provider does not take our key")
        if order.amount.currency != CURRENCY or order.destination.rail not in self._settings.rails:
            return NotSent("this connector does not carry such orders")
        ends = self._clock.monotonic() + order.deadline_s
        answer = await self._ask(_mass_payment(order, self._settings, self._credentials()), order.deadline_s)
        if not isinstance(answer, WireAnswer):
            return answer
        reading = read_order_answer(answer, order)
        if isinstance(reading.finding, Rejected) and reading.code is not None:
            reading = await self._confirmed(reading, order.end_to_end_id, ends)
        self._tell(reading)
        if isinstance(reading.outcome, Absent):
            self._rest_until = self._clock.monotonic() + KEY_REST_S
        return reading.outcome

    async def _confirmed(self, refusal: Reading, end_to_end_id: str, ends: float) -> Reading:
        """A refusal by code, once the provider shows nothing under the id; doubt where it cannot be asked.

        The page: in the answer to a repeat such a code proves nothing, since the provider may look at balance or limits before
        it looks the id up. We send once; but a gateway may repeat a GET by itself, and a database that was restored may have
        forgotten that it sent. The first copy would then be paid, and the second refused for want of the money it cost.
        """
        message = unitpay.MassPaymentStatus(self._credentials(), end_to_end_id)
        for looks_left in range(_LOOKS, 0, -1):
            left_s = (ends - self._clock.monotonic()) / looks_left
            answer = await self._ask(message, left_s)
            if not isinstance(answer, WireAnswer):
                continue
            known = read_status_answer(answer, Question(end_to_end_id, None, left_s))
            if isinstance(known.finding, Settled | Accepted | Rejected):
                return replace(known, alert="refused_and_known", code=refusal.code)
            if shows_nothing(answer):
                return refusal
        return replace(refusal, finding=Unknown(f"refused with {refusal.code}, and nobody told whether the id is known"))

    async def inquire(self, question: Question) -> Finding:
        """massPaymentStatus, by our id."""
        message = unitpay.MassPaymentStatus(self._credentials(), question.end_to_end_id)
        answer = await self._ask(message, question.deadline_s)
        if isinstance(answer, NotSent):
            return Unknown(answer.why)
        if not isinstance(answer, WireAnswer):
            return answer
        reading = read_status_answer(answer, question)
        self._tell(reading)
        return reading.finding

    async def read_callback(self, request: WireRequest, deadline_s: float) -> Callback | None:
        """Nothing: payouts have no callback, so whoever calls is not UnitPay (section 2)."""
        return None

    async def balance(self, deadline_s: float) -> tuple[Money, ...] | Unknown:
        """massPaymentAvailableAmount for the probe's destination; without a probe, what getPartner says can be paid out."""
        probe = self._settings.balance_probe
        question: unitpay.Question
        if probe is None:
            question = unitpay.GetPartner(self._credentials())
        else:
            question = unitpay.MassPaymentAvailableAmount(
                self._credentials(), probe.sum, probe.purse.reveal(), probe.payment_type
            )
        result = await self._result(question, deadline_s)
        if isinstance(result, Unknown):
            return result
        text: str | None
        currency = CURRENCY
        if probe is None:
            text = unitpay.partner_of(result).available
        else:
            told = unitpay.available_amount_of(result)
            text, currency = told.amount, told.currency or CURRENCY
        return _funds(text, currency)

    async def banks(self, deadline_s: float) -> tuple[Bank, ...] | Unknown:
        """getSbpBankList, as it comes."""
        result = await self._result(unitpay.GetSbpBankList(self._credentials()), deadline_s, LARGEST)
        if isinstance(result, Unknown):
            return result
        return tuple(Bank(bank.member_id, bank.name, bank.name_en) for bank in unitpay.banks_of(result))

    async def _result(
        self, question: unitpay.Question, deadline_s: float, most_bytes: int = MOST_BYTES
    ) -> unitpay.ResultAnswer | Unknown:
        """The result of a question that is about no order."""
        answer = await self._ask(question, deadline_s, most_bytes)
        if not isinstance(answer, WireAnswer):
            return Unknown(answer.why)
        match unitpay.decode_answer(answer.body, answer.status):
            case unitpay.ResultAnswer() as result:
                return result
            case unitpay.ErrorAnswer(code=code):
                return Unknown(f"error {code}")
            case unitpay.Unreadable(why=why):
                return Unknown(why)

    async def _ask(
        self, question: unitpay.Question, deadline_s: float, most_bytes: int = MOST_BYTES
    ) -> WireAnswer | NotSent | Unknown:
        settings = self._settings
        call = unitpay.encode_question(
            question, nested=settings.spelling == "nested", http_method=settings.http_method, path=self._path
        )
        url = f"{self._origin}{call.path}" + (f"?{call.query.decode('ascii')}" if call.query else "")
        return await self._transport.send(
            call.method, url, headers=call.headers, body=call.body or None, deadline_s=deadline_s, most_bytes=most_bytes
        )

    def _credentials(self) -> unitpay.Credentials:
        return unitpay.Credentials(self._settings.login, self._settings.secret_key.reveal())

    def _tell(self, reading: Reading) -> None:
        if reading.alert is not None:
            self._alert(self._name, reading.alert, reading.code, reading.version)


def _mass_payment(order: Order, settings: UnitPaySettings, credentials: unitpay.Credentials) -> unitpay.MassPayment:
    to: Destination = order.destination
    return unitpay.MassPayment(
        credentials=credentials,
        transaction_id=order.end_to_end_id,
        sum=order.amount.text(),
        purse=to.number,
        payment_type=str(to.rail),
        member_id=to.bank if to.rail is Rail.SBP else None,
        project_id=settings.project_id,
    )


def _funds(text: str | None, currency: str) -> tuple[Money, ...] | Unknown:
    if text is None or currency != CURRENCY:
        return Unknown("an answer without an amount of roubles")
    negative = text.startswith("-")
    try:
        amount = read_amount(text.removeprefix("-"), CURRENCY)
    except BadAmount as bad:
        return Unknown(str(bad))
    return (-amount if negative else amount,)


def _capabilities(settings: UnitPaySettings) -> Capabilities:
    return Capabilities(
        rails=frozenset(settings.rails),
        currencies=frozenset((CURRENCY,)),
        deduplicates_for_s=math.inf,
        status_by_our_id=True,
        two_step=False,
        not_found_final_after_s=None,
        callbacks=False,
        balance=True,
        bank_list=True,
        limits=by_rail_and_currency(settings.limits, CURRENCY),
        fees=fees_by_rail(settings.fees, CURRENCY),
    )


def _split(url: str) -> tuple[str, str]:
    """Origin and path. Raises ValueError for an address to which a key and card numbers must not be sent."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("url is not an address") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment or not host:
        raise ValueError("url is https://HOST/PATH, without a name, a password or a question mark")
    if parts.scheme != "https" and not (parts.scheme == "http" and _LOOPBACK.fullmatch(host)):
        raise ValueError("url must begin with https://; plain http is for this machine alone")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else ""), parts.path or unitpay.PATH


def make(name: str, settings: UnitPaySettings, around: Surroundings) -> UnitPayConnector:
    """A connector of these settings. Raises ValueError for those that cannot be right."""
    strange = [str(rail) for rail in settings.rails if rail not in RAILS]
    if strange:
        raise ValueError(f"UnitPay does not pay to {', '.join(strange)}")
    if not settings.login:
        raise ValueError("login is empty")
    return UnitPayConnector(name, settings, around, around.transport(settings.http))


KIND: Final = Kind(UnitPaySettings, make, simulator=simulate)
