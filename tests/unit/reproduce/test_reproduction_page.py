"""The page and its Markdown say the same of made-up findings, escape everything and do without anything."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_findings import HOSTILE, finding, findings, made_films, made_run, measured

from worldr1.reproduce import markdown, page
from worldr1.reproduce.claims import CLAIMS
from worldr1.reproduce.contrast_table import HEADS, Cell, contrast_rows
from worldr1.reproduce.finding import Published, Verdict
from worldr1.reproduce.inventory import finished_runs, read_ledger
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.seed_charts import seed_chart
from worldr1.reproduce.variants import VARIANTS
from worldr1.reproduce.wording import SYMBOLS, by_measure, number, published_words, tallies
from worldr1.train.runlog import METRICS_FILE


class Words(HTMLParser):
    """What a reader sees: all text but scripts and styles; and every tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self._silent = "", [], False
        self.feed(html)
        self.text = " ".join(self.text.replace("\N{NO-BREAK SPACE}", "~").split()).replace("~", "\N{NO-BREAK SPACE}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._silent = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._silent else f"{data} "


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A folder with films, runs of three variants and a ledger."""
    layout = Layout(tmp_path_factory.mktemp("reproduced"))
    made_films(layout)
    for seed in (1, 0):
        made_run(layout, "half", seed)
    made_run(layout, "no-gen", 0, updates=40)
    made_run(layout, "no-traj", 0, updates=60, finished=False)
    entries = [
        {
            "job": HOSTILE,
            "kind": "train",
            "start": "2026-11-30T10:00:00+00:00",
            "outcome": "killed",
            "seconds": 12.3456789,
            "error": "a | b",
            "host": "secret",
            "command": ["/x"],
        },
        {
            "job": "train half seed 0",
            "kind": "train",
            "start": "2026-11-30T10:01:00+00:00",
            "outcome": "finished",
            "device": "one GPU",
            "commit": "abc",
        },
    ]
    layout.ledger.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries) + '{"job": "cut')
    return layout


@pytest.fixture(scope="module")
def html(layout: Layout) -> str:
    return page.write(layout, findings(), facts={HOSTILE: HOSTILE}, warnings=[HOSTILE]).read_text()


@pytest.fixture(scope="module")
def text(layout: Layout) -> str:
    return markdown.write(layout, findings(), facts={HOSTILE: HOSTILE}, warnings=[HOSTILE]).read_text()


def record_of(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="record">(.*?)</script>', html, re.DOTALL)
    assert found

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(found[1], parse_constant=refuse)


def test_every_verdict_stands_in_words_in_the_first_table_and_in_its_claim(html: str, text: str) -> None:
    table = html.split("Claim by claim</h2>")[0]
    for verdict in Verdict:
        said = f"</span> {verdict}</span>"
        assert table.count(said) == 1 and html.count(said) == 2
        assert f"{SYMBOLS[verdict]} **{verdict}**" in text
    assert "holds: 1, partly: 1, does not hold: 1, cannot be tested here: 1, not measured: 1" in Words(html).text
    assert html.count("Rule, written before any of its runs:") == len(Verdict)


def test_our_own_choices_are_not_counted_as_the_paper_s_claims() -> None:
    some = [finding("a"), finding("b", Verdict.FAILS), finding("c", of_paper=False)]
    assert tallies(some) == [
        ("The paper's claims (2)", "holds: 1, does not hold: 1"),
        ("our own choices, beyond it (1)", "holds: 1"),
    ]
    assert sum(claim.of_paper for claim in CLAIMS.values()) == 12


def test_a_claim_without_runs_has_its_price_and_its_command(html: str, text: str) -> None:
    for said in (Words(html.split("Not measured</h2>")[1]).text, text.split("## Not measured")[1]):
        assert "7 GPU-minutes" in said and "worldr1 reproduce no-phase" in said
        assert "main-gain" not in said.split("The runs")[0]


def test_differences_of_all_variants_stand_in_one_table_bold_where_0_is_not_in_them(layout: Layout) -> None:
    found = [
        finding("no-gen", measured=(measured("half.psnr", (22.0, 23.0)), measured("no-gen.less.psnr", (-0.5, -0.7)))),
        finding("no-traj", measured=(measured("no-traj.less.words", (0.02, 0.04), percent=True, low=-0.01),)),
    ]
    rows = {name: dict(zip(HEADS, cells, strict=True)) for name, cells in contrast_rows(found)}
    assert list(rows) == [VARIANTS["no-gen"].text, VARIANTS["no-traj"].text]
    assert rows[VARIANTS["no-gen"].text]["psnr"] == Cell("-0.600", shown=True)
    assert rows[VARIANTS["no-traj"].text]["words"] == Cell("+3.0 points", shown=False)
    assert rows[VARIANTS["no-traj"].text]["psnr"] == Cell("-", shown=False)
    assert "<b>-0.600</b>" in page.write(layout, found).read_text()
    assert "**-0.600**" in markdown.contrasts_table(found) and "| +3.0 points |" in markdown.contrasts_table(found)
    assert contrast_rows(findings()) == [] and markdown.contrasts_table(findings()) == ""


def test_nothing_that_is_text_is_markup(html: str, text: str) -> None:
    assert HOSTILE in Words(html).text and "<script>alert" not in html
    scripts = [attrs for tag, attrs in Words(html).tags if tag == "script"]
    assert all(attrs.get("type") == "application/json" for attrs in scripts[:-2])  # the last two are the page's own
    assert not [name for _, attrs in Words(html).tags for name in attrs if name.startswith("on")]
    assert "<script>" not in text.replace("\\<", "")
    for part in text.split("\n\n"):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in part.splitlines()}
        assert not part.startswith("|") or len(bars) == 1  # every row has the columns of its table


def test_numbers_that_do_not_exist_are_said_to_be_missing(html: str, text: str) -> None:
    shown = Words(html).text
    for word in ("None", "nan", "inf", "NaN"):
        assert not re.search(rf"\b{word}\b", shown) and not re.search(rf"\b{word}\b", text)
    assert "1.000 no interval" in shown
    nothing = next(
        row for claim in record_of(html)["findings"] for row in claim["measured"] if row["name"] == "nothing"
    )
    assert nothing["value"] is None and nothing["seeds"] == [None]


def test_the_page_and_the_markdown_have_the_same_numbers(html: str, text: str) -> None:
    shown = Words(html).text
    for claim in findings():
        for row in claim.measured:
            for value in (row.value, row.low, row.high, row.new_low, row.new_high, *row.seeds):
                assert number(value, row) in shown and number(value, row) in text
    assert "93.0\N{NO-BREAK SPACE}%" in shown and "90.0\N{NO-BREAK SPACE}% to 96.0\N{NO-BREAK SPACE}%" in shown


def test_the_papers_numbers_stand_once_each_apart_from_ours() -> None:
    assert published_words(Published(text="PSNR", value=27.63, source="")) == "PSNR: 27.63"
    assert published_words(Published(text="MVCS: 0.989", value=0.989, source="")) == "MVCS: 0.989"


def test_what_was_run_is_read_from_the_folder(html: str, text: str, layout: Layout) -> None:
    shown = Words(html).text
    for said in ("runs 3, of 2 variants", "seeds 0, 1", "updates 240", "minutes of training 12.0", "machine one GPU"):
        assert said in shown
    assert "Runs of no-gen had fewer updates" in shown and "Runs of no-gen had fewer updates" in text
    assert [run.seed for run in finished_runs(layout, VARIANTS["half"])] == [0, 1]
    assert finished_runs(layout, VARIANTS["no-traj"]) == []


def test_a_run_whose_adapter_stayed_elsewhere_counts_if_its_records_are_whole(layout: Layout, tmp_path: Path) -> None:
    there, variant = Layout(tmp_path), VARIANTS["half"]
    shutil.copytree(layout.run(variant, 0), there.run(variant, 0))
    (whole,) = finished_runs(there, variant)
    whole.adapter.unlink()
    assert finished_runs(there, variant) == [whole] and whole.updates == 100
    metrics = there.run(variant, 0) / METRICS_FILE
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:90]))
    assert finished_runs(there, variant) == []


def test_every_attempt_is_listed_without_names_of_the_machine(html: str, text: str, layout: Layout) -> None:
    entries, damaged = read_ledger(layout)
    assert [entry["outcome"] for entry in entries] == ["killed", "finished"] and damaged == 1
    for said in (Words(html).text, text):
        assert "killed" in said and "12.3457" in said and "1 line(s) of the ledger cannot be read" in said
        assert "secret" not in said and "/x" not in said
    assert "secret" not in html and record_of(html)["ledger"] == entries


def test_a_film_is_carried_once_and_shown_by_every_claim_that_needs_it(html: str) -> None:
    tags = Words(html).tags
    carried = [attrs["id"] for tag, attrs in tags if tag == "script" and (attrs.get("id") or "").startswith("film-")]
    asked = [attrs["data-source"] for _, attrs in tags if "data-source" in attrs]
    assert len(carried) == len(set(carried)) == 4 * 3
    assert set(asked) == set(carried) and asked.count("film-half-0-0-0") == 2 == asked.count("film-base-0-0-0")
    claim = html.split('id="claim-no-gen"')[1].split("</section>")[0]
    titles = re.findall(r'<h4 class="model m(\d)">(.*?)</h4>', claim)[:4]
    assert [place for place, _ in titles] == ["0", "1", "3", "2"]
    assert titles[0][1] == "base model" and titles[1][1] == "control: the recipe, half as long, seed 4"
    assert claim.index("<details><summary>1 more prompt</summary>") < claim.index('id="clip-5"')
    assert '"dynamic"' not in claim and "dynamic</p>" in claim.split("<details><summary>1 more")[0]
    gone = html.split('id="claim-no-traj"')[1].split("</section>")[0]
    assert "no films of these runs yet" in gone and 'class="card clip' not in gone


def test_a_chart_has_a_dot_per_seed_on_one_scale_with_the_control() -> None:
    rows = by_measure([measured("half.words", (0.98, 0.99)), measured("no-gen.words", (0.91,)), measured("mvcs")])
    assert [[row.name for row in group] for group in rows] == [["half.words", "no-gen.words"], ["mvcs"]]
    drawn = seed_chart(rows[0])
    dots = [float(x) for x in re.findall(r'class="seed" cx="([\d.]+)"', drawn)]
    means = [float(x) + 5 for x in re.findall(r'class="mean" d="M([\d.]+)', drawn)]
    assert len(dots) == 3 and dots[2] < dots[0] < means[0] < dots[1] and dots[2] == pytest.approx(means[1], abs=0.1)
    assert drawn.count('class="interval"') == 1 == drawn.count('class="new-run"')  # of one seed there are none
    assert 'class="zero"' not in drawn and 'class="zero"' in seed_chart([measured("change", (-0.2, 0.1))])
    assert seed_chart([measured("nothing", (float("nan"),))]) == ""


def test_rows_of_one_measure_are_titled_by_what_they_share() -> None:
    pair = [measured(f"{name}.psnr", (22.0, 23.0)) for name in ("half", "no-gen")]
    rows = [
        replace(row, text=f"{whose}: PSNR (dB)") for row, whose in zip(pair, ("the recipe", "without"), strict=True)
    ]
    drawn = seed_chart(rows)
    assert "<figcaption>PSNR (dB)</figcaption>" in drawn and "<p>the recipe <b>" in drawn
    assert "<figcaption>the recipe: PSNR (dB)</figcaption>" in seed_chart(rows[:1])


def test_a_difference_of_shares_is_in_points() -> None:
    row = measured("no-gen.less.words", (-0.01, -0.02), percent=True)
    assert number(row.value, replace(row, points=True)) == "-1.5\N{NO-BREAK SPACE}points"
    assert number(row.value, row) == "-1.5\N{NO-BREAK SPACE}%"
    assert ">0 %</text>" in seed_chart([row]) and ">0</text>" in seed_chart([replace(row, points=True)])


def test_runs_that_were_judged_are_counted_beside_those_that_lie_there(tmp_path: Path) -> None:
    """A variant's adapters may be judged elsewhere, and not all of its run folders brought here."""
    layout = Layout(tmp_path)
    made_run(layout, "half", 1)
    judging = layout.judged(VARIANTS["half"]) / "judging.json"
    judging.parent.mkdir(parents=True)
    judging.write_text(json.dumps({"adapters_sha256": ["a", "b", "c"], "num_prompts": 192}))
    for shown in (Words(page.write(layout, []).read_text()).text, markdown.write(layout, []).read_text()):
        assert "3 runs, 192 prompts" in shown


def test_an_empty_folder_has_a_page_too(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    shown = Words(page.write(layout, []).read_text()).text
    assert "none finished" in shown and "Claim by claim" not in shown
    assert markdown.write(layout, [finding("main-gain")]).read_text().startswith("# ")
