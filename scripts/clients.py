"""`make clients`: programs written for UnitPay by others, unchanged but for their base URL, against `disburse serve` through TLS.

The Python package comes with the test requirements; the Node package is installed by name when `npm` is there; the provider's
PHP SDK, which no registry of ours holds, is used when `--php-sdk DIR` names a copy of it and `php` is there. What cannot run says so
loudly. Each client pays, asks for the status, and pays again under the same transactionId.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scripts.kills import disburse

LOGIN = "partner@gmail.com"

PYTHON = """
import json, sys
from unitpay_python_sdk import UnitPay
port, key, login = sys.argv[1:]
UnitPay.api_url = f"https://localhost:{port}/api"
UnitPay.supported_unitpay_methods = ["massPayment", "massPaymentStatus", "getSbpBankList"]
UnitPay.required_unitpay_methods_params |= {name: [] for name in UnitPay.supported_unitpay_methods}
sdk = UnitPay(key)
order = {"login": login, "sum": 10.0, "purse": "79510000071", "transactionId": "python-1", "paymentType": "sbp"}
answers = [sdk.api("massPayment", dict(order, memberId="100000000004")), sdk.api("massPaymentStatus", dict(login=login, transactionId="python-1")),
           sdk.api("massPayment", dict(order, memberId="100000000004")), {"banks": len(sdk.api("getSbpBankList", {"login": login})["result"])}]
print(json.dumps(answers))
"""

NODE = """
const { default: UnitPay } = require("unitpay-api");
const [port, key, login] = process.argv.slice(2);
const sdk = new UnitPay({ domain: `localhost:${port}`, secretKey: key });
const order = { login, sum: 10.5, purse: "79510000071", transactionId: "node-1", paymentType: "sbp", memberId: "100000000004", comment: "wage" };
(async () => {
  const answers = [await sdk.massPayment(order)];
  answers.push(await sdk.massPaymentStatus({ login, transactionId: "node-1" }));
  answers.push(await sdk.massPayment(order));
  console.log(JSON.stringify(answers));
})();
"""

PHP = """<?php
[$me, $sdkDir, $port, $key, $login] = $argv;
spl_autoload_register(function ($name) use ($sdkDir) {
    require $sdkDir . '/src/' . str_replace('\\\\', '/', substr($name, strlen('Unitpay\\\\'))) . '.php';
});
$payouts = (new Unitpay\\Unitpay("localhost:$port", $key))->payouts();
$more = ['memberId' => '100000000004', 'secretKey' => $key];
$answers = [
    $payouts->massPayment($login, 'php-1', 100.5, '79510000071', 'sbp', $more),
    $payouts->massPaymentStatus($login, 'php-1', ['secretKey' => $key]),
    $payouts->massPayment($login, 'php-1', 100.5, '79510000071', 'sbp', $more),
    $payouts->massPaymentAvailableAmount($login, 5, '79123456789', 'sbp', ['secretKey' => $key]),
    $payouts->massPaymentCommissions($login, ['secretKey' => $key]),
    $payouts->getBinInfo($login, 477964, ['secretKey' => $key]),
];
echo json_encode($answers);
"""


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, valid for an hour: (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1)).add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem, private = folder / "localhost.pem", folder / "localhost.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    private.chmod(0o600)
    return pem, private


def commands(folder: Path, pem: Path, port: str, key: str, php_sdk: Path | None) -> dict[str, tuple[list[str], dict[str, str]]]:
    """What to run for each client that is here: command and environment."""
    found: dict[str, tuple[list[str], dict[str, str]]] = {
        "unitpay-python-sdk 1.0.1 (Python)": ([sys.executable, "-c", PYTHON, port, key, LOGIN], {"SSL_CERT_FILE": str(pem)})
    }
    if shutil.which("npm") and shutil.which("node"):
        done = subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", "unitpay-api@3.0.3"], cwd=folder, capture_output=True, text=True
        )
        if done.returncode == 0:
            (folder / "client.js").write_text(NODE)
            found["unitpay-api 3.0.3 (Node)"] = (["node", str(folder / "client.js"), port, key, LOGIN], {"NODE_EXTRA_CA_CERTS": str(pem)})
        else:
            print("NOT RUN: the Node client could not be installed")
    else:
        print("NOT RUN: the Node client needs node and npm")
    if php_sdk is not None and shutil.which("php"):
        (folder / "client.php").write_text(PHP)
        trust = ["-d", f"curl.cainfo={pem}", "-d", f"openssl.cafile={pem}"]
        found["the provider's SDK (PHP)"] = (["php", *trust, str(folder / "client.php"), str(php_sdk), port, key, LOGIN], {})
    else:
        print("NOT RUN: the provider's PHP SDK needs php and --php-sdk DIR")
    return found


def judge(answers: list[dict[str, object]]) -> str | None:
    """What is wrong with a client's answers: paid once, known afterwards, and the same payout when it asks again."""
    results = [answer.get("result") for answer in answers[:3]]
    if not all(isinstance(result, dict) for result in results):
        return f"an answer without a result: {answers}"
    statuses = {result["status"] for result in results if isinstance(result, dict)}
    numbers = {str(result["payoutId"]) for result in results if isinstance(result, dict)}
    if statuses != {"success"} or len(numbers) != 1:
        return f"statuses {statuses}, payouts {numbers}"
    return None


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a client to its end."""
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=60)


async def proof(php_sdk: Path | None) -> int:
    failed = passed = 0
    with tempfile.TemporaryDirectory(prefix="disburse-clients-") as name:
        folder = Path(name)
        data = folder / "data"
        pem, private = make_certificate(folder)
        merchant = disburse("merchant", "add", "Clients", "--login", LOGIN, data=data)
        disburse("top-up", LOGIN, "100000.00", "RUB", data=data)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "disburse", "serve", "--sandbox", "--data", str(data), "--listen", "localhost:0",
            "--tls-cert", str(pem), "--tls-key", str(private), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            if process.stdout is None:
                raise AssertionError("no output to read")
            async with asyncio.timeout(60):
                while not (found := re.search(rb"https://[^\s]+:([0-9]+)", await process.stdout.readline())):
                    if process.returncode is not None:
                        raise RuntimeError("the server did not start")
            for client, (command, environment) in commands(
                folder, pem, found[1].decode(), merchant["unitpay_secret_key"], php_sdk
            ).items():
                done = await asyncio.to_thread(run, command, environment)
                wrong = judge(json.loads(done.stdout)) if done.returncode == 0 else done.stderr[-600:]
                print(f"{'ok' if wrong is None else 'WRONG'}: {client}{'' if wrong is None else ': ' + wrong}")
                passed, failed = passed + (wrong is None), failed + (wrong is not None)
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()
    print(f"{passed} passed, {failed} failed")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(prog="make clients")
    parser.add_argument("--php-sdk", type=Path, help="a copy of the provider's PHP SDK")
    sys.exit(1 if asyncio.run(proof(parser.parse_args().php_sdk)) else 0)


if __name__ == "__main__":
    main()
