"""README and docs name what exists: links and their headings, functions, tests, and commands that parse."""

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import cast

import pytest

from worldr1.build import load_experiment
from worldr1.cli import COMMANDS, Command
from worldr1.cli.evaluate_sources import find_source
from worldr1.evaluate.suites.suite import load_suite

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("integrations/*/*.md"))]
PLACEHOLDER = "`module:name`"
"""Where a page says how names are written."""


def found(pattern: str) -> Iterator[tuple[str, str]]:
    """Page and text of every place in the pages that matches."""
    for page in PAGES:
        for match in re.finditer(pattern, page.read_text(encoding="utf-8"), re.M):
            yield str(page.relative_to(ROOT)), match[match.lastindex or 0]


@cache
def headings(page: Path) -> set[str]:
    """As GitHub makes anchors of them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def leads_nowhere(page: str, link: str) -> bool:
    file, _, heading = link.partition("#")
    target = (ROOT / page).parent / file if file else ROOT / page
    return not target.exists() or (target.suffix == ".md" and bool(heading) and heading not in headings(target))


def is_missing(name: str) -> bool:
    """name: `module:name` below worldr1."""
    module, _, attribute = name.strip("`").partition(":")
    stem = ROOT / "src" / "worldr1" / module.replace(".", "/")
    source = next((file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()), None)
    return source is None or re.search(rf"\b{attribute}\b", source.read_text(encoding="utf-8")) is None


def does_not_parse(line: str) -> bool:
    name, *words = shlex.split(line, comments=True)[1:]
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    cast(Command, importlib.import_module(COMMANDS[name][0])).add_arguments(parser)
    try:
        parser.parse_args(words)
    except (SystemExit, argparse.ArgumentError):
        return True
    return False


def test_links_lead_somewhere() -> None:
    links = [(page, link) for page, link in found(r"\]\(([^)\s]+)\)") if not link.startswith("http")]
    assert len(links) > 150
    assert [(page, link) for page, link in links if leads_nowhere(page, link)] == []


def test_functions_are_where_they_are_said_to_be() -> None:
    pages = ("docs/architecture.md", "docs/paper.md")  # elsewhere the same letters are hosts, or modules of the user's
    names = [(page, name) for page, name in found(r"`[a-z_0-9.]+:\w+`") if page in pages and name != PLACEHOLDER]
    assert len(names) > 150
    assert [(page, name) for page, name in names if is_missing(name)] == []


def test_named_tests_exist() -> None:
    tests = list(found(r"((?:unit|numerics|e2e|gpu|faults)/[\w/]+\.py(?:::\w+)?)"))
    assert len(tests) > 150
    for page, test in tests:
        file, _, name = test.partition("::")
        source = ROOT / "tests" / file
        assert source.is_file() and f"def {name}" in source.read_text(encoding="utf-8"), f"{page}: {test}"


@pytest.mark.parametrize(
    ("model", "recipe", "suite", "times"),
    [
        ("wan2.1-1.3b", "world-r1-small", "paper", 2),  # T2 and E
        ("wan2.1-14b", "world-r1-large", "paper", 1),
        ("wan2.1-14b", "world-r1-large", "long", 1),
    ],
)
def test_a_base_in_the_paper_s_tables_samples_as_its_recipe_s_lora(
    model: str, recipe: str, suite: str, times: int
) -> None:
    """Of the commands in docs/evaluation.md, by what `evaluate` would write into the folder."""
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row.startswith("|") and f"evaluate --suite {suite}" in row]
    words = [found for row in rows for found in re.findall(rf"--model {model}((?: --set \S+?)+)`", row)]
    assert len(words) == times
    config = load_experiment(recipe)
    expected = {"guidance": config.model.guidance, "dtype": config.model.dtype, "steps": config.sampler.num_steps}
    expected |= {"strength": config.noise.strength, "transport": config.noise.transport, "shift": config.sampler.shift}
    expected |= {"height": config.clip.height, "width": config.clip.width}
    parser = argparse.ArgumentParser()
    cast(Command, importlib.import_module("worldr1.cli.evaluate")).add_arguments(parser)
    for some in words:
        source = find_source(parser.parse_args(["--model", model, *some.split()]), load_suite(suite))
        assert {name: source.settings[name] for name in expected} == expected
        assert "parallax_strength" not in source.settings and config.noise.parallax_strength is None


@pytest.mark.parametrize("page", ["README.md", "docs/camera.md", "docs/evaluation.md", "docs/reproducing.md"])
def test_commands_parse(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = re.findall(r"^    (worldr1 [^&\n]*[^&\\\n])$", text, re.M)
    assert len(lines) > 1
    assert [line for line in lines if does_not_parse(line)] == []
