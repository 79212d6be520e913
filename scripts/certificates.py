"""Makes src/disburse/data/certificates.json anew: every kind that ships, in each way that its promises differ, by the command itself.

    python -m scripts.certificates

Run it when a kind's code or promises changed. It ends with 1, and writes nothing, when a grade is not A.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from disburse.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "src/disburse/data/certificates.json"
_IM = "login = 'x'\npassword = 'x'\n"
WAYS = {
    "unitpay": "login = 'x'\nsecret_key = 'x'\n",
    "sandbox-http": "url = 'http://127.0.0.1:1'\n",
    "sandbox-http guarded": "url = 'http://127.0.0.1:1'\nguard = true\n",
    "intellectmoney": f"{_IM}bearer = 'x'\nsign_secret_key = 'x'\n",
    "intellectmoney old": f"{_IM}generation = 'old'\n",
}
"""A kind and a word for the way, and the keys that must be there or make the difference; addresses and keys are replaced."""


def certificate_of(way: str, directory: Path) -> Any:
    """One certificate, as the command keeps it. Raises RuntimeError when the command fails."""
    text = f"[connectors.one]\nkind = '{way.split()[0]}'\n{WAYS[way]}"
    (directory / "disburse.toml").write_text(text, encoding="utf-8")
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            main(["connector", "certify", "one", "--data", str(directory), "--json"])
    except SystemExit as ended:
        if ended.code != 0:
            raise RuntimeError(f"{way}: {said.getvalue()}") from None
    return json.loads((directory / "certificates/one.json").read_text("utf-8"))


def run() -> int:
    found = []
    for way in WAYS:
        with tempfile.TemporaryDirectory() as directory:
            found.append(certificate_of(way, Path(directory)))
        print(f"{way}: {found[-1]['grade']}, {found[-1]['judged']} scenarios")
    FILE.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run())
