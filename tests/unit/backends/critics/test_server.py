"""The critic behind a real HTTP server that speaks the API: well, late, out of order, or badly."""

import base64
import io
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch
from chat_server import Reply, Request, serving
from PIL import Image
from tiny_qwen3_vl import tiny_image_processor, tiny_model, tiny_tokenizer
from torch import Tensor

from worldr1.backends.critics import CriticConfig, load_critic
from worldr1.backends.critics.digits import digit_token_ids
from worldr1.backends.critics.instruction import instruction
from worldr1.backends.critics.qwen3_vl import Qwen3VLCritic
from worldr1.backends.critics.qwen3_vl_inputs import Qwen3VLInputs
from worldr1.backends.critics.server import ServerCritic, digit_shares
from worldr1.config import dump_toml
from worldr1.errors import InputError, ServerError
from worldr1.protocols import Critic
from worldr1.rewards.guard import Fault, call_each
from worldr1.rewards.meta_view import expected_digit_score

KEY = "sk-very-secret-123"
MODEL = "qwen3-vl-4b"


class Server:
    """Answers with what `replies` gives for a request's body; keeps every request, and how many ran at once."""

    url: str

    def __init__(self) -> None:
        self.replies: Callable[[dict[str, Any]], Reply] = digit_of_the_picture
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.running = self.most = 0

    def answer(self, request: Request) -> Reply:
        with self.lock:
            self.requests.append(request)
            self.running += 1
            self.most = max(self.most, self.running)
        reply = self.replies(request[2])
        with self.lock:
            self.running -= 1
        return reply

    def critic(self, **keys: Any) -> ServerCritic:
        return ServerCritic(CriticConfig(base_url=self.url, model=MODEL, **{"retry_wait_s": 0.0, **keys}))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    found = Server()
    with serving(found.answer) as found.url:
        yield found


def reply(candidates: dict[str, float], **changes: Any) -> dict[str, Any]:
    """A reply of chat/completions. candidates: token -> probability."""
    top = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in candidates.items()]
    chosen = max(top, key=lambda c: c["logprob"], default={"token": "", "logprob": 0.0})
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": chosen["token"]},
        "logprobs": {"content": [{**chosen, "top_logprobs": top}]},
        "finish_reason": "length",
    }
    return {"id": "x", "object": "chat.completion", "model": MODEL, "choices": [choice], **changes}


def good(candidates: dict[str, float], **changes: Any) -> Reply:
    return 200, {}, json.dumps(reply(candidates, **changes))


def picture_of(body: dict[str, Any]) -> Image.Image:
    url: str = body["messages"][0]["content"][0]["image_url"]["url"]
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def shown(body: dict[str, Any]) -> int:
    """The digit that the picture's grey level stands for."""
    return round(picture_of(body).getpixel((0, 0))[0] / 255 * 9)  # type: ignore[index]


def digit_of_the_picture(body: dict[str, Any]) -> Reply:
    return good({str(shown(body)): 0.9, "The": 0.05})


def pictures(digits: list[int]) -> Tensor:
    return torch.stack([torch.full((3, 8, 12), digit / 9) for digit in digits])


def judged(critic: Critic, digits: list[int]) -> list[Any]:
    """As the reward calls it: one score or one fault per picture."""
    items = list(pictures(digits))
    return call_each(
        lambda xs: expected_digit_score(critic(torch.stack(list(xs)), ["a"] * len(xs))).tolist(), items, "critic"
    )


# ------------------------------------------------------------------------------------------------------ what is asked


def test_a_request_asks_for_one_token_and_its_log_probabilities(server: Server) -> None:
    server.critic()(torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0)), ["A red box."])
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions" and "Authorization" not in headers
    messages = body.pop("messages")
    assert body == {"model": MODEL, "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20}
    assert len(messages) == 1 and messages[0]["role"] == "user"
    assert messages[0]["content"][1] == {"type": "text", "text": instruction("A red box.")}


def test_pictures_arrive_without_loss(server: Server) -> None:
    """Defect Q: JPEG, in pickle, with the fractions of the grey levels cut off."""
    image = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    server.replies = lambda body: good({"5": 1.0})
    server.critic()(image, ["a"])
    received = torch.tensor(list(picture_of(server.requests[0][2]).tobytes())).reshape(8, 12, 3).movedim(-1, 0)
    assert torch.equal(received, (image[0] * 255).round().long())


def test_the_key_is_in_the_header_and_nowhere_else(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    critic = server.critic(key_variable="MY_KEY")
    assert judged(critic, [3]) == [pytest.approx(0.3)]
    server.replies = lambda body: (400, {}, json.dumps({"error": {"message": f"bad {KEY}"}}))
    said = judged(critic, [3])[0].reason
    assert "bad (key)" in said
    for path, headers, body in server.requests:
        assert headers.pop("Authorization") == f"Bearer {KEY}"
        assert KEY not in f"{path}{headers}{body}"
    assert all(KEY not in text for text in (said, dump_toml(critic.config), repr(critic.config), critic.licence))


@pytest.mark.parametrize("value", [None, "", f"{KEY}\n"])
def test_a_key_that_is_not_there_is_said(server: Server, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(
        InputError, match=r"MY_KEY, and that environment variable is not set|The key has char"
    ) as caught:
        server.critic(key_variable="MY_KEY")
    assert KEY not in str(caught.value) and server.requests == []


# ----------------------------------------------------------------------------------------------------- whose answer


def test_every_answer_belongs_to_its_own_picture(server: Server) -> None:
    """Answers come in any order, from several callers at once (the release: 208 of 300 scores to another video)."""
    gate = threading.Barrier(8)
    draw = torch.Generator().manual_seed(0)
    delays = (torch.rand(400, generator=draw) * 0.02).tolist()

    def replies(body: dict[str, Any]) -> Reply:
        with suppress(threading.BrokenBarrierError):
            gate.wait(0.02)  # so many wait together, then leave in random order
        time.sleep(delays[len(server.requests) % len(delays)])
        return digit_of_the_picture(body)

    server.replies = replies
    critic = server.critic(concurrency=16)
    calls = [torch.randint(0, 10, (8,), generator=draw).tolist() for _ in range(24)]
    with ThreadPoolExecutor(6) as clients:
        found = list(clients.map(lambda digits: critic(pictures(digits), ["a"] * 8), calls))
    wrong = sum(int((p.argmax(-1) != torch.tensor(d)).sum()) for p, d in zip(found, calls, strict=True))
    assert wrong == 0 and len(server.requests) == 192 and critic.digit_mass.count == 192


def test_the_last_picture_may_be_answered_first(server: Server) -> None:
    done: list[int] = []
    turn = threading.Condition()

    def replies(body: dict[str, Any]) -> Reply:
        digit = shown(body)
        with turn:
            turn.wait_for(lambda: len(done) == 7 - digit, timeout=5)  # 7, 6, ... 0
            done.append(digit)
            turn.notify_all()
        return digit_of_the_picture(body)

    server.replies = replies
    found = server.critic(concurrency=8)(pictures(list(range(8))), ["a"] * 8)
    assert done == list(range(7, -1, -1)) and found.argmax(-1).tolist() == list(range(8))


def test_requests_under_way_are_bounded(server: Server) -> None:
    def replies(body: dict[str, Any]) -> Reply:
        time.sleep(0.02)
        return digit_of_the_picture(body)

    server.replies = replies
    critic = server.critic(concurrency=3)
    with ThreadPoolExecutor(4) as clients:  # the bound is the critic's, not the call's
        list(clients.map(lambda _: critic(pictures([1] * 4), ["a"] * 4), range(4)))
    assert server.most == 3 and len(server.requests) == 16


def test_one_prompt_per_picture(server: Server) -> None:
    with pytest.raises(ValueError, match="2 pictures for 1 prompts"):
        server.critic()(pictures([1, 2]), ["a"])
    assert server.requests == [] and server.critic()(torch.empty(0, 3, 8, 8), []).shape == (0, 10)


# ------------------------------------------------------------------------------------------------ reading an answer


def test_both_spellings_count_and_the_rest_is_mass(server: Server) -> None:
    server.replies = lambda body: good({"7": 0.3, " 7": 0.1, "8": 0.4, "Eight": 0.1, "78": 0.05, "\uff17": 0.04})
    answers = server.critic().judge(pictures([0]), ["a"])
    assert float(answers.mass) == pytest.approx(0.8, abs=1e-6)
    assert answers.probabilities[0].tolist() == pytest.approx([0] * 7 + [0.5, 0.5, 0], abs=1e-6)
    assert float(expected_digit_score(answers.probabilities)) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("candidates", "mass"), [({"The": 0.7, "7": 0.2}, "0.2"), ({"<think>": 1.0}, "0"), ({"7.5": 1.0}, "0")]
)
def test_words_instead_of_a_digit_are_a_fault(server: Server, candidates: dict[str, float], mass: str) -> None:
    server.replies = lambda body: good(candidates) if shown(body) == 4 else digit_of_the_picture(body)
    found = judged(server.critic(), [2, 4, 9])
    assert found[0] == pytest.approx(0.2) and found[2] == pytest.approx(0.9)
    assert isinstance(found[1], Fault) and f"digit mass {mass}, needed 0.5" in found[1].reason


def test_a_server_says_what_the_same_model_says_in_process(server: Server) -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    inputs = Qwen3VLInputs(tokenizer, tiny_image_processor(), image_token_id=model.config.image_token_id)
    ids = digit_token_ids(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
    local = Qwen3VLCritic(model, inputs, digit_ids=ids, licence="none", min_digit_mass=0.0)

    def replies(body: dict[str, Any]) -> Reply:  # as if the ten were among the best twenty
        question = body["messages"][0]["content"][1]["text"]
        shares = model(**inputs([picture_of(body)], [question])).logits[0, -1].softmax(-1)
        return good({tokenizer.decode([token]): float(shares[token]) for (token,) in ids})

    server.replies = replies
    coarse = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, size=(64, 96), mode="bilinear")
    prompts = ["A red box.", 'Fog, and a "quoted" sign.', ""]
    here, there = local.judge(images, prompts), server.critic(min_digit_mass=0.0).judge(images, prompts)
    torch.testing.assert_close(there.probabilities, here.probabilities, atol=1e-5, rtol=0)
    torch.testing.assert_close(there.mass, here.mass, atol=1e-6, rtol=0)


def test_no_digits_at_all_are_no_score_even_where_any_mass_will_do(server: Server) -> None:
    server.replies = lambda body: good({"The": 1.0})
    found = judged(server.critic(min_digit_mass=0.0), [4])
    assert isinstance(found[0], Fault) and "not a distribution" in found[0].reason


def _choice(**changes: Any) -> dict[str, Any]:
    whole = reply({"5": 1.0})
    return {**whole, "choices": [{**whole["choices"][0], **changes}]}


def _top(*candidates: Any) -> dict[str, Any]:
    return _choice(logprobs={"content": [{"token": "5", "top_logprobs": list(candidates)}]})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (json.dumps({**reply({"5": 1.0}), "choices": []}), "its choices are empty"),
        (json.dumps({**reply({"5": 1.0}), "choices": [None]}), "its choices are empty"),
        (json.dumps({"object": "error"}), "its choices are empty"),
        (json.dumps(_choice(logprobs=None)), "gives no log-probabilities"),
        (json.dumps({**reply({}), "choices": [{"message": {"content": "5"}}]}), "gives no log-probabilities"),
        (json.dumps(_choice(logprobs={"content": None})), "cannot be read (TypeError"),
        (json.dumps(_choice(logprobs={"content": []})), "cannot be read (IndexError"),
        (json.dumps(_choice(logprobs={"content": [{"token": "5", "logprob": 0}]})), "cannot be read (KeyError"),
        (json.dumps(_top({"token": "5", "logprob": "high"})), "cannot be read (ValueError"),
        (json.dumps(_top({"token": "5", "logprob": math.nan})), "no logarithms of probabilities"),
        (json.dumps(_top({"token": "5", "logprob": 0.9})), "no logarithms of probabilities"),
        (json.dumps(_top({"token": "5", "logprob": 0}, {"token": "6", "logprob": 0})), "probability of 2 together"),
        (json.dumps(_top()), "digit mass 0, needed 0.5"),
        (json.dumps({**reply({"5": 1.0}), "model": "gpt-2"}), "answers as the model 'gpt-2', not 'qwen3-vl-4b'"),
        ("{", "does not answer as an OpenAI-compatible server does; check the critic's base_url"),
        ("<html>Welcome</html>", "does not answer as an OpenAI-compatible server"),
        ("[]", "does not answer as an OpenAI-compatible server"),
        ("", "does not answer as an OpenAI-compatible server"),
    ],
)
def test_a_wrong_answer_is_a_fault_of_its_picture_alone(server: Server, answer: str, said: str) -> None:
    server.replies = lambda body: (200, {}, answer) if shown(body) == 4 else digit_of_the_picture(body)
    found = judged(server.critic(), [2, 4, 9])
    assert found[0] == pytest.approx(0.2) and found[2] == pytest.approx(0.9)
    assert isinstance(found[1], Fault) and said in found[1].reason and "\n" not in found[1].reason


def test_a_reply_need_not_name_its_model() -> None:
    whole = reply({"5": 0.5})
    del whole["model"]
    assert digit_shares(whole, model=MODEL) == pytest.approx([0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0])


# ------------------------------------------------------------------------------------------------------ trouble


@pytest.mark.parametrize("status", [0, 408, 429, 500, 502, 503])
def test_passing_trouble_is_tried_again(server: Server, status: int) -> None:
    failures = iter([status, status])
    lock = threading.Lock()

    def replies(body: dict[str, Any]) -> Reply:
        with lock:
            trouble = next(failures, None)
        return digit_of_the_picture(body) if trouble is None else (trouble, {}, "later")

    server.replies = replies
    assert judged(server.critic(max_tries=3), [2, 7]) == [pytest.approx(0.2), pytest.approx(0.7)]
    assert len(server.requests) == 4


def test_an_answer_that_breaks_off_is_asked_for_again(server: Server) -> None:
    breaks = iter([True])

    def replies(body: dict[str, Any]) -> Reply:
        status, headers, content = digit_of_the_picture(body)
        return status, {"Content-Length": "9999"} if next(breaks, False) else headers, content

    server.replies = replies
    assert judged(server.critic(max_tries=2), [8]) == [pytest.approx(0.8)] and len(server.requests) == 2


@pytest.mark.parametrize("status", [0, 429, 500])
def test_patience_has_an_end_and_a_dead_server_costs_it_once(server: Server, status: int) -> None:
    server.replies = lambda body: (status, {}, "later")
    critic = server.critic(max_tries=3, concurrency=1)
    found = judged(critic, [1, 2, 3, 4])
    assert all(isinstance(f, Fault) and "ServerError" in f.reason for f in found)
    # three for the first picture, one while the rest of the batch is given up, one for each picture alone
    assert 7 <= len(server.requests) <= 10
    server.replies = digit_of_the_picture
    assert judged(critic, [5]) == [pytest.approx(0.5)]
    before, failures = len(server.requests), iter([503, 503])
    server.replies = lambda body: digit_of_the_picture(body) if (f := next(failures, 0)) == 0 else (f, {}, "later")
    assert judged(critic, [6]) == [pytest.approx(0.6)]  # its patience is back
    assert len(server.requests) == before + 3


def test_a_hanging_server_is_left_after_the_timeout(server: Server) -> None:
    silence = threading.Event()
    server.replies = lambda body: (200, {}, "{}") if silence.wait(5) else (500, {}, "")
    start = time.monotonic()
    found = judged(server.critic(timeout_s=0.1, max_tries=1), [1])
    silence.set()
    assert isinstance(found[0], Fault) and "does not answer (timed out)" in found[0].reason
    assert time.monotonic() - start < 2


def test_an_answer_that_trickles_in_is_left_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    stop = threading.Event()

    class Trickle(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            with suppress(ConnectionError):
                for _ in range(200):
                    self.wfile.write(b" ")
                    if stop.wait(0.02):
                        return

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Trickle)
    threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    url = f"http://127.0.0.1:{http_server.server_port}/v1"
    critic = ServerCritic(CriticConfig(base_url=url, model=MODEL, timeout_s=0.2, max_tries=1))
    start = time.monotonic()
    with pytest.raises(ServerError, match="trickles in"):
        critic(pictures([1]), ["a"])
    assert time.monotonic() - start < 2
    stop.set()
    http_server.shutdown()
    http_server.server_close()


def test_a_server_that_is_starting_is_awaited() -> None:
    """A refused connection is trouble that passes; a run does not die of a server that is started again."""
    critic = ServerCritic(CriticConfig(base_url="http://127.0.0.1:1/v1", model=MODEL, max_tries=2, retry_wait_s=0.0))
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:1/v1/chat/completions still does not answer .* at try 2"):
        critic(pictures([1]), ["a"])


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the key (401): set the critic's key_variable and that environment variable to a valid one"),
        (404, "knows no such page or model (404: no such model); check the critic's base_url and the critic's model"),
        (400, "refuses the request (400: no such model); check the critic's model and how the server was started"),
        (301, "sends us on to http://elsewhere/; give the final address as the critic's base_url"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(server: Server, status: int, said: str) -> None:
    content = json.dumps({"error": {"message": "no such model"}})
    server.replies = lambda body: (status, {"Location": "http://elsewhere/"}, content)
    with pytest.raises(InputError) as caught:
        server.critic()(pictures([1]), ["a"])
    assert said in str(caught.value) and len(server.requests) == 1


def test_a_critic_is_asked_once_before_a_run(server: Server) -> None:
    config = CriticConfig(base_url=server.url, model=MODEL)
    critic = load_critic(config)
    assert isinstance(critic, ServerCritic) and len(server.requests) == 1
    server.replies = lambda body: good({"Well": 1.0})
    with pytest.raises(InputError, match=r"cannot be used: the critic's answer is hardly a digit: digit mass 0,"):
        load_critic(config)
    server.replies = lambda body: good({"5": 1.0}, model="other")
    with pytest.raises(InputError, match=r"^The critic's server answers as the model 'other'"):
        load_critic(config)


def test_an_address_that_is_none_is_said() -> None:
    for address in ("localhost:80/v1", "ftp://host/v1"):
        with pytest.raises(InputError, match="no address of a server"):
            ServerCritic(CriticConfig(base_url=address))
    with pytest.raises(InputError, match="needs its base_url"):
        ServerCritic(CriticConfig())
