"""The data that ships with the package: SBP members as documented, and the file of first six digits."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from disburse.data import BinRow, DataFileError, SbpMember, accepted_member_ids, load_bin_rows, load_sbp_members

HEADER = "bin,bank,country_code,brand,category,type,bank_url,bank_phone"


def test_the_current_members_are_offered() -> None:
    """By default the 192 current members are offered, ordered by id, each id once and each name printable."""
    members = load_sbp_members()
    ids = [member.member_id for member in members]
    assert len(members) == 192
    assert {member.status for member in members} == {"current"}
    assert ids == sorted(set(ids))
    assert all(re.fullmatch("[0-9]{12}", one) for one in ids)
    assert all(member.name.strip() and member.name.isprintable() for member in members)
    assert all(member.name_en.isascii() and member.name_en.strip() for member in members)


def test_the_documented_row() -> None:
    """The first row of the documented answer is among them, word for word."""
    assert load_sbp_members()[0] == SbpMember("100000000001", "Газпромбанк", "Gazprombank", "current")


def test_the_operator_switches_members_on() -> None:
    """A member that is not current, and one the list has never heard of, are offered when settings name them."""
    extra = {"100000000002", "1crt88888881", "100000000001"}
    members = {member.member_id: member for member in load_sbp_members(extra)}
    assert len(members) == 194
    assert members["100000000002"].status == "documented"
    assert members["100000000002"].name_en == "Korona Pay (Credit Union Payment Center)"
    assert members["1crt88888881"] == SbpMember("1crt88888881", "1crt88888881", "1crt88888881", "operator")


def test_every_status_can_be_switched_on() -> None:
    """All 215 rows of the list can be reached, with the numbers of rows its README gives."""
    text = Path(load_bin_rows.__code__.co_filename).with_name("sbp-members.csv").read_text(encoding="utf-8")
    everything = load_sbp_members(line.split(",")[0] for line in text.splitlines()[1:])
    counted = Counter(member.status for member in everything)
    assert counted == {"current": 192, "past": 18, "single-source": 3, "documented": 1, "alias": 1}


def test_vtb_has_two_numbers() -> None:
    """Both numbers of VTB are accepted while it is offered, and neither when it is not."""
    offered = load_sbp_members()
    accepted = accepted_member_ids(offered)
    assert {"100000000005", "110000000005"} <= accepted
    assert accepted - {member.member_id for member in offered} == {"100000000005"}
    without = [member for member in offered if member.member_id != "110000000005"]
    assert not accepted_member_ids(without) & {"100000000005", "110000000005"}


@pytest.mark.parametrize(
    "member_id", ["100000000002", "100000000009", "100000000239", "1crt88888881", "100000000500", ""]
)
def test_others_are_not_accepted_by_default(member_id: str) -> None:
    """Past, doubtful, unknown and test members are not accepted until the operator says so."""
    assert member_id not in accepted_member_ids(load_sbp_members())


def test_the_shipped_bin_row() -> None:
    """The file that ships holds the documented example, with empty text where it says nothing."""
    row = BinRow("477964", "Alfa Bank", "RU", "VISA", "CLASSIC", "", "http://alfabank.com/russia/", "7 495 620-91-91")
    assert load_bin_rows() == {"477964": row}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_operators_bin_file(tmp_path: Path, mark: str, end: str) -> None:
    """An operator's file replaces ours; a byte order mark, Windows line ends, quotes and blank lines do no harm."""
    path = tmp_path / "bins.csv"
    lines = [HEADER, "555555,,BR,MASTERCARD,,CREDIT,,", "", '220000,"Банк ""Мир"", АО",RU,MIR,,DEBIT,,']
    path.write_bytes((mark + end.join(lines)).encode())
    rows = load_bin_rows(path)
    assert rows["555555"] == BinRow("555555", "", "BR", "MASTERCARD", "", "CREDIT", "", "")
    assert rows["220000"].bank == 'Банк "Мир", АО'
    assert len(rows) == 2


@pytest.mark.parametrize(
    "content, faults",
    [
        (b"", ["line 1"]),
        (b"bin,bank\n477964,Alfa\n", ["line 1: the header is not bin,bank,country_code"]),
        (HEADER.encode() + b"\n477964,Alfa\n", ["line 2: has 2 columns, not 8"]),
        (
            HEADER.encode() + b"\n47796,,,,,,,\n4779640,,,,,,,\n",
            ["line 2: bin is not six digits", "line 3: bin is not six digits"],
        ),
        (HEADER.encode() + "\n４７７９６４,,,,,,,\n".encode(), ["line 2: bin is not six digits"]),
        (HEADER.encode() + b"\n477964,,,,,,,\n477964,,,,,,,\n", ["line 3: bin stands in the file twice"]),
        (HEADER.encode() + b"\n477964,a\x1b[31m,,,,,,\n", ["line 2: bank has characters that cannot be printed"]),
        (HEADER.encode() + b"\n477964,\x00,,,,,,\n", ["bank has characters that cannot be printed"]),
        (HEADER.encode() + b'\n477964,"abc\n', ["is not CSV in UTF-8"]),
        (HEADER.encode() + b'\n477964,"a"b,,,,,,\n', ["is not CSV in UTF-8"]),
        (HEADER.encode() + "\n477964,Альфа,,,,,,\n".encode("cp1251"), ["is not CSV in UTF-8"]),
    ],
)
def test_a_bin_file_with_faults(tmp_path: Path, content: bytes, faults: list[str]) -> None:
    """A file with faults is refused whole, and the error names the file and every line at fault."""
    path = tmp_path / "bins.csv"
    path.write_bytes(content)
    with pytest.raises(DataFileError) as refused:
        load_bin_rows(path)
    assert str(path) in str(refused.value)
    assert len(refused.value.faults) == len(faults)
    assert all(fault in found for fault, found in zip(faults, refused.value.faults, strict=True))
