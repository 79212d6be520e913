"""The transcript holds together: every statement of the pages is bound or listed apart, every test it names is there, the file is fresh."""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest

from tests.conformance import generate
from tests.conformance.bindings import CONNECTORS, Binding, collect_tests, faults, load
from tests.conformance.pages import Statement, read_pages, sentences, split
from tests.conformance.vectors import load as load_vectors

STATEMENTS = read_pages()
BINDINGS, NOTES = load()


def test_everything_fits_together() -> None:
    """Every statement has a class; whatever binds the server has a test, and every test that is named is there."""
    assert faults(STATEMENTS, BINDINGS, collect_tests(), collect_tests(CONNECTORS, frozenset())) == []


def test_the_file_is_fresh() -> None:
    """docs/conformance.md is what the generator makes: run `python -m tests.conformance.generate`."""
    assert generate.PATH.read_text(encoding="utf-8") == generate.document()


def test_every_test_is_named() -> None:
    """Every test that talks to a running server proves some statement, or replays the vectors."""
    named = {test.partition("[")[0] for binding in BINDINGS.values() for test in binding.server}
    assert set(collect_tests()) - named == {f"test_{protocol}_replay.py::test_replay" for protocol in generate.PROTOCOLS}


def test_every_quirk_row_binds() -> None:
    """A row of the quirk tables binds the server, unless its server's column says to ignore the quirk."""
    rows = [one for one in STATEMENTS if "server" in dict(one.cells)]
    assert len(rows) == 33
    for row in rows:
        assert bool(BINDINGS[row.number].server) != dict(row.cells)["server"].startswith("ignore"), row.number


def test_every_vector_is_told_of() -> None:
    """A vector that is not sent is an answer or a file, and every note on vectors belongs to some that are sent."""
    vectors = {f"{protocol}/{name}": v for protocol in generate.PROTOCOLS for name, v in load_vectors(protocol).items()}
    unsent = [vector for vector in vectors.values() if not vector.get("request")]
    assert all("file" in vector or vector["pairing"] == "response only" for vector in unsent)
    for pattern in NOTES:
        assert [name for name, vector in vectors.items() if fnmatchcase(name, pattern) and vector.get("request")], (
            pattern
        )


# --- the checks catch what they should ----------------------------------------------------------------------------

RULE = Statement("U1.7", "unitpay.md", "Transport", "Server: take GET and POST.")
GOOD = Binding("Server: take", ("test_a.py::test_b[c]",), {}, None)
KNOWN = {"test_a.py::test_b": frozenset({"c"})}

WRONG = {
    "unclassified": ({}, "binds nobody"),
    "no-class": ({"U1.7": replace(GOOD, server=())}, "has no class"),
    "server-without-test": ({"U1.7": replace(GOOD, server=(), apart={"source": "why"})}, "says Server and has no test"),
    "no-such-test": ({"U1.7": replace(GOOD, server=("test_a.py::test_x",))}, "which is not there"),
    "no-such-case": ({"U1.7": replace(GOOD, server=("test_a.py::test_b[d]",))}, "has no such case"),
    "no-test-name": ({"U1.7": replace(GOOD, server=("later",))}, "which is not there"),
    "another-text": ({"U1.7": replace(GOOD, says="Server: give")}, "says something else"),
    "no-reason": ({"U1.7": replace(GOOD, apart={"driver": " "})}, "without a reason"),
    "connector-without-driver": ({"U1.7": replace(GOOD, connector=("test_a.py::test_b",))}, "binds no driver"),
    "no-such-connector-test": (
        {"U1.7": replace(GOOD, apart={"driver": "why"}, connector=("test_a.py::test_x",))},
        "which is not there",
    ),
    "left-over": ({"U1.7": GOOD, "U1.8": GOOD}, "is no statement"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_found(case: str) -> None:
    """Each thing that can be wrong between pages, bindings and tests is found and named."""
    bindings, told = WRONG[case]
    assert told in " ".join(faults([RULE], bindings, KNOWN, KNOWN))
    assert faults([RULE], {"U1.7": GOOD}, KNOWN, KNOWN) == []


PAGE = """> Copied from elsewhere. Not a statement.

# Title

A first sentence (with a bracket. And a stop) and `code. Code`. A second one.

| mark | source |
|---|---|
| a | b \\| c |

## 1. One

- Bullet one: text. Server: do this, e.g. that. driver does
- nested:
  - Inner "quoted. text" here. (A remark.) More.

### Under

1. First rule.
2. Second rule! Third?

| x | y |
|---|---|
| 1 | |
## 2. Two
Last.
"""


def test_the_splitter() -> None:
    """Rows, bullets, items and sentences are numbered by section; stops in brackets, quotes, code and abbreviations end nothing."""
    found = [(one.number, one.section, one.text) for one in split(PAGE, "U", "unitpay.md")]
    assert found == [
        ("U0.1", "Sources", "A first sentence (with a bracket. And a stop) and `code. Code`."),
        ("U0.2", "Sources", "A second one."),
        ("U0.3", "Sources", "a | b \\| c"),
        ("U1.1", "One", "Bullet one: text."),
        ("U1.2", "One", "Server: do this, e.g. that."),
        ("U1.3", "One", "driver does"),
        ("U1.4", "One", "nested:"),
        ("U1.5", "One", 'Inner "quoted. text" here.'),
        ("U1.6", "One", "(A remark.)"),
        ("U1.7", "One", "More."),
        ("U1.8", "One: Under", "First rule."),
        ("U1.9", "One: Under", "Second rule!"),
        ("U1.10", "One: Under", "Third?"),
        ("U1.11", "One: Under", "1 | "),
        ("U2.1", "Two", "Last."),
    ]


def test_nothing_of_a_page_is_lost() -> None:
    """Put together again, the statements have every word of the pages but for headings, column names and where they come from."""
    for letter, name in {"U": "unitpay.md", "I": "intellectmoney.md"}.items():
        lines = (generate.PATH.parent / "protocols" / name).read_text(encoding="utf-8").splitlines()
        heads = {index - 1 for index, line in enumerate(lines) if re.fullmatch(r"\|(?:\s*:?-+:?\s*\|)+", line)}
        kept = [line for index, line in enumerate(lines) if not line.startswith(("#", ">")) and index not in heads]
        whole = " ".join(
            re.sub(r"^\s*(?:-|[0-9]+\.) ", "", line) for line in kept if not re.fullmatch(r"[|\-\s]*", line)
        )
        words = re.findall(r"[^\s|]+", whole)
        split_words = [
            word
            for one in STATEMENTS
            if one.page == name and one.number.startswith(letter)
            for word in re.findall(r"[^\s|]+", one.text)
        ]
        assert split_words == words
    assert sentences("One. Two.") == ["One.", "Two."]
