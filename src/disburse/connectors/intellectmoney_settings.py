"""Settings of a connector of the kind `intellectmoney`: what may be set, and what of it does not fit together.

Lives here: the keys, their bounds, and which secrets a generation needs. Secrets are in no repr, and `check` reveals none:
`reveal` does, when they are first needed. Nothing acts here. Sources: docs/protocols/intellectmoney.md sections 1, 2, 4, 5 and 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from disburse.connectors.kind import Http, Secret
from disburse.domain.destinations import Rail
from disburse.domain.money import DIGITS
from disburse.domain.refusals import Refusal
from disburse.protocols.intellectmoney import Generation
from disburse.protocols.intellectmoney_client import Access

RAILS: Final = {
    Generation.OLD: frozenset({Rail.CARD, Rail.QIWI}),
    Generation.NEW: frozenset({Rail.CARD, Rail.SBP}),
}
"""What each generation's create methods can pay to (section 6)."""

TOKEN_LIFE_S: Final = 300.0
"""A token is kept so long at most (section 4)."""

_SECRETS = ("login", "password", "bearer", "sign_secret_key")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class BadIntellectMoneySettings(Refusal):
    """The settings of an IntellectMoney connector do not fit together."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"The settings of this IntellectMoney connector are wrong: {'; '.join(faults)}.")


class IntellectMoneySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`base_url` ends before /personal. `rails` narrows what the generation can do: cards need the access level PCI DSS.

    `carrier`: how parameters travel, by default a form on old paths and JSON on new ones. `token_s`: how long a token is kept.
    `execute_again_after_s`: an operation that is still not executed so long after it was first seen so is executed again; None:
    never. `decisions`: a decision table in the place of ours. `sandbox`: no real money moves there (needed for TST).
    Of the secrets `login` is one too: together with a guessed password it opens the account.
    """

    base_url: str = "https://api.intellectmoney.ru"
    generation: Literal["new", "old"] = "new"
    login: Secret
    password: Secret
    bearer: Secret | None = None
    sign_secret_key: Secret | None = None
    eshop_id: int | None = None
    carrier: Literal["form", "json"] | None = None
    qivi_spelling: bool = False
    rails: tuple[str, ...] | None = None
    currencies: tuple[str, ...] = ("RUB",)
    token_s: float = TOKEN_LIFE_S
    execute_again_after_s: float | None = 60.0
    decisions: str | None = None
    sandbox: bool = False
    http: Http = Http()

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name not in _SECRETS}
        return f"IntellectMoneySettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def family(self) -> Generation:
        return Generation(self.generation)

    def able_rails(self) -> frozenset[Rail]:
        """What this connector pays to."""
        able = RAILS[self.family]
        return able if self.rails is None else frozenset(rail for rail in able if str(rail) in self.rails)


def check(settings: IntellectMoneySettings) -> None:
    """Raises BadIntellectMoneySettings with all that is wrong; no value of a secret is in it."""
    faults = [*_of_the_address(settings.base_url), *_of_access(settings), *_of_reach(settings)]
    if not 0 < settings.token_s <= TOKEN_LIFE_S:
        faults.append(f"token_s is more than 0 and at most {TOKEN_LIFE_S:g}")
    again = settings.execute_again_after_s
    if again is not None and not 0 <= again < math.inf:
        faults.append("execute_again_after_s is a number of seconds")
    if faults:
        raise BadIntellectMoneySettings(faults)


@dataclass(frozen=True, slots=True)
class Revealed:
    """The secrets in clear. `access` is what signed calls need; None without it."""

    login: str = field(repr=False)
    password: str = field(repr=False)
    access: Access | None = field(repr=False)


def reveal(settings: IntellectMoneySettings) -> Revealed:
    """Read the secrets. Raises what reading one raises, and BadIntellectMoneySettings for one that can be none; no value is in it."""
    found = {name: secret.reveal() for name in _SECRETS if (secret := getattr(settings, name)) is not None}
    faults = [f"{name} is empty" for name, value in found.items() if not value]
    faults += [
        f"{name} holds a character that cannot be printed: a line's end, perhaps"
        for name, value in found.items()
        if not value.isprintable()
    ]
    if faults:
        raise BadIntellectMoneySettings(faults)
    signed = "bearer" in found
    access = Access(found["bearer"], found["sign_secret_key"]) if signed else None
    return Revealed(found["login"], found["password"], access)


def _of_the_address(base_url: str) -> list[str]:
    try:
        parts = urlsplit(base_url)
        host, has_port = parts.hostname, parts.port is None or parts.port > 0
    except ValueError:
        return ["base_url is no URL"]
    if parts.scheme not in ("http", "https") or not host or not has_port or parts.query or parts.fragment:
        return ["base_url is no URL such as https://api.intellectmoney.ru"]
    if parts.username is not None or parts.password is not None:
        return ["base_url carries no login: use the keys for it"]
    if parts.scheme == "http" and host not in _LOOPBACK:
        return ["base_url is https: what is sent holds secrets and cards"]
    return []


def _of_access(settings: IntellectMoneySettings) -> list[str]:
    both = ("bearer", "sign_secret_key")
    given = [name for name in both if getattr(settings, name) is not None]
    if settings.family is Generation.NEW and len(given) < 2:
        return [f"{name} is missing: the new generation needs it" for name in both if name not in given]
    return ["bearer and sign_secret_key go together"] if len(given) == 1 else []


def _of_reach(settings: IntellectMoneySettings) -> list[str]:
    able = sorted(str(rail) for rail in RAILS[settings.family])
    faults = [
        f"rail {rail} is none of the {settings.generation} generation ({', '.join(able)})"
        for rail in settings.rails or ()
        if rail not in able
    ]
    faults += [f"currency {one} is not known" for one in settings.currencies if one not in DIGITS]
    faults += [f"currency {one} has not two decimals" for one in settings.currencies if DIGITS.get(one, 2) != 2]
    if not settings.currencies or not settings.able_rails():
        faults.append("without a rail and a currency nothing can be paid")
    if "TST" in settings.currencies and not settings.sandbox:
        faults.append("TST is test money: it needs sandbox = true")
    if settings.eshop_id is not None and not 0 <= settings.eshop_id < 10**10:
        faults.append("eshop_id is a number of at most ten digits")
    return faults
