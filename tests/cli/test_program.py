"""The program as others run it: a process of its own, with its exit codes, its output, and its end by SIGTERM."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from disburse import __version__
from tests.cli.conftest import Commands

PROGRAM = [sys.executable, "-m", "disburse"]
ENDS_WITHIN_S = 10.0
STARTS_WITHIN_S = 60.0


def environment(**more: str) -> dict[str, str]:
    """Ours, without settings of disburse but those that are given."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DISBURSE_")} | more


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=STARTS_WITHIN_S, env=environment(**more)
    )


@contextmanager
def running(*arguments: str, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A program that runs until it is told to end, and its first line of output."""
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**more)
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str]) -> tuple[int, float, str]:
    """Tell it to end: its exit code, how long it took, and its standard error."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=STARTS_WITHIN_S)
    return process.returncode, time.monotonic() - began, errors


def get(url: str, context: ssl.SSLContext | None = None, data: str | None = None) -> tuple[int, str]:
    """Ask, by POST of a form where there are data: status and body."""
    try:
        form = data.encode() if data is not None else None
        with urllib.request.urlopen(url, form, timeout=20, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# --- without any installation -------------------------------------------------------------------------------------


def test_help_is_quick_because_it_imports_no_command() -> None:
    """`--help` lists every command and loads none of what they need."""
    code = (
        "import sys\nfrom disburse.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit as end:\n"
        "    heavy = ('asyncpg', 'aiohttp', 'starlette', 'uvicorn', 'asyncio', 'cryptography', 'prometheus_client', 'structlog')\n"
        "    print(end.code, [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr
    for command in (
        "serve",
        "merchant",
        "top-up",
        "balance",
        "payout",
        "explain",
        "in-doubt",
        "verify",
        "operator",
        "keys",
    ):
        assert re.search(rf"\b{command}\b", done.stdout), command


def test_the_version_is_told() -> None:
    """`--version` prints the version and nothing else."""
    done = run("--version")
    assert (done.returncode, done.stdout.strip()) == (0, __version__)


def test_every_command_helps(commands: Commands) -> None:
    """Each command and each command of a group explains itself with exit code 0."""
    paths = ["serve", "sandbox-bank", "merchant add", "merchant set", "merchant list", "merchant show", "top-up", "balance",
             "payout show", "explain", "in-doubt list", "verify", "operator add", "keys", "keys rotate"]  # fmt: skip
    for path in paths:
        done = commands(*path.split(), "--help")
        assert done.code == 0 and f"disburse {path}" in done.out and "--json" in done.out, path


@pytest.mark.parametrize(
    "arguments, said",
    [(["merchnt"], 'Did you mean "merchant"?'), (["merchant", "ad"], "Did you mean"), (["merchant", "add", "Shop"], "--login"),
     (["balance"], "MERCHANT"), (["serve", "--listn", "x"], "--listen"), (["serve", "--listen", "8080"], "HOST:PORT"),
     (["serve", "--listen", "127.0.0.1:99999"], "HOST:PORT"), (["serve", "--role", "boss"], "worker"),
     (["serve", "--tls-key", "key.pem"], "--tls-cert"), (["sandbox-bank"], "--listen"),
     (["sandbox-bank", "--listen", "nowhere", "--book", "b"], "HOST:PORT")],
)  # fmt: skip
def test_wrong_usage_ends_with_2(commands: Commands, arguments: list[str], said: str) -> None:
    """Wrong usage is one line that says what would be right, and exit code 2."""
    error = commands.no(*arguments, code=2)
    assert said in error["message"] + error["next"]


def test_reading_makes_no_installation(tmp_path: Path) -> None:
    """A command that only reads refuses a directory without an installation, and leaves it as it was."""
    data = tmp_path / "typo"
    done = run("merchant", "list", "--data", str(data), "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["error"]["name"] == "no_installation"
    assert not data.exists() and done.stderr == ""


@pytest.mark.parametrize(
    "settings, said",
    [("lisen = '1:1'", "Did you mean listen?"), ("[fees.cards]\nbasis_points = 1", "Did you mean card?"),
     ("[fees.card]\nbasis_point = 1", "basis_point"), ("sandbox = 'yes'", "sandbox"), ("= 3", "cannot be read"),
     ("log_level = 'loud'", "debug, info, warning or error")],
)  # fmt: skip
def test_a_wrong_settings_file_is_usage(commands: Commands, tmp_path: Path, settings: str, said: str) -> None:
    """Unknown keys are refused with the nearest valid name, wrong values with what is wrong."""
    file = tmp_path / "disburse.toml"
    file.write_text(settings)
    error = commands.no("serve", "--settings", str(file), code=2)
    assert error["name"] == "bad_settings" and said in error["message"]


def test_the_environment_is_read_strictly(commands: Commands) -> None:
    """An unknown DISBURSE_ variable is refused with the nearest valid name, and so is a settings file that is not there."""
    assert "Did you mean listen?" in commands.no("merchant", "list", code=2, DISBURSE_LISTENN="x")["message"]
    assert "no settings file" in commands.no("merchant", "list", "--settings", "/nowhere.toml", code=2)["message"]


def test_a_database_that_is_not_there_is_told_without_its_password(commands: Commands) -> None:
    """An address that cannot be reached ends with 1; its password is in no output, not even of DISBURSE_DEBUG."""
    commands.ok("operator", "add", "Somebody")  # there is an installation
    url = "postgresql://someone:opensesame@127.0.0.1:1/nowhere"
    for more in ({}, {"DISBURSE_DEBUG": "1"}):
        done = run("merchant", "list", "--data", str(commands.data), "--database-url", url, **more)
        assert done.returncode == 1 and "opensesame" not in done.stdout + done.stderr
        assert ("asyncpg" in done.stderr) == bool(more), done.stderr
    error = commands.no("merchant", "list", "--database-url", url)
    assert error["name"] == "database_unavailable" and "opensesame" not in str(error)


def test_any_terminal_will_do(commands: Commands) -> None:
    """Where standard output is ASCII alone, other letters come out escaped, and JSON is the same JSON."""
    commands.ok("merchant", "add", "Шерсть", "--login", "wool@example.com")
    place = {"DISBURSE_DATA": str(commands.data), "PYTHONIOENCODING": "ascii"}
    shown = run("merchant", "list", **place)
    assert shown.returncode == 0 and "\\u0428" in shown.stdout, shown.stderr
    told = json.loads(run("merchant", "show", "wool@example.com", "--json", **place).stdout)
    assert told["name"] == "Шерсть"
    refused = run("merchant", "show", "шерсть", **place)
    assert refused.returncode == 1 and refused.stderr.startswith("disburse: There is no such merchant.")


def test_output_may_be_cut_off(commands: Commands) -> None:
    """A reader that goes away ends the command without a word."""
    with (Path("/dev/null")).open("w") as nothing:
        process = subprocess.Popen(
            [*PROGRAM, "keys", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(DISBURSE_DATA=str(commands.data)), stdin=nothing,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        process.stderr.close()
        assert "Traceback" not in errors and process.wait(STARTS_WITHIN_S) in (1, 141)


# --- serving ------------------------------------------------------------------------------------------------------


def mass_payment(url: str, login: str, key: str, amount: str, reference: str) -> str:
    """A UnitPay call to pay a card, as its clients send it."""
    params = {"login": login, "secretKey": key, "purse": "4111111111111111", "sum": amount, "transactionId": reference,
              "paymentType": "card"}  # fmt: skip
    query = "&".join(f"params[{name}]={urllib.parse.quote(value)}" for name, value in params.items())
    return f"{url}/api?method=massPayment&{query}"


def rest_payment(url: str, key: str) -> tuple[int, dict[str, str]]:
    """A payout to a card over REST: the status, and the payout."""
    order = {"amount": {"amount": "10.00", "currency": "RUB"}, "destination": {"rail": "card", "number": "4111111111111111"},
             "reference": "wage 2", "execute": True}  # fmt: skip
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{url}/v1/payouts", json.dumps(order).encode(), headers)
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return answer.status, json.loads(answer.read())


def test_serve_answers_and_stops(commands: Commands) -> None:
    """`serve` says where it listens, pays through every door's port, is ready, and ends with 0 within 10 s of SIGTERM."""
    made = commands.ok("merchant", "add", "Served", "--login", "served@example.com")
    commands.ok("top-up", "served@example.com", "100.00", "RUB")
    arguments = ("serve", "--sandbox", "--listen", "127.0.0.1:0", "--data", str(commands.data))
    with running(*arguments) as (process, line):
        match = re.fullmatch(r"Listening on (http://127\.0\.0\.1:[0-9]+)\n", line)
        assert match is not None, line
        url = match[1]
        status, body = get(mass_payment(url, "served@example.com", made["unitpay_secret_key"], "10.00", "wage 1"))
        paid = json.loads(body)["result"]
        assert (status, paid["status"]) == (200, "success")
        token = get(f"{url}/personal/user/getUserToken", data=f"Login=served%40example.com&Password={made['password']}")
        assert token[0] == 200 and "<UserToken>" in token[1], token
        assert get(f"{url}/healthz")[0] == 200 and get(f"{url}/nothing")[0] == 404
        assert json.loads(get(f"{url}/readyz")[1]) == {"ready": True, "lacks": []}
        assert "disburse_payouts_made 1.0" in get(f"{url}/metrics")[1]
        shown = commands.ok("payout", "show", str(paid["payoutId"]))  # beside the running server
        assert (shown["state"], shown["reference"]) == ("paid", "wage 1")
        status, payout = rest_payment(url, made["api_key"])
        assert (status, payout["surface"], payout["destination"]) == (201, "own", "411111******1111")
        assert get(f"{url}/v1/payouts")[0] == 401 and json.loads(get(f"{url}/openapi.json")[1])["openapi"] == "3.1.0"
        code, seconds, errors = end(process)
    assert code == 0 and seconds < ENDS_WITHIN_S, errors
    assert "Traceback" not in errors and made["unitpay_secret_key"] not in errors and made["api_key"] not in errors and "4111" not in errors
    assert commands("verify").code == 0


def test_serve_says_nothing_needless(commands: Commands) -> None:
    """A second `serve` with the same sandbox is one line of refusal; an end while a body is still to come is no error."""
    commands.ok("merchant", "add", "Quiet", "--login", "quiet@example.com")
    arguments = ("serve", "--sandbox", "--listen", "127.0.0.1:0", "--data", str(commands.data), "--log-level", "error")
    with running(*arguments) as (process, line):
        second = run(*arguments)
        assert (second.returncode, second.stdout) == (1, "")
        assert re.fullmatch(r"disburse: .*sandbox-bank.jsonl is in use by another process\. .*\n", second.stderr), second.stderr
        with socket.create_connection(("127.0.0.1", int(line.rsplit(":")[-1])), 5) as slow:
            slow.sendall(b"POST /api HTTP/1.1\r\nContent-Length: 9\r\n\r\nx")
            get(line.split()[-1] + "/healthz")
            code, seconds, errors = end(process)
    assert (code, errors) == (0, "") and seconds < ENDS_WITHIN_S


def test_the_parts_run_apart(commands: Commands, tmp_path: Path) -> None:
    """Doors, a worker and a stand-alone bank are processes of their own, and a payout goes through all three."""
    made = commands.ok("merchant", "add", "Apart", "--login", "apart@example.com")
    commands.ok("top-up", "apart@example.com", "100.00", "RUB")
    book = tmp_path / "book.jsonl"
    place = ("--data", str(commands.data), "--json")
    with running("sandbox-bank", "--listen", "127.0.0.1:0", "--book", str(book), "--json") as (bank, told):
        bank_url = json.loads(told)["listening"]
        with (
            running("serve", "--role", "worker", "--sandbox-bank-url", bank_url, *place) as (worker, worker_line),
            running("serve", "--role", "api", "--sandbox-bank-url", bank_url, "--listen", "127.0.0.1:0", *place) as (
                api,
                line,
            ),
        ):
            assert json.loads(worker_line)["listening"] is None and json.loads(worker_line)["connectors"] == [
                "sandbox-http"
            ]
            url = json.loads(line)["listening"]
            body = get(mass_payment(url, "apart@example.com", made["unitpay_secret_key"], "10.00", "wage 1"))[1]
            assert json.loads(body)["result"]["status"] == "success", body
            assert json.loads(get(f"{url}/readyz")[1])["ready"]
            for process in (api, worker):
                code, seconds, errors = end(process)
                assert code == 0 and seconds < ENDS_WITHIN_S and "Traceback" not in errors, errors
        assert end(bank)[0] in (0, -signal.SIGTERM)
    assert commands("verify", "--bank-book", str(book), "--connector", "sandbox-http").code == 0


def test_a_worker_listens_when_told_to(commands: Commands) -> None:
    """A worker with --listen serves health and metrics, and no door."""
    arguments = (
        "serve",
        "--role",
        "worker",
        "--sandbox",
        "--listen",
        "127.0.0.1:0",
        "--data",
        str(commands.data),
        "--json",
    )
    with running(*arguments) as (process, line):
        url = json.loads(line)["listening"]
        assert get(f"{url}/healthz")[0] == 200 and "disburse_" in get(f"{url}/metrics")[1]
        assert [get(f"{url}{path}")[0] for path in ("/api?method=massPayment", "/v1/payouts", "/openapi.json")] == [404] * 3
        assert end(process)[0] == 0


def test_the_bank_calls_back_to_us(commands: Commands, tmp_path: Path) -> None:
    """Callbacks of a stand-alone bank reach their payout through our port; a forged one changes nothing."""
    made = commands.ok("merchant", "add", "Called", "--login", "called@example.com")
    commands.ok("top-up", "called@example.com", "100.00", "RUB")
    ours = f"127.0.0.1:{free_port()}"
    callbacks = f"http://{ours}/callbacks/sandbox-http"
    bank_arguments = (
        "sandbox-bank",
        "--listen",
        "127.0.0.1:0",
        "--book",
        str(tmp_path / "book.jsonl"),
        "--callback-url",
        callbacks,
    )
    with running(*bank_arguments, "--json") as (_, told):
        bank_url = json.loads(told)["listening"]
        with running("serve", "--listen", ours, "--sandbox-bank-url", bank_url, "--data", str(commands.data)) as (
            process,
            line,
        ):
            assert line == f"Listening on http://{ours}\n"
            forged = urllib.request.Request(callbacks, data=b'{"end_to_end_id":"x","state":"paid"}', method="POST")
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(forged, timeout=20)
            assert refused.value.code == 409 and get(callbacks)[0] == 405
            # .55 is accepted and then paid: nobody asks about an accepted payout within the time that this answer waits
            body = get(
                mass_payment(f"http://{ours}", "called@example.com", made["unitpay_secret_key"], "10.55", "wage 1")
            )[1]
            assert json.loads(body)["result"]["status"] == "success", body
            assert end(process)[0] == 0
    texts = [line["text"] for line in commands.ok("explain", "called@example.com:wage 1")["timeline"]]
    assert any(text.startswith("sandbox-http called back: paid") for text in texts), texts


def free_port() -> int:
    """A port that nothing listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_tls(commands: Commands, tmp_path: Path) -> None:
    """With a certificate and its key the same port speaks HTTPS; a certificate that is not there is refused."""
    certificate, key = make_certificate(tmp_path)
    arguments = ("serve", "--sandbox", "--listen", "127.0.0.1:0", "--data", str(commands.data), "--tls-key", str(key))
    with running(*arguments, "--tls-cert", str(certificate)) as (process, line):
        assert line.startswith("Listening on https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(certificate))
        url = line.split()[-1]
        assert get(f"{url}/healthz", context)[0] == 200
        assert end(process)[0] == 0
    error = commands.no("serve", "--sandbox", "--tls-cert", str(tmp_path / "nothing.pem"))
    assert error["name"] == "bad_certificate" and "nothing.pem" in error["message"]


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    import ipaddress

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "disburse")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    certificate, key = directory / "cert.pem", directory / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, key
