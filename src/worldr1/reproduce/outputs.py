"""What is written of the runs that are there: findings.json, and the page and the markdown where they can be made."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from worldr1.reproduce.finding import Finding, Verdict
from worldr1.reproduce.job import State
from worldr1.reproduce.jobs import Jobs
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.needs import NEEDS, find_need, needed
from worldr1.reproduce.plan import Plan
from worldr1.reproduce.prices import H200
from worldr1.train.checkpoint import write_whole

CLAIMS_MODULE = "worldr1.reproduce.claims"
"""`findings(layout) -> list[Finding]`: every claim's numbers and verdict, of whatever runs are there."""
PAGES = ("worldr1.reproduce.page", "worldr1.reproduce.markdown")
"""`write(layout, findings)` each."""


def write_outputs(layout: Layout, plan: Plan, seeds: int) -> list[Path]:
    """Writes everything anew; returns the files. Cheap: nothing is filmed or judged."""
    if find_spec(CLAIMS_MODULE):
        findings: list[Finding] = import_module(CLAIMS_MODULE).findings(layout)
    else:
        findings = [open_finding(claim, layout, plan, seeds) for claim in NEEDS]
    record = {"plan": asdict(plan), "published_plan": plan.is_published, "findings": [asdict(f) for f in findings]}
    write_whole(layout.findings, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
    for name in PAGES:
        if find_spec(name):
            import_module(name).write(layout, findings)
    return [path for path in (layout.findings, layout.page, layout.markdown) if path.is_file()]


def open_finding(claim: str, layout: Layout, plan: Plan, seeds: int) -> Finding:
    """Of a claim that no rule has judged: what is there of it, and the price of the rest."""
    need, jobs = find_need(claim), claim_jobs([claim], layout, plan, seeds)
    runs = [(v, seed) for v in jobs.needed.variants for seed in jobs.finished(v)]
    return Finding(
        claim=claim,
        title=need.title,
        says="",
        rule="",
        verdict=Verdict.OPEN,
        reason="no rule has judged it",
        variants=tuple(jobs.needed.seeds),
        num_runs=len(runs),
        missing_minutes=missing_minutes(jobs),
    )


def claim_jobs(claims: Sequence[str], layout: Layout, plan: Plan, seeds: int) -> Jobs:
    """Of these claims, priced on an H200."""
    return Jobs(layout=layout, plan=plan, prices=H200, needed=needed(claims, seeds))


def missing_minutes(jobs: Jobs) -> float:
    """Minutes of one H200, one job after the other, for what is not done."""
    return sum(job.minutes() for job in jobs.all() if job.state() is not State.DONE)
