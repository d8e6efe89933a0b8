"""Fills a fresh SQLite database of the gateway with 10^6 messages of ten pieces of evidence each.

    fill.py DATABASE PATHS

Prints the plans of the queries behind a status; writes the paths of 20,000 status queries, spread over all messages, to PATHS. Rows are inserted in the
order of their keys, unflushed: the result is what years of use leave behind, made in a minute.
"""

import hashlib
import json
import sqlite3
import sys
import time

MESSAGES = 1_000_000
PATHS = 20_000
# Young enough that retention leaves them alone.
START_MS = int(time.time() - 30 * 86_400) * 1_000
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
RECIPIENTS = [f"user{number}" for number in range(4)]
# Four recipients: all sent and delivered, three have read, one has clicked. The message as a whole is delivered.
EVIDENCE = (
    [("status", "pending", None), ("status", "sent", None)]
    + [("status", "delivered", person) for person in RECIPIENTS]
    + [("status", "read", person) for person in RECIPIENTS[:3]]
    + [("interaction", "click", RECIPIENTS[0])]
)
FOLDED = "delivered"


def identifier(prefix: str, ms: int, counter: int) -> str:
    """A UUIDv7 with a counter for its random part, as 26 base32 characters."""
    number = (ms << 80) | (0x7 << 76) | (0b10 << 62) | counter
    return prefix + "".join(ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def reference_hash(reference: str) -> int:
    return int.from_bytes(hashlib.sha256(reference.encode()).digest()[:8], "big", signed=True)


def main() -> None:
    database, paths = sys.argv[1:]
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA cache_size = -500000")
    ids = [identifier("msg_", START_MS + number * 60, number) for number in range(MESSAGES)]
    recipients = json.dumps(RECIPIENTS)
    db.execute("BEGIN")
    db.executemany(
        "INSERT INTO messages (id, channel, message_type, body, recipients, policy, idempotency_key, status, generation,"
        " created_ms, updated_ms, expires_ms) VALUES (?, 'wechat_bot', 'text', ?, ?, 'at_most_once', NULL, ?, 0, ?, ?, NULL)",
        ((message, '{"content":"The build is green."}', recipients, FOLDED, at := START_MS + number * 60, at)
         for number, message in enumerate(ids)),
    )
    hashed = sorted((reference_hash(message), number) for number, message in enumerate(ids))
    db.executemany(
        "INSERT INTO evidence (reference_hash, id, reference, generation, recipient, fact, fact_value, code, text, source,"
        " event_id, at_ms) VALUES (?, ?, ?, 0, ?, ?, ?, NULL, NULL, 'wechat_bot', NULL, ?)",
        ((key, identifier("evd_", START_MS + number * 60 + step, number * 10 + step), ids[number], person, fact, value,
          START_MS + number * 60 + step)
         for key, number in hashed
         for step, (fact, value, person) in enumerate(EVIDENCE)),
    )
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for query in (
        "SELECT id FROM messages WHERE id = ?",
        "SELECT reference FROM message_references WHERE message_id = ?",
        "SELECT fact FROM evidence WHERE reference_hash = ? AND id > ? ORDER BY id LIMIT ?",
    ):
        plan = db.execute("EXPLAIN QUERY PLAN " + query, ("",) * query.count("?")).fetchall()
        print("plan:", *(step[3] for step in plan))
    with open(paths, "w", encoding="ascii") as file:
        file.writelines(f"/api/v1/messages/{message}/status\n" for message in ids[:: MESSAGES // PATHS])


if __name__ == "__main__":
    main()
