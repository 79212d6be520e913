"""What strangers read is true: README, CHANGELOG and the how-tos name commands that exist, links that lead somewhere, and tables
that say what the code says. That a command's shown answer is real cannot be tested here; that it is well-formed can.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App, CycloptsError

from disburse import __version__
from disburse.api.rest_orders import DETAILS
from disburse.cli.main import make_app
from disburse.connectors.intellectmoney_settings import IntellectMoneySettings
from disburse.connectors.sandbox_rules import RULES
from disburse.domain.payout import PayoutState
from disburse.protocols.events import TYPES, decode_event, encode_event
from disburse.protocols.intellectmoney_answers import IN_PROGRESS, STATE_WORDS
from disburse.protocols.intellectmoney_sign import sign
from disburse.protocols.unitpay import Code, Status
from disburse.protocols.webhooks import ID, SIGNATURE, TIMESTAMP, headers_of, write_secret
from disburse.settings import Settings
from tests.house.sources import ROOT
from tests.house.test_files import OF_A_MACHINE, OF_A_REGISTRY

HOW_TOS = (
    "rest", "unitpay", "intellectmoney", "intellectmoney-upstream", "operate", "sandbox", "routing", "connectors", "write-a-connector",
    "doubt", "two-houses", "chaos", "webhooks", "high-availability", "limits", "registries", "client",
)  # fmt: skip
PAGES = ("README.md", "CHANGELOG.md", *(f"docs/how-to/{name}.md" for name in HOW_TOS))
LINKED = (*PAGES, "docs/architecture.md", "docs/glossary.md", "docs/decisions/0006-two-steps.md", "docs/decisions/0011-certificates.md",
          "docs/decisions/0013-a-witness-accepts-a-failover.md")  # fmt: skip

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^()\s]+)\)")
_COMMAND = re.compile(r"""(?<![\w/.-])disburse((?: +(?:[^\s|;&<>()`"']+|"[^"\n]*"|'[^'\n]*'))+)""")


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def fences(page: str, *kinds: str) -> list[str]:
    return [body for kind, body in _FENCE.findall(text_of(page)) if kind in kinds]


def prose(page: str) -> str:
    return _FENCE.sub("", text_of(page))


def table(page: str, first_heading: str) -> list[str]:
    """The first cells of the table whose first heading is this one."""
    found = re.search(rf"^\| {re.escape(first_heading)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text_of(page), re.MULTILINE)
    assert found is not None, f"{page} has no table that begins with {first_heading}"
    return [row.split("|")[1].strip() for row in found[1].splitlines()]


def source(pattern: str) -> str:
    files = sorted((ROOT / "src/disburse").glob(pattern))
    assert files
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


# --- commands ----------------------------------------------------------------------------------------------------


def commands(page: str) -> Iterator[list[str]]:
    """Every `disburse ...` in a console or sh block and in a code span, as its words without the first."""
    texts = [body.replace("\\\n", " ") for body in fences(page, "console", "sh")] + _SPAN.findall(prose(page))
    for text in texts:
        for match in _COMMAND.finditer(re.sub(r"#.*|[0-9]?>>? ?\S+", "", text)):  # no comments, no redirections
            yield shlex.split(match[1].strip())


def fault(app: App, words: list[str]) -> str | None:
    """Why the program would not take these words; None when it would. A command named alone needs no arguments."""
    if words == ["--help"]:
        return None
    asks_for_help = words[-1] == "--help"
    chain, _, left = app.parse_commands(words[:-1] if asks_for_help else words)
    if not chain:
        return "there is no such command"
    if not left:
        return None
    if asks_for_help:
        return "there is no such command"
    try:
        app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return " ".join(str(error).split())
    return None


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists(page: str) -> None:
    """Every command that a page names is one that the program takes, with these arguments and options."""
    app = make_app()
    wrong = [f"{' '.join(words)}: {why}" for words in commands(page) if (why := fault(app, words)) is not None]
    assert wrong == []


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["payout", "explain", "x"],
        ["merchant", "set", "1", "--no-such-option", "2"],
        ["merchant", "set", "1", "--payouts", "perhaps"],
        ["top-up", "1", "10.00"],
        ["keys", "rotate", "--to", "x"],
        ["nothing", "--help"],
    ],
)
def test_a_wrong_command_is_found(words: list[str]) -> None:
    """The check above knows a command, an option and an argument that do not exist."""
    assert fault(make_app(), words) is not None


def test_the_pages_use_most_commands() -> None:
    """Every command of the program is named on some page."""
    named = {words[0] for page in PAGES for words in commands(page)}
    named |= set(re.findall(r"`([a-z-]+)`", text_of("CHANGELOG.md")))
    known = {name for name in make_app() if not name.startswith("-")}
    assert known <= named


# --- links and words ---------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made from their text."""
    headings = re.findall(r"^#+ +(.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED)
def test_every_link_leads_somewhere(page: str) -> None:
    """Every link between pages leads to a file that exists, and to a heading that it has."""
    lost = []
    for target in _LINK.findall(prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_a_machine_or_registry(page: str) -> None:
    """No page names a place of the machine it was written on, or the host of a package registry."""
    text = text_of(page)
    assert OF_A_MACHINE.findall(text) + OF_A_REGISTRY.findall(text) + re.findall(r"/[t]mp/", text) == []


def test_readme_begins_with_five_lines_and_two_commands() -> None:
    """README says what this is in five lines, then names the two commands."""
    title, what, two, first = text_of("README.md").split("\n\n")[:4]
    assert title == "# Disburse"
    assert len(what.splitlines()) == 5
    assert two == "## Two commands"
    assert re.findall(r"^(make \w+)", first, re.MULTILINE) == ["make demo", "make test"]


@pytest.mark.parametrize("page", PAGES)
def test_every_word_of_make_exists(page: str) -> None:
    """Every `make` word that a page names is in the Makefile."""
    known = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    spans = fences(page, "sh", "console") + _SPAN.findall(prose(page))
    named = {word for span in spans for word in re.findall(r"(?:^|[\n$] ?)make ([a-z]+)", span)}
    assert named <= known


def test_changelog_tells_of_this_version() -> None:
    """CHANGELOG has a section for the version that the package has."""
    assert f"## {__version__}\n" in text_of("CHANGELOG.md")


# --- tables that the code knows better ---------------------------------------------------------------------------


def test_settings_are_those_of_the_program() -> None:
    """The table of settings names each setting once, and nothing else."""
    named = [name for cell in table("docs/how-to/operate.md", "setting") for name in _SPAN.findall(cell)]
    assert sorted(named) == sorted(Settings.__struct_fields__)


def test_environment_variables_are_read() -> None:
    """Every DISBURSE_ variable on a page is a setting, or one of the three that are read beside them."""
    named = {name for page in PAGES for name in re.findall(r"\bDISBURSE_([A-Z_]*[A-Z])\b", text_of(page))}
    assert named <= {name.upper() for name in Settings.__struct_fields__} | {"SETTINGS", "OPERATOR", "DEBUG"}


def test_unitpay_codes_are_those_we_emit() -> None:
    """The table of UnitPay's codes lists exactly those that the door can answer."""
    emitted = {int(Code[name]) for name in re.findall(r"\bCode\.([A-Z_]+)", source("api/unitpay*.py"))}
    assert {int(cell) for cell in table("docs/how-to/unitpay.md", "code")} == emitted


def test_unitpay_statuses_are_all_there() -> None:
    """The table of statuses lists each of them."""
    assert {cell.strip("`") for cell in table("docs/how-to/unitpay.md", "`status`")} == {str(one) for one in Status}


def test_intellectmoney_refusals_are_those_we_emit() -> None:
    """The table of refusals lists exactly the short codes that the door can answer."""
    emitted = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+|REFUSED)"', source("api/intellectmoney*.py")))
    listed = " ".join(table("docs/how-to/intellectmoney.md", "code"))
    assert set(re.findall(r"`\[([A-Z_]+)\]`", listed)) == emitted


def test_intellectmoney_states_are_all_there() -> None:
    """The table of state words lists each word that can go out."""
    listed = " ".join(table("docs/how-to/intellectmoney.md", "state"))
    assert set(_SPAN.findall(listed)) == {*STATE_WORDS.values(), IN_PROGRESS}


def test_intellectmoney_upstream_keys_are_all_there() -> None:
    """The page on paying through IntellectMoney lists the keys of its connector, and what each state comes to."""
    page = "docs/how-to/intellectmoney-upstream.md"
    assert [cell.strip("`") for cell in table(page, "key")] == list(IntellectMoneySettings.__struct_fields__)
    listed = " ".join(table(page, "the provider says"))
    assert {*STATE_WORDS.values(), IN_PROGRESS} <= set(_SPAN.findall(listed))


def test_rest_states_and_rails_are_all_there() -> None:
    """The page on REST lists each state, and each rail with the fields that its destination needs."""
    page = "docs/how-to/rest.md"
    assert set(_SPAN.findall(" ".join(table(page, "`state`")))) == {str(state) for state in PayoutState}
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", text_of(page), re.MULTILINE)
    assert {rail: _SPAN.findall(fields) for rail, fields in rows} == DETAILS


def test_the_signed_example_is_right() -> None:
    """The worked example's Sign is the digest of the text above it."""
    found = re.search(r"^(\S+::OutSbp::\S+)\n(?:\$.*\n)+?([0-9a-f]{64})$", text_of("docs/how-to/intellectmoney.md"), re.M)
    assert found is not None
    assert sign(found[1].split("::")) == found[2]
    assert len(found[1].split("::")) == 10


def test_the_banks_ways_are_all_there() -> None:
    """The sandbox page lists each amount that has a rule."""
    listed = {int(cell[1:3]) for cell in table("docs/how-to/sandbox.md", "amount")}
    assert listed == {0, *RULES}


def test_figures_are_measured() -> None:
    """Every figure in the table of metrics is one that the program tells."""
    cells = " ".join(table("docs/how-to/operate.md", "figure"))
    told = set(re.findall(r'"(disburse_[a-z_]+)"', source("api/metrics.py")))
    assert {name.removesuffix("_total") for name in _SPAN.findall(cells)} <= told


@pytest.mark.parametrize("page", PAGES)
def test_shown_json_is_whole(page: str) -> None:
    """Every line of an answer that begins as JSON is JSON, perhaps with an HTTP status behind it."""
    decoder = json.JSONDecoder()
    for body in fences(page, "console"):
        for line in body.splitlines():
            if line.startswith(('{"', '["')):
                _, end = decoder.raw_decode(line)
                assert re.fullmatch(r"(?: [0-9]{3})?", line[end:]), line


def test_the_types_of_events_are_all_there() -> None:
    """The page on webhooks lists each type of event, and its example is one."""
    page = "docs/how-to/webhooks.md"
    listed = [name for cell in table(page, "type") for name in _SPAN.findall(cell)]
    assert sorted(listed) == sorted(TYPES)
    (shown,) = fences(page, "json")
    event = decode_event(shown.encode())
    assert json.loads(encode_event(event)) == json.loads(shown)
    assert [cell.strip("`") for cell in table(page, "header")] == [ID, TIMESTAMP, SIGNATURE]


def test_the_receiver_that_is_shown_works() -> None:
    """The page's own few lines believe what we sign, and nothing that was changed, is old, or is signed by another."""
    (code,) = fences("docs/how-to/webhooks.md", "python")
    names: dict[str, Any] = {}
    exec(compile(code, "webhooks.md", "exec"), names)
    key, other, at = b"k" * 32, b"o" * 32, 1_700_000_000
    believed, secret = names["believed"], write_secret(key)
    for keys in ([key], [other, key]):
        headers = headers_of(keys, "evt_1_1", at, b"{}")
        assert believed(secret, headers, b"{}", at + 299)
        assert not believed(secret, headers, b"{ }", at) and not believed(secret, headers, b"{}", at + 301)
    assert not believed(write_secret(other), headers_of([key], "evt_1_1", at, b"{}"), b"{}", at)
