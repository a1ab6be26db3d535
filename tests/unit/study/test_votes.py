"""Votes: in order, once, for good, and closed when they are closed."""

import sqlite3

import pytest

from worldr1.errors import InputError
from worldr1.study.votes import Refused, Vote, VoteStore


def vote(position: int = 0, answer: str = "left", slot: int = 0) -> Vote:
    return Vote(
        slot=slot,
        position=position,
        pair=3,
        left="l.mp4",
        right="r.mp4",
        answers={"geometry": answer, "overall": "tie"},
        ms=5000,
        loops=(1, 2),
    )


@pytest.fixture
def store(tmp_path):
    made = VoteStore.create(tmp_path / "votes.sqlite")
    made.add_participants(2, "seal")
    yield made
    made.close()


def refusal(store: VoteStore, given: Vote) -> str:
    with pytest.raises(Refused) as caught:
        store.add(given)
    return caught.value.reason


def test_what_was_voted_is_read_back(store):
    store.add(vote(0))
    store.add(vote(1, "right"))
    store.add(vote(0, "tie", slot=1))
    assert store.votes == (vote(0), vote(1, "right"), vote(0, "tie", slot=1))
    again = VoteStore(store.path)
    assert again.votes == store.votes and again.num_votes(0) == 2
    again.close()


def test_a_vote_is_taken_once_and_in_order(store):
    assert refusal(store, vote(1)) == "order"
    store.add(vote(0))
    store.add(vote(0))  # the answer was lost on its way: the page sends it again
    assert refusal(store, vote(0, "right")) == "different"
    assert store.votes == (vote(0),)


def test_a_closed_study_takes_no_vote_and_knows_a_changed_one(store):
    store.add(vote(0))
    with pytest.raises(InputError, match="still open"):
        store.check_seal()
    sealed = store.seal()
    assert refusal(store, vote(1)) == "closed"
    store.add(vote(0))  # is stored already: its sender may know
    assert store.seal() == store.check_seal() == sealed
    with sqlite3.connect(store.path) as database:
        for change in ("UPDATE votes SET answers = '{}'", "DELETE FROM votes"):
            with pytest.raises(sqlite3.IntegrityError, match="final"):
                database.execute(change)
        with pytest.raises(sqlite3.IntegrityError, match="closed"):
            database.execute("INSERT INTO votes VALUES (1, 0, 0, 'l', 'r', '{}', 1, 1, 1)")
        database.execute("DROP TRIGGER no_update")
        database.execute("UPDATE votes SET answers = '{}'")
    with pytest.raises(InputError, match="changed after the study was closed"):
        store.check_seal()


def test_every_commit_is_flushed(store):
    (mode,), (level,) = store._rows("PRAGMA journal_mode") + store._rows("PRAGMA synchronous")
    assert (mode, level) == ("wal", 2)


def test_the_file_holds_no_token(store):
    (token,) = store.add_participants(1, "seal")
    assert store.slot_of(token) == 2 and store.slot_of(token[:-1] + "!") is None
    store.close()
    assert all(token.encode() not in file.read_bytes() for file in store.path.parent.iterdir())


def test_progress_counts_and_tells_no_answer(store):
    store.opened(0)
    store.add(vote(0))
    assert store.progress() == [(0, 1, 1, 5000), (1, 0, 0, None)]


def test_no_file_and_a_damaged_one_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="study new"):
        VoteStore(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"no database at all, and long enough to be looked at " * 9)
    with pytest.raises(InputError, match="cannot be read"):
        VoteStore(tmp_path / "bad")
