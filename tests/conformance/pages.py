"""A protocol page as numbered statements. Lives here: the splitter; pure, it knows no protocol and opens no file but a page.

A statement is a data row of a table, or a sentence of a bullet, of a numbered item or of a paragraph. Its number is the page's
letter, the section's number and a running number in the section (`U3.12`); what stands before the first section is section 0.
A page that changes changes numbers, so whoever binds a number repeats the statement's first words (`bindings.toml`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[2] / "docs" / "protocols"
PAGES: Final = {"U": "unitpay.md", "I": "intellectmoney.md"}

_SECTION = re.compile(r"## ([0-9]+)\. (.+)")
_SUBSECTION = re.compile(r"### (.+)")
_ITEM = re.compile(r"\s*(?:-|[0-9]+\.) (.+)")
_RULE = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")
_CELL = re.compile(r"(?<!\\)\|")
_END = re.compile(r"(?:(?<=[.?!])|(?<=[.?!]\)))\s+")
_ABBREVIATIONS = ("e.g.", "i.e.", "etc.", "min.", "max.", "cf.")


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence or table row. `section` is the heading it stands under; `cells` are a row's, by column."""

    number: str
    page: str
    section: str
    text: str
    cells: tuple[tuple[str, str], ...] = ()


def read_pages() -> list[Statement]:
    """The statements of both pages, in order."""
    return [
        statement
        for letter, name in PAGES.items()
        for statement in split((FOLDER / name).read_text(encoding="utf-8"), letter, name)
    ]


def split(text: str, letter: str, page: str) -> list[Statement]:
    """The statements of a page. Lines that begin with `>` tell where the page comes from and are not its own."""
    statements: list[Statement] = []
    section, running = "0", 0
    heading = under = "Sources"
    columns: list[str] = []
    for block in _blocks(text):
        if block.startswith("## "):
            match = _SECTION.fullmatch(block)
            if match is None:
                raise AssertionError(f"a section without a number: {block}")
            section, heading, running, columns = match[1], match[2], 0, []
            under = heading
        elif subsection := _SUBSECTION.fullmatch(block):
            under, columns = f"{heading}: {subsection[1]}", []
        elif block.startswith("|"):
            cells = [cell.strip() for cell in _CELL.split(block)[1:-1]]
            if not columns:
                columns = cells
            elif not _RULE.fullmatch(block):
                running += 1
                row = tuple(zip(columns, cells, strict=True))
                statements.append(Statement(f"{letter}{section}.{running}", page, under, " | ".join(cells), row))
        elif not block.startswith("# "):
            columns = []
            for sentence in sentences(block):
                running += 1
                statements.append(Statement(f"{letter}{section}.{running}", page, under, sentence))
    return statements


def _blocks(text: str) -> Iterator[str]:
    """Headings, rows, items and paragraphs, each on one line; an item without its marker. An empty line ends a table."""
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        item = _ITEM.fullmatch(line)
        if item is None and line.strip() and line[0] not in "#|>":
            paragraph.append(line.strip())
            continue
        if paragraph:
            yield " ".join(paragraph)
            paragraph = []
        if item is not None:
            yield item[1]
        elif line.startswith(("#", "|")):
            yield line.rstrip()


def sentences(text: str) -> list[str]:
    """The sentences of a text: cut behind a full stop that stands neither in brackets, nor in quotes, nor in code."""
    found, start = [], 0
    for end in _END.finditer(text):
        done = text[start : end.start()]
        if _closed(done) and not done.lower().endswith(_ABBREVIATIONS):
            found.append(done)
            start = end.end()
    return [*found, text[start:]]


def _closed(text: str) -> bool:
    plain = re.sub(r"`[^`]*`", "", text)
    return "`" not in plain and plain.count('"') % 2 == 0 and plain.count("(") == plain.count(")")
