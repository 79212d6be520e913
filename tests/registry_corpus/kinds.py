"""The kinds of rows by name: how a true duplicate happens in life, how an honest repetition does, how often, and what tells them apart.

Lives here: the tables that the README shows and the generator plants by. May not live here: code that draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DUPLICATE_SHARE: Final = 0.015
"""Duplicates among rows, from 10,000 rows on. Audits of payables and payrolls speak of 0.1 to 2 % of payments; files that arrive
after a muddle have more than single orders, so we stand at the upper end. Fewer would make precision rest on too few rows."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`share` is of the duplicates' rows, in hundredths. `sign` is what a payout engine can see that shows the truth."""

    share: int
    story: str
    why: str
    sign: str


DUPLICATES: Final[dict[str, Kind]] = {
    "file_again": Kind(14, "the same file uploaded again under another name, with other references",
        "two people keep one shared folder; the most frequent muddle of all", "destinations, sums and comments of a whole file, days apart at most"),
    "half_after_crash": Kind(11, "a program or upload stopped halfway, and the whole file is sent again",
        "any long upload by hand", "the first rows of the file were ordered minutes before, the others never"),
    "resent_for_few_failures": Kind(10, "some rows failed, and the whole file is sent again instead of them",
        "easier than picking out rows", "rows whose earlier payout is paid; beside them those whose payout failed are honest"),
    "reexport": Kind(10, "the file exported again by another program: separator, encoding, order, spelling, number format",
        "accounting and pay programs side by side", "destination and sum after normalising; the comment's numbers and period"),
    "wrong_month_file": Kind(8, "last month's file sent in place of this month's",
        "files of one name pattern in one folder", "comments name a period that is paid; sums equal last month's to the kopeck, row by row"),
    "card_and_sbp": Kind(8, "the same wage once by card and once by phone, the name written a little otherwise",
        "requisites changed in one list and not in the other", "name nearly equal, same sum, same period, days apart; never so in months before"),
    "hand_then_file": Kind(8, "a colleague pays by hand, and then the file comes",
        "somebody asked for his money early", "same destination, same sum, hours or days apart; numbers or period of the comment"),
    "retry_new_reference": Kind(8, "no answer in time, so the order is sent again with a new reference",
        "naive programs", "minutes apart; the earlier payout is not dead: in flight, in doubt or paid"),
    "two_departments": Kind(5, "one contractor's invoice in the files of two departments, days apart",
        "whoever ordered and whoever keeps the budget", "the invoice's number, and its sum"),
    "kopeck_more": Kind(4, "sent again with some kopecks more, as another program rounds",
        "tax computed per day or per month", "same destination, nearly the same sum, same comment"),
    "fee_more": Kind(3, "sent again with a fee on top", "whoever sends believes that the payee bears a fee",
        "same destination, 0.5 to 4 % or a fixed 30 or 50 roubles more, same period or number"),
    "pasted_twice": Kind(4, "a row stands twice in one file", "copy and paste", "everything equal within one file, the comment too"),
    "new_card_while_paid": Kind(3, "the payee gives another card after the money was sent to the old one",
        "he did not look at his account", "name or number of the comment equal; the earlier payout is paid, not returned"),
    "refund_twice_by_order": Kind(2, "a refund by the shop's program and one by its support", "two desks",
        "the order's number, whatever the destination"),
    "prize_from_two_lists": Kind(2, "a winner stands in the lists of the organiser and of his agency", "two lists", "the ticket's number"),
    "commission_to_two_wallets": Kind(1, "one partner's month paid to both of his wallets", "he wrote to two managers",
        "the partner's ID and the period"),
    "split_then_whole": Kind(1, "paid by hand in two parts, then whole by file", "a limit for single payouts",
        "the number of the invoice; the parts' sum is the whole"),
}  # fmt: skip

HONEST: Final[dict[str, Kind]] = {
    "monthly_wage": Kind(0, "a wage or an advance, often the same sum every month", "employers pay twice a month",
        "the period in the comment, or four weeks and more between bare comments"),
    "advance_and_remainder": Kind(0, "an advance that equals the rest of the wage", "one in five has equal halves",
        "the word for an advance; two weeks between"),
    "two_children_one_card": Kind(0, "two equal sums of alimony to one card in one file", "the law takes a third for two children",
        "another child in the comment"),
    "bonus_equal_to_wage": Kind(0, "a bonus as high as the wage, within four days", "a thirteenth wage", "the word for a bonus"),
    "correction_of_difference": Kind(0, "the difference after a mistake, for the same period or invoice", "mistakes",
        "another sum by far, the word for a difference"),
    "family_one_phone": Kind(0, "two people of a family with one phone, sometimes equal sums", "one SBP phone at home",
        "two full names; among winners also two tickets"),
    "namesakes": Kind(0, "two people of one full name in one file, equal wages", "large employers have such pairs",
        "both destinations side by side in one file, month after month"),
    "brothers": Kind(0, "two brothers or two sisters: one surname and patronymic, equal wages, both new",
        "families work together", "two first names far from each other, in one file"),
    "by_hand_for_another_cause": Kind(0, "travel money, a loan or expenses by hand, as high as the wage that follows within days",
        "round sums meet", "the words of the cause"),
    "halves_on_two_rails": Kind(0, "a wage in two equal parts to card and phone, each month", "a wish of the payee",
        "the part's number in the comment, and months of the same"),
    "test_rouble": Kind(0, "one rouble to new requisites, the real sum a day or two later", "good practice", "the sum"),
    "arrears": Kind(0, "what was left unpaid of a month that was paid", "late papers", "the word, and another sum"),
    "new_destination_next_month": Kind(0, "the next wage to a new card", "cards end", "another period, four weeks"),
    "daily_pay": Kind(0, "the first payout of a courier's day", "piece work", "another shift, route, or day"),
    "courier_many_a_day": Kind(0, "several equal payouts to a courier in one day, in one file", "paid by the shift",
        "shift or route in the comment; under bare comments the same on every day before"),
    "weekly_payment": Kind(0, "an equal sum every Friday", "regular helpers", "the week in the comment, or seven days between bare comments"),
    "refund": Kind(0, "money back for an order", "shops", "the order's number"),
    "two_equal_orders": Kind(0, "two orders of one price by one buyer, both refunded the same day", "gifts", "two orders' numbers"),
    "partial_refunds": Kind(0, "two equal items of one order, refunded apart", "orders of many items", "the item in the comment"),
    "equal_prizes": Kind(0, "one sum to many people; some win in two draws running", "lotteries",
        "other people; another ticket, or a week between bare comments"),
    "two_prizes_one_winner": Kind(0, "two tickets of one winner, equal prizes, one file", "who buys many wins more", "two tickets"),
    "monthly_commission": Kind(0, "a partner's monthly sum", "partner programmes", "the period"),
    "invoice": Kind(0, "a contractor's invoice", "business", "the number"),
    "two_equal_invoices": Kind(0, "two invoices of one sum and one day", "two equal jobs", "two numbers"),
    "split_by_limit": Kind(0, "one invoice in two equal parts in one file", "limits for single payouts", "the part's number"),
    "contract_advance_and_remainder": Kind(0, "half before and half after, some days apart, one number", "contracts",
        "the words for advance and final settlement"),
    "monthly_bill": Kind(0, "a fixed fee for a month", "subscriptions", "the month"),
    "retry_after_failure": Kind(0, "paid again after the first payout failed, was cancelled or came back", "1 to 3 % fail",
        "the earlier payout's state, and nothing else"),
    "new_destination_after_return": Kind(0, "paid to another card after the money came back", "closed accounts",
        "the earlier payout is returned"),
    "failed_row_sent_again": Kind(0, "a failed row within a file that was sent again whole", "see resent_for_few_failures",
        "the earlier payout's state"),
    "rest_of_crashed_file": Kind(0, "the rows that the crash had left unsent", "see half_after_crash", "nothing like it was ever ordered"),
}  # fmt: skip

ORDINARY: Final = frozenset({"daily_pay", "refund", "invoice", "monthly_commission", "rest_of_crashed_file"})
"""Honest kinds that do not even look like a repetition, but for the trade's habits."""
