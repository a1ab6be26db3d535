"""The study in a real browser: raters of known taste vote through the page alone."""

import json
import random
import threading
from pathlib import Path

import pytest
from browsing import browser, complaints  # noqa: F401
from playwright.sync_api import Browser, Page, expect
from study_folders import Client, Rater, StudyServer, make_study, rate_all, study_key

from worldr1.cli import main
from worldr1.study.analysis import analyse_folder
from worldr1.study.design import Study
from worldr1.study.making import StudyPlan
from worldr1.study.votes import VOTES_FILE, VoteStore

TASTE = {"geometry": 0.9, "camera": 0.5, "overall": 0.7, "editable": 0.7}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    plan = StudyPlan(pairs=5, checks=1, participants=8, seed=2)
    make_study(path, plan, size=(4, 48, 64), fps=30)
    with StudyServer(path / "study") as running:
        yield running


def answer(page: Page, answers: dict[str, str]) -> None:
    """Waits until the page lets one answer, clicks and submits, as a person does."""
    expect(page.locator("#form input").first).to_be_enabled(timeout=15_000)
    assert page.locator("fieldset").count() == len(answers)
    for name, choice in answers.items():
        page.locator(f"input[name={name}][value={choice}]").check()
    page.locator("#submit").click()


def test_a_phone_votes_through_the_page_and_goes_on_after_a_reload_and_a_kill(server, browser: Browser):  # noqa: F811
    study, key = Study.load(server.folder), study_key(server.folder)
    rater = Rater(study, key, 0, TASTE, dice=random.Random(1))
    page = browser.new_page(viewport=PHONE, device_scale_factor=2)  # type: ignore[arg-type]
    said = complaints(page)
    page.goto(server.links[0])
    expect(page.locator("#seal")).to_have_text(study.key_sha256)
    page.locator("#start").click()

    page.wait_for_selector("#pair:visible")
    assert page.evaluate("""[...document.querySelectorAll('#form input')].every((i) => i.disabled)
        || loops.every((n) => n > 0)""")  # nothing can be answered before both videos have played once
    answers = rater.answers(0)
    expect(page.locator("#form input").first).to_be_enabled(timeout=15_000)
    names = list(answers)
    page.locator(f"input[name={names[0]}][value=left]").check()
    page.locator(f"input[name={names[0]}][value={answers[names[0]]}]").check()  # changed before it is submitted
    expect(page.locator("#submit")).to_be_disabled()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    page.reload()  # what was not submitted is still there
    expect(page.locator(f"input[name={names[0]}][value={answers[names[0]]}]")).to_be_checked()
    answer(page, answers)
    expect(page.locator("#count")).to_have_text("2 of 6")
    page.reload()
    expect(page.locator("#count")).to_have_text("2 of 6")

    # The server dies; the page says so, tries again, and goes on when it is back.
    second = rater.answers(1)
    expect(page.locator("#form input").first).to_be_enabled(timeout=15_000)
    server.kill()
    answer(page, second)
    expect(page.locator("#trouble")).to_contain_text("No connection")
    server.restart()
    expect(page.locator("#count")).to_have_text("3 of 6", timeout=15_000)
    assert [message for message in said if "ERR_CONNECTION" not in message] == []
    for at in range(2, 6):
        expect(page.locator("#count")).to_have_text(f"{at + 1} of 6")
        answer(page, rater.answers(at))
    expect(page.locator("#end-title")).to_have_text("Thank you!")
    page.close()

    store = VoteStore(server.folder / VOTES_FILE)
    votes = store.votes
    store.close()
    assert [vote.position for vote in votes] == list(range(6))
    assert dict(votes[0].answers) == answers and dict(votes[1].answers) == second
    assert all(vote.ms > 0 and min(vote.loops) >= 1 for vote in votes)


def test_the_keyboard_alone_is_enough(server, browser: Browser):  # noqa: F811
    page = browser.new_page(viewport={"width": 1100, "height": 800}, color_scheme="dark")
    page.goto(server.links[1])
    page.wait_for_selector("#start:visible")
    page.locator("#start").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#form input").first).to_be_enabled(timeout=15_000)
    for _ in range(60):
        if page.evaluate("document.activeElement.id") == "submit":
            break
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type === 'radio' && !document.activeElement.checked"):
            page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("2 of 6")
    page.close()


def test_a_wrong_link_and_a_closed_study_are_a_sentence(server, browser: Browser):  # noqa: F811
    page = browser.new_page()
    page.goto(server.links[2][:-4] + "abcd")
    expect(page.locator("body")).to_contain_text("link that you were given")
    page.close()


def test_the_report_shows_what_the_raters_like(server, browser: Browser, tmp_path):  # noqa: F811
    """Six more by the page's own requests; then the whole is closed, analysed and looked at."""
    study, key = Study.load(server.folder), study_key(server.folder)
    raters = [Rater(study, key, slot, TASTE, dice=random.Random(slot)) for slot in range(2, 8)]
    threads = [threading.Thread(target=rate_all, args=(Client(server.links[r.slot]), r)) for r in raters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    page = browser.new_page(viewport=PHONE)  # type: ignore[arg-type]
    page.goto(server.links[1])
    page.wait_for_selector("#pair:visible")
    assert main(["study", "close", str(server.folder)]) == 0
    page.reload()
    expect(page.locator("#end-title")).to_have_text("The study is closed")
    assert main(["study", "analyse", str(server.folder), "--out", str(tmp_path / "report.html")]) == 0
    analysis = analyse_folder(server.folder)
    geometry = next(result for result in analysis.everybody if result.question == "geometry")
    assert geometry.win.num >= 30 and geometry.win.share > 0.7
    said = complaints(page)
    page.goto((tmp_path / "report.html").as_uri())
    expect(page.locator("h1")).to_contain_text("tuned-model-name against base-model-name")
    assert page.locator(".forest .dot").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    with page.expect_download() as download:
        page.locator("a[download]").click()
    assert json.loads(Path(download.value.path()).read_text())["key_sha256"] == study.key_sha256
    assert said == []
    page.close()
