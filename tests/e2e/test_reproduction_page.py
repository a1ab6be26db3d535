"""The page of `reproduce` in a real browser: films in step, one at a time in memory, phone, keyboard, both schemes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import COLOURED, CONTRAST, PHONE, launched, opened
from made_findings import FRAMES, findings, made_films, made_run

from worldr1.reproduce import page as reproduction
from worldr1.reproduce.layout import Layout

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CARD = "#claim-no-gen .clip"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = Layout(tmp_path_factory.mktemp("reproduced"))
    made_films(layout)
    made_run(layout, "no-gen", 0)
    layout.ledger.write_text(
        json.dumps({"job": "train no-gen seed 0", "kind": "train", "start": "now", "outcome": "finished"}) + "\n"
    )
    return reproduction.write(layout, findings())


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with launched() as found:
        yield found


def ready(page: "Page") -> None:
    page.evaluate(f"document.querySelector('{CARD}').scrollIntoView()")
    page.wait_for_function(f"document.querySelector('{CARD}').dataset.ready === 'yes'")


def times(page: "Page") -> list[float]:
    return page.evaluate(f"[...document.querySelector('{CARD}').querySelectorAll('video')].map((v) => v.currentTime)")


def test_the_films_of_a_prompt_follow_the_keyboard_together(browser: "Browser", page_file: Path) -> None:
    with opened(browser, page_file) as page:
        ready(page)
        page.locator(f"{CARD} input[type=range]").first.focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        at = "every((v) => Math.abs(v.currentTime - 3.5 / 8) <= 0.01)"
        page.wait_for_function(f"[...document.querySelector('{CARD}').querySelectorAll('video')].{at}")
        found = times(page)
        assert len(found) == 8 and max(found) - min(found) < 1e-3  # four sides, video and re-render
        assert page.locator(f"{CARD} .controls output").first.inner_text() == f"4 of {FRAMES}"
        page.wait_for_function(COLOURED, arg=[f"{CARD} canvas[data-part=error]", 20])


def test_films_out_of_sight_are_given_up_and_come_back(browser: "Browser", page_file: Path) -> None:
    with opened(browser, page_file, viewport={"width": 390, "height": 500}) as page:
        assert page.locator("video").count() == 0
        ready(page)
        page.evaluate("window.scrollTo(0, 0)")
        page.wait_for_function("document.querySelectorAll('video').length === 0")
        ready(page)
        assert len(times(page)) == 8
        page.locator(f"{CARD} .play").first.press("Enter")
        page.wait_for_function(f"document.querySelector('{CARD} video').currentTime > 0.3")


def test_a_claim_is_reached_by_keyboard_and_the_numbers_are_downloaded(browser: "Browser", page_file: Path) -> None:
    with opened(browser, page_file) as page:
        page.locator(".claims a").first.press("Enter")
        assert page.evaluate("location.hash") == "#claim-main-gain"
        assert page.evaluate("document.querySelector('#claim-main-gain').getBoundingClientRect().y") < 40
        folded = page.locator("#claim-main-gain details table")
        assert not folded.is_visible()
        page.locator("#claim-main-gain summary").first.press("Enter")
        assert folded.is_visible()
        with page.expect_download() as started:
            page.locator("button.download").press("Enter")
        assert len(json.loads(Path(started.value.path()).read_text())["findings"]) == len(findings())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling_and_every_text_can_be_read(
    browser: "Browser", page_file: Path, scheme: str
) -> None:
    with opened(browser, page_file, viewport=PHONE, color_scheme=scheme) as page:
        ready(page)
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert page.evaluate(CONTRAST) == []
