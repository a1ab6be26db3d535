"""A real browser for tests: the machine's own Chromium, driven by Playwright; without one the test is skipped."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
CONTRAST = """() => {
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.getClientRects().length || ["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
    const [a, b] = [parse(getComputedStyle(element).color), behind(element)].map(luminance).sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push([element.className || element.tagName, element.textContent.slice(0, 30), ratio]);
  }
  return low;
}"""
"""Texts that are hard to read: their class or tag, the text, the ratio of luminances."""
COLOURED = """([selector, least]) => {
  const canvas = document.querySelector(selector);
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const pen = copy.getContext("2d", { willReadFrequently: true });  // else the browser warns of a poll
  pen.drawImage(canvas, 0, 0);
  const { data } = pen.getImageData(0, 0, copy.width, copy.height);
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3]) seen.add(`${data[i]} ${data[i + 1]} ${data[i + 2]}`);
  return seen.size > least;
}"""
"""Whether a canvas shows more than so many colours; of what is drawn at all."""
MISSING = "no Chromium on this machine: apt-get install chromium, or set WORLDR1_CHROMIUM to its path"


def chromium() -> str | None:
    """Path of the browser; None without one."""
    return os.environ.get("WORLDR1_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """Headless; without the sandbox where root runs the tests, which Chromium refuses otherwise. Skips without one."""
    path = chromium()
    if path is None:
        pytest.skip(MISSING)
    arguments = [*ARGUMENTS, "--no-sandbox"] if os.geteuid() == 0 else [*ARGUMENTS]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, headless=True, args=arguments)
        yield found
        found.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for the tests of a file."""
    with launched() as found:
        yield found


def complaints(page: Page) -> list[str]:
    """A list that fills with what the page's console and scripts complain about."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


@contextmanager
def opened(browser: Browser, file: Path, **options: Any) -> Iterator[Page]:
    """The page, at rest unless reduced_motion says otherwise; fails for an error in its console or use of a network."""
    page = browser.new_page(**{"viewport": DESKTOP, "reduced_motion": "reduce"} | options)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith(("http", "ws")) else None)

    def dismiss(dialog: Dialog) -> None:  # a prompt's own script
        problems.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.goto(file.resolve().as_uri())
    yield page
    page.close()
    assert problems == []
