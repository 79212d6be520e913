"""Receives webhooks: believes only what is signed, stores an event once, answers at once, and works on it later."""

from __future__ import annotations

import os
import sqlite3
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from disburse.client import NotVerified, WebhookReader


def receiver(reader: WebhookReader, file: str, port: int = 8000) -> ThreadingHTTPServer:
    """A server that stores events in a file, each by its id."""
    with sqlite3.connect(file) as book:
        book.execute("CREATE TABLE IF NOT EXISTS inbox (id TEXT PRIMARY KEY, type TEXT NOT NULL, body BLOB NOT NULL)")

    class Hooks(BaseHTTPRequestHandler):
        """One message."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            try:
                event = reader.read(dict(self.headers.items()), body)
            except NotVerified:
                self.answer(400)
                return
            with sqlite3.connect(file) as book:  # the same event may come twice
                book.execute("INSERT OR IGNORE INTO inbox VALUES (?, ?, ?)", (event.id, event.type, body))
            self.answer(204)

        def answer(self, status: int) -> None:
            """Say only how it went."""
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is logged here."""

    return ThreadingHTTPServer(("127.0.0.1", port), Hooks)


if __name__ == "__main__":
    receiver(WebhookReader(os.environ["WEBHOOK_SECRET"]), "inbox.sqlite").serve_forever()
