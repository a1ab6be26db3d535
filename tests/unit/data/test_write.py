"""`worldr1 prompts write` against a real HTTP server that speaks the API, well or badly."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from chat_server import Reply, Request, serving

from worldr1.cli import main
from worldr1.data.chat import ChatClient, ChatConfig
from worldr1.data.check import check_records
from worldr1.data.planning import plan_cards
from worldr1.data.records import read_records
from worldr1.data.sets import NAMES, load_records, set_path
from worldr1.errors import InputError, WorldR1Error

KEY = "sk-very-secret-123"


class Server:
    """Answers with what `replies` gives for the number of the request and its body; keeps every request."""

    url: str

    def __init__(self) -> None:
        self.replies: Callable[[int, dict[str, Any]], Reply] = lambda number, body: good(body)
        self.requests: list[Request] = []

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.replies(len(self.requests), request[2])

    def asked_ids(self) -> list[list[str]]:
        return [[card["id"] for card in cards_of(body)] for _, _, body in self.requests]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    few = {
        name: set_path(*name).read_text().splitlines(keepends=True)[:9] for name in product(NAMES, ("train", "test"))
    }
    monkeypatch.setattr("worldr1.data.sets.HOME", tmp_path_factory.mktemp("packaged"))  # 4,000 would take seconds
    for name, lines in few.items():
        set_path(*name).write_text("".join(lines))

    found = Server()
    with serving(found.answer) as found.url:
        yield found


def cards_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    return json.loads(body["messages"][-1]["content"])["cards"]


def text(seed: object, num: int) -> str:
    """So many words that nobody else uses."""
    draw = random.Random(str(seed))
    made = ["".join(draw.choice("bdfgklmnrstv") + draw.choice("aeiou") for _ in range(3)) for _ in range(num)]
    return " ".join(made).capitalize() + "."


def row(card: dict[str, Any], **changes: Any) -> dict[str, Any]:
    long = text(card["id"] + " long", 80) if card["enriched"] else None
    plan = {"id": card["id"], "place": "quay", "subject": f"nets of {card['id']}", "foreground": "bollard"}
    return {**plan, "scene": text(card["id"], 15), "enriched": long, **changes}


def chat(content: str | None) -> Reply:
    return 200, {}, json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})


def good(body: dict[str, Any]) -> Reply:
    return chat(json.dumps({"scenes": [row(card) for card in cards_of(body)]}))


def write(server: Server, out: Path, *more: str, num: int = 8) -> int:
    asked = ["--num", str(num), "--base-url", server.url, "--model", "small", "--batch", "4"]
    return main(["prompts", "write", "--out", str(out), *asked, *more])


def test_good_answers_become_the_set_that_was_planned(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "own.jsonl"
    server.replies = lambda number, body: chat(  # long texts unasked are dropped
        json.dumps({"scenes": [row(card, enriched=text(f"{card['id']} long", 80)) for card in cards_of(body)]})
    )
    assert write(server, out, "--enriched", "0.5", "--seed", "7", num=10) == 0
    records, cards = read_records(out), plan_cards("world", 10, seed=7, enriched_share=0.5)
    assert [record.id for record in records] == [card.id for card in cards]
    assert [record.camera for record in records] == [card.camera for card in cards]
    assert [record.enriched is not None for record in records] == [card.enriched for card in cards]
    assert records[3].scene == text(cards[3].id, 15) and records[3].plan.light == cards[3].light
    assert records[3].plan.subject == f"nets of {cards[3].id}"
    assert check_records(records) == []
    assert [len(ids) for ids in server.asked_ids()] == [4, 4, 2]
    assert f"10 scenes written, 10 in {out}" in capsys.readouterr().out


def test_a_request_says_what_is_asked_and_never_the_camera(server: Server, tmp_path: Path) -> None:
    assert write(server, tmp_path / "a.jsonl", "--set", "dynamic") == 0
    path, _, body = server.requests[1]
    assert path == "/v1/chat/completions"
    assert set(body) == {"model", "messages"} and body["model"] == "small"
    first = cards_of(body)[0]
    assert "camera" not in first and first["enriched"] and first["moves"].startswith("animals that run")
    already = json.loads(body["messages"][-1]["content"])["already"]
    assert already == [f"nets of {name}, quay" for name in server.asked_ids()[0]]


def test_the_key_is_in_the_header_and_nowhere_else(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies = lambda number, body: (400, {}, json.dumps({"error": {"message": f"bad {KEY}"}}))
    assert write(server, tmp_path / "a.jsonl") == 2
    server.replies = lambda number, body: good(body)
    assert write(server, tmp_path / "a.jsonl") == 0
    assert write(server, tmp_path / "b.jsonl", "--dry-run") == 0
    shown = capsys.readouterr()
    assert "bad (key)" in shown.err
    written = (tmp_path / "a.jsonl").read_text()
    assert all(KEY not in place for place in (shown.out, shown.err, written))
    for path, headers, body in server.requests:
        assert headers.pop("Authorization") == f"Bearer {KEY}"
        assert KEY not in path + str(headers) + str(body)
    assert KEY not in repr(ChatConfig(base_url=server.url, model="m", key=KEY))
    monkeypatch.delenv("OPENAI_API_KEY")
    assert write(server, tmp_path / "c.jsonl") == 0
    assert "Authorization" not in server.requests[-1][1]


def test_the_key_does_not_follow_a_redirection(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.replies = lambda number, body: (302, {"Location": f"{server.url}/elsewhere"}, "")
    assert write(server, tmp_path / "a.jsonl") == 2
    assert len(server.requests) == 1 and "/elsewhere; give the final address" in capsys.readouterr().err


@pytest.mark.parametrize(
    "bad", ["Sorry, I cannot.", '{"scenes": [', '[{"a": ' * 2000, None, "[1, 2]", '{"id": "other"}']
)
def test_an_answer_that_is_no_use_is_asked_for_again(server: Server, tmp_path: Path, bad: str | None) -> None:
    server.replies = lambda number, body: chat(bad) if number in (1, 2, 4, 5) else good(body)
    assert write(server, tmp_path / "a.jsonl") == 0
    assert len(read_records(tmp_path / "a.jsonl")) == 8
    assert len(server.requests) == 6, "only useless answers in a row count"


def test_only_useless_answers_end_the_run(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.replies = lambda number, body: chat("Here you are!")
    assert write(server, tmp_path / "a.jsonl") == 2
    assert len(server.requests) == 3
    assert capsys.readouterr().err == (
        "error: The model's last 3 answers held no JSON of the kind asked for; "
        "try a smaller --batch or another --model.\n"
    )


def test_json_is_found_between_fences_and_in_an_answer_that_breaks_off(server: Server, tmp_path: Path) -> None:
    def replies(number: int, body: dict[str, Any]) -> Reply:
        whole = json.dumps({"scenes": [row(card) for card in cards_of(body)]}, indent=1)
        return chat(f"[As you like {{it}}]\n```json\n{whole}\n```" if number == 1 else whole[: len(whole) * 3 // 5])

    server.replies = replies
    write(server, tmp_path / "a.jsonl")
    asked = server.asked_ids()
    assert len(asked[1]) == 4 and asked[2] == asked[1][2:], "two of four texts were whole"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda card: {"scene": "Too short."}, "scene has 2 words"),
        (lambda card: {"scene": f"The camera pushes in. {text(card['id'], 12)}"}, "camera words of its own"),
        (lambda card: {"scene": f"Serene {text(card['id'], 12)}"}, "scene uses serene"),
        (lambda card: {"scene": text(card["id"], 12).rstrip(".")}, "full stop"),
        (lambda card: {"scene": text("all the same", 14)}, "too close to"),
        (lambda card: {"scene": text(card["id"], 12)[:-1] + " tin lamps hang low."}, "the words 'tin lamps hang low'"),
        (lambda card: {"enriched": None}, "enriched must be text"),
        (lambda card: {"enriched": text(card["id"], 30)}, "enriched has 30 words"),
        (lambda card: {"enriched": text("all the same", 80)}, "too close to"),
        (lambda card: {"subject": ["nets"]}, "subject must be text"),
        (lambda card: {"id": "none"}, "no text came"),
    ],
)
def test_bad_texts_are_refused_told_and_asked_for_again(
    server: Server, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    def replies(number: int, body: dict[str, Any]) -> Reply:
        rows = [row(card) for card in cards_of(body)]
        if number == 1:
            rows[1:] = [row(card, **change(card)) for card in cards_of(body)[1:]]
        return chat(json.dumps(rows))

    server.replies = replies
    assert write(server, tmp_path / "a.jsonl", "--split", "test", "--batch", "10", num=6) == 0
    complaints = {card["id"]: card["complaint"] for card in cards_of(server.requests[1][2])}
    assert complaints and all(said in complaint for complaint in complaints.values())
    records = read_records(tmp_path / "a.jsonl")
    assert len(records) == 6 and check_records(records) == []
    assert len({record.scene for record in records}) == len({record.enriched for record in records}) == 6


def test_a_text_of_the_packaged_sets_is_refused(server: Server, tmp_path: Path) -> None:
    taken = load_records("dynamic", "test")[7]

    def replies(number: int, body: dict[str, Any]) -> Reply:
        rows = [row(card) for card in cards_of(body)]
        if number == 1:
            rows[0]["scene"], rows[1]["enriched"] = taken.scene, taken.enriched
        return chat(json.dumps(rows))

    server.replies = replies
    assert write(server, tmp_path / "a.jsonl", "--enriched", "1", num=4) == 0
    assert [card["id"] for card in cards_of(server.requests[1][2])] == server.asked_ids()[0][:2]
    assert all("is too close to" in card["complaint"] for card in cards_of(server.requests[1][2]))
    assert len(read_records(tmp_path / "a.jsonl")) == 4


def test_a_hopeless_card_is_given_up_with_one_line(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hopeless = plan_cards("world", 8, seed=0)[2].id
    server.replies = lambda number, body: chat(
        json.dumps([row(c, **({"scene": "No."} if c["id"] == hopeless else {})) for c in cards_of(body)])
    )
    assert write(server, tmp_path / "a.jsonl") == 0
    shown = capsys.readouterr()
    assert (
        sum(line.startswith(f"{hopeless} is given up after 3 tries: scene has 1") for line in shown.err.split("\n"))
        == 1
    )
    assert "7 scenes written" in shown.out and "1 given up" in shown.out
    assert sum(hopeless in ids for ids in server.asked_ids()) == 3


def test_an_interrupted_run_goes_on(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    server.replies = lambda number, body: good(body) if number == 1 else (403, {}, "no more")
    assert write(server, out) == 2
    whole = out.read_bytes()
    assert len(read_records(out)) == 4
    out.write_bytes(whole + '{"id": "natural-ü'.encode()[:-1])
    server.replies = lambda number, body: good(body)
    assert write(server, out, "--dry-run") == 0 and len(out.read_bytes()) > len(whole), "a dry run changes nothing"
    assert write(server, out) == 0
    assert out.read_bytes().startswith(whole)
    assert [record.id for record in read_records(out)] == [card.id for card in plan_cards("world", 8, seed=0)]
    assert server.asked_ids()[2] == server.asked_ids()[1], "what was finished is not asked for again"
    num = len(server.requests)
    assert write(server, out) == 0 and len(server.requests) == num
    assert write(server, out, num=12) == 0
    assert [record.id for record in read_records(out)] == [card.id for card in plan_cards("world", 12, seed=0)]


def test_a_last_line_that_only_lacks_its_end_is_kept(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    assert write(server, out, num=4) == 0
    out.write_bytes(out.read_bytes().rstrip(b"\n"))
    assert write(server, out, num=5) == 0
    assert len(read_records(out)) == 5 and [len(ids) for ids in server.asked_ids()] == [4, 1]


@pytest.mark.parametrize("content", ["a recipe for soup", "{}\n", '{"id": "x"}\n{"id": ', '[1]\n{"id": "x"'])
def test_a_file_that_is_no_set_stays_as_it_is(server: Server, tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    assert write(server, tmp_path / "a.jsonl") == 2
    assert (tmp_path / "a.jsonl").read_text() == content and server.requests == []


def test_a_dry_run_asks_nobody(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write(server, tmp_path / "a.jsonl", "--dry-run", num=30) == 0
    shown = capsys.readouterr().out
    request, end = json.JSONDecoder().raw_decode(shown)
    assert [card["id"] for card in cards_of(request)] == [card.id for card in plan_cards("world", 4, seed=0)]
    assert "| natural | landforms |" in shown[end:] and "| 30 |" in shown[end:]
    assert server.requests == [] and not (tmp_path / "a.jsonl").exists()


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.replies = lambda number, body: (429, {"Retry-After": "0"}, "slow down") if number == 1 else good(body)
    assert write(server, tmp_path / "a.jsonl", num=4) == 0
    assert len(server.requests) == 2 and server.requests[0][2] == server.requests[1][2]


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_patience_has_an_end(server: Server, status: int) -> None:
    client = ChatClient(ChatConfig(base_url=server.url, model="m", max_tries=3, wait_s=0))
    server.replies = lambda number, body: chat("Yes.") if number == 3 else (status, {}, "later")
    assert client.ask([{"role": "user", "content": "?"}]) == "Yes."
    server.replies = lambda number, body: (status, {}, "later")
    with pytest.raises(WorldR1Error, match="at try 3; run again later") as caught:
        client.ask([])
    assert len(server.requests) == 6 and not isinstance(caught.value, InputError)


def test_a_silent_server_is_asked_again(server: Server) -> None:
    silence = threading.Event()

    def replies(number: int, body: dict[str, Any]) -> Reply:
        if number == 1:
            silence.wait(5)
        return chat("Yes.")

    server.replies = replies
    config = ChatConfig(base_url=server.url, model="m", timeout_s=0.3, wait_s=0)
    assert ChatClient(config).ask([]) == "Yes." and len(server.requests) == 2
    silence.set()


def test_the_waits_double_unless_the_server_says_how_long(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("worldr1.data.chat.time.sleep", waits.append)
    headers = {2: {"Retry-After": "7"}, 3: {"Retry-After": "9999"}, 4: {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}}
    server.replies = lambda number, body: (503, headers.get(number, {}), "")
    with pytest.raises(WorldR1Error):
        ChatClient(ChatConfig(base_url=server.url, model="m", wait_s=2)).ask([])
    assert waits == [2, 7, 60, 16, 32]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((401, {}, '{"error": {"message": "Incorrect key"}}'), "refuses the key (401): set OPENAI_API_KEY"),
        (
            (404, {}, '[{"error": {"message": "no model small"}}]'),
            "(404: no model small); check --base-url and --model",
        ),
        ((404, {}, "<html>"), "(404: Not Found); check --base-url"),
        ((400, {}, '{"error": "too long"}'), "(400: too long); check --model and --batch"),
        ((200, {}, "<html>Welcome</html>"), "does not answer as an OpenAI-compatible server does; check --base-url"),
        ((200, {}, '{"choices": []}'), "does not answer as an OpenAI-compatible server"),
    ],
)
def test_what_the_caller_did_wrong_is_one_sentence(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], reply: Reply, said: str
) -> None:
    server.replies = lambda number, body: reply
    assert write(server, tmp_path / "a.jsonl") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and len(server.requests) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--base-url", "localhost:80/v1"], "is no address of a server"),
        (["--base-url", "ftp://host/v1"], "is no address of a server"),
        (["--base-url", "http://host:port/v1"], "is no address of a server"),
        (["--base-url", "http://127.0.0.1:1/v1"], "cannot be reached ([Errno"),
        (["--batch", "0"], "at least one"),
        (["--num", "0"], "at least one"),
        (["--enriched", "2"], "from 0 to 1"),
        (["--out", "set.txt"], "give a .jsonl file"),
        (["--out", "no/such/folder/set.jsonl"], "in a folder that exists"),
    ],
)
def test_impossible_arguments_are_said(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert write(server, tmp_path / "a.jsonl", *more) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and server.requests == []


def test_a_key_that_no_header_can_carry_is_refused_unseen(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    assert write(server, tmp_path / "a.jsonl") == 2
    error = capsys.readouterr().err
    assert "The key has characters" in error and KEY not in error and server.requests == []
