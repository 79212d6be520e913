"""`serve` in several processes: one port, one end, and figures that do not depend on which process is asked."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from disburse.api.metrics_sum import added_up
from disburse.settings import load_settings, plain_settings
from tests.cli.conftest import Commands
from tests.cli.test_program import end, get, run, running

TRIES_FOR_S = 30.0


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that other processes do."""
    last = time.monotonic() + TRIES_FOR_S
    while not holds():
        assert time.monotonic() < last, "it did not come true in time"
        time.sleep(0.02)


def refuses(url: str) -> bool:
    """Whether nobody listens there."""
    try:
        get(url)
    except OSError as fault:
        return "refused" in str(fault)
    return False


def children(pid: int) -> list[int]:
    """The door processes that a process minds."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"PPid:\t{pid}\n" in status.read_text() and b"disburse.door" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
        except OSError:
            continue
    return sorted(found)


def lives(pid: int) -> bool:
    """Whether a process is still at work."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def counted(page: str, name: str) -> float:
    """The sum of all samples of this name."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))


def url_of(line: str) -> str:
    return str(json.loads(line)["listening"])


Serving = Iterator[tuple[subprocess.Popen[str], str]]


@pytest.fixture
def three(commands: Commands) -> Serving:
    """Three doors on one port: the process that was started, and two beside it."""
    with running(
        "serve", "--data", str(commands.data), "--listen", "127.0.0.1:0", "--role", "api", "--processes", "3", "--json"
    ) as (process, line):
        yield process, url_of(line)


def test_the_doors_of_all_live_beside_the_worker(commands: Commands) -> None:
    """With two processes the one that was started works and the other one answers; SIGTERM ends both, with 0."""
    with running(
        "serve", "--data", str(commands.data), "--listen", "127.0.0.1:0", "--sandbox", "--processes", "2", "--json"
    ) as (process, line):
        url = url_of(line)
        until(lambda: get(f"{url}/readyz")[0] == 200)
        (door,) = children(process.pid)
        code, _, errors = end(process)
        assert code == 0 and "Traceback" not in errors
        until(lambda: not lives(door))


def test_one_process_does_it_all(commands: Commands) -> None:
    """With one process there is none beside it."""
    with running(
        "serve", "--data", str(commands.data), "--listen", "127.0.0.1:0", "--sandbox", "--processes", "1", "--json"
    ) as (process, line):
        until(lambda: get(f"{url_of(line)}/readyz")[0] == 200)
        assert children(process.pid) == []


def test_no_orphans(three: tuple[subprocess.Popen[str], str]) -> None:
    """When the process that was started is killed, its doors end too, and the port is free."""
    process, url = three
    doors = children(process.pid)
    assert len(doors) == 2
    process.send_signal(signal.SIGKILL)
    until(lambda: not any(lives(door) for door in doors))
    until(lambda: refuses(f"{url}/healthz"))  # the kernel resets who called while a door was going


def test_a_door_that_ends_is_opened_again(three: tuple[subprocess.Popen[str], str]) -> None:
    """A door that was killed is replaced, and nobody who calls meanwhile is refused."""
    process, url = three
    doors = children(process.pid)
    os.kill(doors[0], signal.SIGKILL)
    until(lambda: len(children(process.pid)) == 2 and children(process.pid) != doors)
    for _ in range(30):
        assert get(f"{url}/healthz")[0] == 200


def test_a_door_without_a_database_says_so(tmp_path: Path) -> None:
    """A door that cannot open, since its database is away, ends with one line in the words of the commands, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        away = f"postgresql://somebody:a-password@127.0.0.1:{nobody.getsockname()[1]}/disburse"
    settings = plain_settings(load_settings(None, {}, {"data": str(tmp_path), "database_url": away}))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(json.dumps({"sockets": [], "settings": settings}).encode() + b"\n")
        done = subprocess.run([sys.executable, "-m", "disburse.door"], stdin=theirs.fileno(), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert re.fullmatch(r"disburse: [^\n]+\n", done.stderr), done.stderr
    assert "a-password" not in done.stderr


def test_figures_are_added_up(three: tuple[subprocess.Popen[str], str]) -> None:
    """Whichever process is asked tells what all of them counted, and the database's facts once."""
    _, url = three
    for _ in range(20):
        assert get(f"{url}/healthz")[0] == 200
    name = 'disburse_request_seconds_count{outcome="answered",surface="page"}'
    pages = [get(f"{url}/metrics")[1] for _ in range(6)]
    assert [counted(page, name) for page in pages] == [20.0 + n for n in range(6)]
    assert len(re.findall(r"^disburse_payouts_made ", pages[0], re.MULTILINE)) == 1


def test_a_port_of_several_processes_is_taken(commands: Commands, three: tuple[subprocess.Popen[str], str]) -> None:
    """A port that doors share is not shared with a second `serve`."""
    _, url = three
    done = run(
        "serve", "--data", str(commands.data), "--listen", url.removeprefix("http://"), "--role", "api", "--processes", "2"
    )
    assert done.returncode == 1
    assert "Nothing can listen at" in done.stderr


def test_too_many_processes(commands: Commands) -> None:
    """A number of processes that cannot be meant is refused by name."""
    assert "processes is 1 to 64" in commands.no("serve", "--processes", "65", code=2)["message"]


def test_a_sum_of_pages() -> None:
    """Counts are added, also of what only the other process has counted; a start time is not."""
    own = b"# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\"} 2.0\n# HELP process_start_time_seconds S.\n"
    own += b"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 5.0\n"
    other = own.decode().replace('x="1"} 2.0', 'x="1"} 3.0\na_total{x="2"} 4.0').replace(" 5.0", " 7.0")
    page = added_up(own, [other]).decode()
    assert 'a_total{x="1"} 5.0' in page
    assert 'a_total{x="2"} 4.0' in page
    assert "process_start_time_seconds 5.0" in page
    assert added_up(own, []) == own
