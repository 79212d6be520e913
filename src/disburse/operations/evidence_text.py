"""Words of evidence as they are kept: a provider's texts made fit for a column, and what a verdict says beyond its kind."""

from __future__ import annotations

import hashlib

from disburse.domain.outcomes import Accepted, Rejected, Returned, Settled, Verdict, VouchedNotMoved, VouchedPaid

LONGEST_TEXT = 500
"""Characters kept of any text a provider sends; with four bytes each they still fit into an index."""


def fit_to_keep(text: str) -> str:
    """A foreign text as PostgreSQL can store and index it: no NUL, no half of a character, not too long. Unlike texts stay unlike."""
    if text.isascii() and len(text) <= LONGEST_TEXT and "\0" not in text:
        return text
    kept = text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    if len(kept) <= LONGEST_TEXT:
        return kept
    return f"{kept[: LONGEST_TEXT - 67]}...{hashlib.sha256(kept.encode()).hexdigest()}"


def describe(verdict: Verdict) -> str:
    """What a verdict says beyond its kind, short and without secrets."""
    match verdict:
        case Settled(amount=amount):
            return amount.text() + " " + amount.currency if amount else ""
        case Returned(event_id=event, amount=amount):
            return f"{event} {amount.text() + ' ' + amount.currency if amount else ''}".strip()
        case Rejected(reason=reason, elsewhere=elsewhere):
            return reason + (" (another route may do)" if elsewhere else "")
        case Accepted():
            return ""
        case VouchedPaid(request=request) | VouchedNotMoved(request=request):
            return request
        case _:
            return verdict.why
