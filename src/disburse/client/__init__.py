"""The client of `/v1`: what a merchant's program imports to pay people. `from disburse.client import Client`, or `BlockingClient`.

To read it in ten minutes: `errors.py` (how a call can end), `asking.py` (what is tried again, and when nobody knows), `calls.py` (what is
asked), `line.py` (one request over the network), `client.py` (the methods), `blocking.py` (the same without asyncio), `receiving.py`
(webhooks). It imports nothing of the product but the messages of `protocols/`, which the server reads and writes with. May not live
here: anything that needs a database, a secret of the installation, or a decision that is the server's.

How it is used is shown in docs/how-to/client.md.
"""

from __future__ import annotations

from disburse.client.asking import NEVER, Retries
from disburse.client.blocking import BlockingClient
from disburse.client.client import Client, new_key
from disburse.client.errors import (
    AppliedBefore,
    BadFile,
    BadRequest,
    BelowMinimum,
    ClientError,
    Denied,
    DestinationRetired,
    Drifted,
    EventsMissing,
    InsufficientFunds,
    KeyReused,
    LimitReached,
    NoAnswer,
    NoRoute,
    NotAllGood,
    NotBegun,
    NotFound,
    OutcomeUnknown,
    Problem,
    ReferenceReused,
    ServerFault,
    TooManyRequests,
    Unauthorized,
    WrongState,
)
from disburse.client.receiving import WebhookReader
from disburse.protocols.events import Event, EventMissing, PayoutSeen, fold
from disburse.protocols.rest_event_messages import ApiKey, ApiKeyMade, NewWebhook, Webhook, WebhookMade
from disburse.protocols.rest_messages import (
    Amount,
    Balance,
    Bank,
    Explanation,
    FeeQuote,
    NewPayout,
    Payout,
    PayoutsAsked,
    Rail,
    ToAccount,
    ToAddress,
    ToCard,
    ToPhone,
    TopUp,
    TopUpsAsked,
    ToPurse,
    ToWallet,
)
from disburse.protocols.rest_payee_messages import NewPayee, Payee, PayeeDestination, PayeesAsked
from disburse.protocols.rest_registry_messages import NewRegistryAsked, Registry, RegistryRow, RegistryRowsAsked
from disburse.protocols.webhooks import BadSecret, NotVerified

__all__ = [
    "NEVER", "Amount", "ApiKey", "ApiKeyMade", "AppliedBefore", "BadFile", "BadRequest", "BadSecret", "Balance", "Bank", "BelowMinimum",
    "BlockingClient", "Client", "ClientError", "Denied", "DestinationRetired", "Drifted", "Event", "EventMissing", "EventsMissing",
    "Explanation", "FeeQuote", "InsufficientFunds", "KeyReused", "LimitReached", "NewPayee", "NewPayout", "NewRegistryAsked",
    "NewWebhook", "NoAnswer", "NoRoute", "NotAllGood", "NotBegun", "NotFound", "NotVerified", "OutcomeUnknown", "Payee",
    "PayeeDestination", "PayeesAsked", "Payout", "PayoutSeen", "PayoutsAsked", "Problem", "Rail", "ReferenceReused", "Registry",
    "RegistryRow", "RegistryRowsAsked", "Retries", "ServerFault", "ToAccount", "ToAddress", "ToCard", "ToPhone", "ToPurse", "ToWallet",
    "TooManyRequests", "TopUp", "TopUpsAsked", "Unauthorized", "Webhook", "WebhookMade", "WebhookReader", "WrongState", "fold",
    "new_key",
]  # fmt: skip
