"""The study's server: what it answers, to whom, and that an acknowledged vote is a stored vote."""

import json
import random
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from study_folders import Client, Rater, StudyServer, make_study, rate_all, study_key, votes_of

from worldr1.cli import main
from worldr1.errors import InputError
from worldr1.study import serving
from worldr1.study.design import Study
from worldr1.study.making import StudyPlan
from worldr1.study.serving import own_address
from worldr1.study.votes import VOTES_FILE, VoteStore

TASTE = {"geometry": 0.8, "camera": 0.5, "overall": 0.65, "editable": 0.7}
NUM = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    make_study(path, StudyPlan(pairs=5, checks=1, participants=NUM, seed=2), size=(2, 32, 48), fps=30)
    with StudyServer(path / "study") as running:
        yield running


def stored(folder: Path) -> dict[tuple[int, int], dict[str, str]]:
    store = VoteStore(folder / VOTES_FILE)
    votes = {(vote.slot, vote.position): dict(vote.answers) for vote in store.votes}
    store.close()
    return votes


def test_every_answer_keeps_the_link_and_the_pages_to_themselves(server):
    client = Client(server.links[0])
    for path in (f"/s/{client.token}", "/s/unknown-unknown-unknown", "/assets/study.js", f"/api/{client.token}", "/"):
        _, _, headers = client.raw("GET", path)
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'"), path
        assert headers["referrer-policy"] == "no-referrer" and headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers and "set-cookie" not in headers
    assert client.raw("GET", f"/s/{client.token}")[2]["cache-control"] == "no-store"
    page = client.raw("GET", f"/s/{client.token}")[1].decode()
    assert "base-model-name" not in page + json.dumps(client.state()) and "<script>" not in page


def test_videos_come_in_ranges_and_only_those_of_the_study(server):
    client = Client(server.links[0])
    path = client.state()["pair"]["left"]
    status, whole, headers = client.raw("GET", path)
    assert status == 200 and headers["content-type"] == "video/mp4" and "immutable" in headers["cache-control"]
    status, part, headers = client.raw("GET", path, Range="bytes=4-9")
    assert status == 206 and part == whole[4:10] and headers["content-range"] == f"bytes 4-9/{len(whole)}"
    assert client.raw("GET", path, Range="bytes=999999999-")[0] == 416
    for wrong in ("/v/..%2fkey.json", "/v/%2e%2e/key.json", "/v/key.json", "/key.json", "/v/../votes.sqlite"):
        assert client.raw("GET", wrong)[0] == 404


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"no json", 422, "JSON"),
        (b"[" * 4000, 422, "JSON"),
        (b"{}", 422, "answers, ms and loops"),
        (b'{"answers": {}, "ms": 1, "loops": [1, 1]}', 422, "every question"),
        (b"x" * 5000, 413, ""),
    ],
)
def test_what_is_no_vote_is_refused_in_a_sentence(server, body, status, words):
    client = Client(server.links[1])
    found, answer, _ = client.raw("POST", f"/api/{client.token}/0", body)
    assert found == status and words in json.loads(answer)["error"] and b"Traceback" not in answer
    assert client.state()["done"] == 0


def test_a_vote_needs_known_choices_both_videos_seen_and_its_turn(server):
    client = Client(server.links[1])
    names = [question["name"] for question in client.state()["pair"]["questions"]]
    good = dict.fromkeys(names, "tie")

    def post(position: int = 0, **changes: object) -> int:
        body = {"answers": good, "ms": 5000, "loops": [1, 1], **changes}
        return client.ask("POST", f"/api/{client.token}/{position}", body)[0]

    assert post(answers={**good, names[0]: "best"}) == 422
    assert post(loops=[1, 0]) == post(loops=[1]) == post(loops=[True, True]) == 422
    assert post(ms=-1) == post(ms="5") == post(ms=1e9) == 422
    assert post(1) == 409 and post(99) == 422
    assert client.raw("PUT", f"/api/{client.token}/0", b"{}")[0] == 405
    assert client.raw("POST", "/api/unknown-unknown-unknown/0", b"{}")[0] == 404
    assert post() == post() == 200  # sent again because the answer was lost
    assert post(answers=dict.fromkeys(names, "left")) == 409


def test_it_listens_on_this_machine_only(server):
    address = own_address()
    if address.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError), socket.create_connection((address, server.port), timeout=2):
        pass


def test_fifty_at_once_and_a_kill_in_between_lose_no_acknowledged_vote(server):
    study, key = Study.load(server.folder), study_key(server.folder)
    raters = [Rater(study, key, slot, TASTE, dice=random.Random(slot)) for slot in range(5, 5 + 50)]
    given: dict[tuple[int, int], dict[str, str]] = {}

    def take_part(rater: Rater) -> None:
        client = Client(server.links[rater.slot])
        for position in range(len(study.pairs)):
            answers = rater.answers(position)
            client.vote_until_acknowledged(position, answers)
            given[rater.slot, position] = answers
            time.sleep(rater.dice.random() * 0.2)
        client.close()

    threads = [threading.Thread(target=take_part, args=(rater,)) for rater in raters]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and len(given) < 120:
        time.sleep(0.01)
    server.kill()
    acknowledged = dict(given)
    assert len(acknowledged) < 50 * 6  # it was killed in the middle
    kept = stored(server.folder)
    assert all(kept[key] == answers for key, answers in acknowledged.items())
    server.restart(more=2)
    for thread in threads:
        thread.join()
    assert len(given) == 50 * 6
    assert {key: answers for key, answers in stored(server.folder).items() if 5 <= key[0] < 55} == given


def test_links_that_were_made_later_work_too(server):
    before = len(server.links)
    server.kill()
    server.restart(more=1)
    assert len(server.links) == before + 1
    rate_all(Client(server.links[-1]), Rater(Study.load(server.folder), study_key(server.folder), before, TASTE))
    assert (server.folder / "tokens.txt").stat().st_mode & 0o077 == 0


def test_ctrl_c_says_that_votes_are_safe(server):
    server.process.send_signal(signal.SIGINT)
    _, errors = server.process.communicate(timeout=20)
    assert server.process.returncode == 130 and "votes are safe" in errors and "Traceback" not in errors


def test_missing_packages_are_named_with_their_command(monkeypatch):
    monkeypatch.setattr(serving, "find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(InputError, match=r"uvicorn is missing: pip install 'worldr1\[serve\]'"):
        serving.check_installed()


def test_what_cannot_be_served_is_one_sentence(tmp_path, capsys):
    study = make_study(tmp_path, StudyPlan(pairs=5, checks=1, participants=3, seed=2), size=(2, 32, 48), fps=30)
    folder = str(tmp_path / "study")
    store = VoteStore(tmp_path / "study" / VOTES_FILE)
    for slot in (0, 2):
        for vote in votes_of(Rater(study, study_key(tmp_path / "study"), slot, TASTE)):
            store.add(vote)
    store.close()

    def sentence(*arguments: str) -> str:
        assert main(["study", *arguments]) == 2
        return capsys.readouterr().err

    assert "add --lan" in sentence("serve", folder, "--host", "0.0.0.0")
    assert "add --lan" in sentence("serve", folder, "--host", "example")
    assert "0 to 65535" in sentence("serve", folder, "--port", "70000")
    assert "study new" in sentence("serve", folder + "-none")
    assert "still open" in sentence("analyse", folder)
    assert main(["study", "progress", folder, "--json"]) == 0
    progress = json.loads(capsys.readouterr().out)
    assert progress["pairs"] == 6 and not progress["closed"]
    assert set(progress["participants"][0]) == {"participant", "opened", "submitted", "seconds_per_pair"}
    assert main(["study", "progress", folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" of 6")[0] for line in lines[:-1]] == [
        f"participant {one['participant']:3d}: {one['submitted']}" for one in progress["participants"]
    ]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "another --port" in sentence("serve", folder, "--port", str(taken.getsockname()[1]))
    assert main(["study", "close", folder]) == 0
    capsys.readouterr()
    assert "is closed" in sentence("serve", folder)
    report = ["--out", str(tmp_path / "report.html")]
    assert main(["study", "analyse", folder, *report]) == 0
    assert "report.html is there already" in sentence("analyse", folder, *report)
    capsys.readouterr()
    assert main(["study", "analyse", folder, "--json", *report, "--overwrite"]) == 0
    assert json.loads(capsys.readouterr().out)["participants"] == 2
