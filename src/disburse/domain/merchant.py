"""A merchant: whose money is paid out, and what it may do. Making and changing one is `operations/merchants.py`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from disburse.domain.fees import FREE, FeeRule


@dataclass(frozen=True, slots=True)
class Merchant:
    """A merchant as the doors need it. The digests are SHA-256; `sign_key_sealed` is opened by the vault alone.

    `fees` by rail, JSON text of `{rail: [basis points, minimum minor, maximum minor or null]}`; a rail it does not name has
    the installation's fee. `answer_wait_ms`: how long a massPayment call may wait for a final state.
    `limits` and `policies` of approval are JSON text (`domain/limits.py`, `domain/policies.py`); limits count days and months of
    `time_zone`. `execute_unfunded`: payouts that lacked money are executed once there is some.
    """

    shard: int
    merchant_id: int
    name: str
    login: str
    payouts: str
    pci_dss: bool
    require_sign: bool
    sbp_bank: str | None
    answer_wait_ms: int
    payout_id_as_number: bool
    json_by_default: bool
    state_word: str | None
    language: str
    eshop_id: int | None
    project_id: int
    fees: str
    password_digest: bytes
    unitpay_key_digest: bytes
    unitpay_test_key_digest: bytes
    bearer_digest: bytes
    api_key_digest: bytes
    sign_key_sealed: bytes
    time_zone: str = "UTC"
    limits: str = "[]"
    policies: str = "[]"
    execute_unfunded: bool = False

    def __repr__(self) -> str:
        return f"Merchant({self.merchant_id})"

    @property
    def ruled(self) -> bool:
        """Whether limits or policies concern its payouts."""
        return self.limits != "[]" or self.policies != "[]"

    def fee_rule(self, rail: str, installation: Mapping[str, FeeRule]) -> FeeRule:
        """The fee of a rail: the merchant's own, else the installation's, else none."""
        own = _fees(self.fees).get(rail)
        return own if own is not None else installation.get(rail, FREE)


@lru_cache(maxsize=4096)
def _fees(text: str) -> Mapping[str, FeeRule]:
    rules = msgspec.json.decode(text, type=dict[str, tuple[int, int, int | None]])
    return {rail: FeeRule(*rule) for rail, rule in rules.items()}
