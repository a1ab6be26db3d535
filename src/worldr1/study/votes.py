"""Votes on disk: SQLite in WAL mode with synchronous=FULL, so that a vote that was acknowledged survives a kill -9.

A participant is a slot number and the sha256 of a secret; no name, address or browser is kept.
"""

import hashlib
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from worldr1.errors import InputError

VOTES_FILE, TOKENS_FILE = "votes.sqlite", "tokens.txt"
TOKEN_BYTES = 16
"""128 random bits in a link."""
_BUSY_S = 20.0
_SCHEMA = """
CREATE TABLE participants (
  slot INTEGER PRIMARY KEY, token_sha256 TEXT NOT NULL UNIQUE, key_sha256 TEXT NOT NULL, opened_s INTEGER
) STRICT;
CREATE TABLE votes (
  slot INTEGER NOT NULL REFERENCES participants(slot), position INTEGER NOT NULL,
  pair INTEGER NOT NULL, left_video TEXT NOT NULL, right_video TEXT NOT NULL, answers TEXT NOT NULL,
  ms INTEGER NOT NULL, left_loops INTEGER NOT NULL, right_loops INTEGER NOT NULL,
  PRIMARY KEY (slot, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE closed (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1), at_s INTEGER NOT NULL, votes_sha256 TEXT NOT NULL
) STRICT;
CREATE TRIGGER closed_insert BEFORE INSERT ON votes WHEN EXISTS (SELECT 1 FROM closed)
  BEGIN SELECT RAISE(ABORT, 'closed'); END;
CREATE TRIGGER no_update BEFORE UPDATE ON votes BEGIN SELECT RAISE(ABORT, 'votes are final'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON votes BEGIN SELECT RAISE(ABORT, 'votes are final'); END;
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """One submitted pair."""

    slot: int
    position: int
    """In the participant's own order, from 0."""
    pair: int
    left: str
    """Name of the video that was left (Video 1)."""
    right: str
    answers: Mapping[str, str]
    """Question -> "left", "tie" or "right"."""
    ms: int
    """From the pair's appearance to its submission, while the page was visible."""
    loops: tuple[int, int]
    """How often the left and the right video played to their end."""


class Refused(Exception):
    """A vote that cannot be taken: `reason` is "closed", "order" or "different"."""

    def __init__(self, reason: str) -> None:
        """As the class says."""
        super().__init__(reason)
        self.reason = reason


class VoteStore:
    """The votes of one study; safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        """Opens what `create` made. Raises InputError if it is missing or damaged."""
        if not path.is_file():
            raise InputError(f"There is no {path}; give a folder that `worldr1 study new` made.")
        self.path = path
        self._lock = threading.Lock()
        try:
            self._database = _connect(path)
            self._database.execute("SELECT count(*) FROM participants").fetchone()
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path} cannot be read ({error}); restore it from a copy.") from error

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new file without participants."""
        with closing(_connect(path)) as database:
            database.executescript(_SCHEMA)
        return cls(path)

    def close(self) -> None:
        """Lets the file go."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Committed, and on the disk, when it is left without an exception."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def add_participants(self, num: int, key_sha256: str) -> list[str]:
        """Makes `num` participants and returns their tokens, which are kept nowhere in the file."""
        tokens = [secrets.token_urlsafe(TOKEN_BYTES) for _ in range(num)]
        with self._transaction() as database:
            (count,) = database.execute("SELECT count(*) FROM participants").fetchone()
            rows = [(count + i, _digest(token), key_sha256) for i, token in enumerate(tokens)]
            database.executemany("INSERT INTO participants (slot, token_sha256, key_sha256) VALUES (?, ?, ?)", rows)
        return tokens

    def slot_of(self, token: str) -> int | None:
        """Whose token it is; None if nobody's. By its hash, so that time tells nothing about other tokens."""
        rows = self._rows("SELECT slot FROM participants WHERE token_sha256 = ?", (_digest(token),))
        return rows[0][0] if rows else None

    def opened(self, slot: int) -> None:
        """Notes that a participant has opened the page, and with it seen the commitment."""
        if not self._rows("SELECT 1 FROM participants WHERE slot = ? AND opened_s IS NOT NULL", (slot,)):
            with self._transaction() as database:
                database.execute("UPDATE participants SET opened_s = ? WHERE slot = ?", (int(time.time()), slot))

    def num_votes(self, slot: int) -> int:
        """Pairs that a participant has submitted: the position of the next one."""
        return self._rows("SELECT count(*) FROM votes WHERE slot = ?", (slot,))[0][0]

    def add(self, vote: Vote) -> None:
        """Stores a vote; on the disk when it returns. The same vote again changes nothing.

        Raises Refused: the study is closed; it is not the participant's next pair; another vote stands there.
        """
        row = (
            *(vote.slot, vote.position, vote.pair, vote.left, vote.right),
            _answers(vote.answers),
            vote.ms,
            *vote.loops,
        )
        with self._transaction() as database:
            there = database.execute(
                "SELECT answers FROM votes WHERE slot = ? AND position = ?", (vote.slot, vote.position)
            ).fetchone()
            if there is not None:
                if there[0] != _answers(vote.answers):
                    raise Refused("different")
                return
            if database.execute("SELECT 1 FROM closed").fetchone():
                raise Refused("closed")
            (done,) = database.execute("SELECT count(*) FROM votes WHERE slot = ?", (vote.slot,)).fetchone()
            if done != vote.position:
                raise Refused("order")
            database.execute("INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    @property
    def votes(self) -> tuple[Vote, ...]:
        """All, by participant and position."""
        rows = self._rows("SELECT * FROM votes ORDER BY slot, position")
        return tuple(
            Vote(
                **{"slot": slot, "position": position, "pair": pair, "left": left, "right": right},
                **{"answers": json.loads(answers), "ms": ms, "loops": (left_loops, right_loops)},
            )
            for slot, position, pair, left, right, answers, ms, left_loops, right_loops in rows
        )

    @property
    def commitments(self) -> set[str]:
        """What the pages of participants showed."""
        return {row[0] for row in self._rows("SELECT DISTINCT key_sha256 FROM participants")}

    def progress(self) -> list[tuple[int, bool, int, int | None]]:
        """Per participant: slot, whether the page was opened, pairs submitted, mean ms per pair. Nothing of answers."""
        return self._rows(
            "SELECT p.slot, p.opened_s IS NOT NULL, count(v.position), CAST(avg(v.ms) AS INTEGER) FROM participants p "
            "LEFT JOIN votes v ON v.slot = p.slot GROUP BY p.slot ORDER BY p.slot"
        )

    def seal(self) -> str:
        """Closes the study for ever; the sha256 of its votes. A second time it only returns it."""
        with self._transaction() as database:
            if row := database.execute("SELECT votes_sha256 FROM closed").fetchone():
                return row[0]
            rows = database.execute("SELECT * FROM votes ORDER BY slot, position").fetchall()
            digest = _digest(json.dumps(rows))
            database.execute("INSERT INTO closed VALUES (1, ?, ?)", (int(time.time()), digest))
        return digest

    @property
    def sealed_sha256(self) -> str | None:
        """What `seal` returned; None while votes are taken."""
        rows = self._rows("SELECT votes_sha256 FROM closed")
        return rows[0][0] if rows else None

    def check_seal(self) -> str:
        """The seal. Raises InputError if the study is open, or votes were changed after it was closed."""
        sealed = self.sealed_sha256
        if sealed is None:
            raise InputError(
                f"The study is still open: close it first with `worldr1 study close {self.path.parent}`. Looking at "
                "results while votes come in, and stopping when they please, makes intervals meaningless."
            )
        if _digest(json.dumps(self._rows("SELECT * FROM votes ORDER BY slot, position"))) != sealed:
            raise InputError(f"{self.path} was changed after the study was closed; restore it from a copy.")
        return sealed

    def as_json(self) -> list[dict[str, Any]]:
        """All votes for a file, without tokens."""
        return [asdict(vote) for vote in self.votes]


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")  # of WAL: every commit is flushed, not only checkpoints
    database.execute("PRAGMA foreign_keys = ON")
    return database


def _answers(answers: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(answers.items())))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
