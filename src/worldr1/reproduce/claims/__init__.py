"""The claims: what each needs, and what is found of it in a folder of `worldr1 reproduce`."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from worldr1.errors import InputError
from worldr1.reproduce.claims import ablations, beyond, camera, cost, data_size, gain, larger
from worldr1.reproduce.claims.claim import Claim, Found
from worldr1.reproduce.evidence import Evidence, load_evidence
from worldr1.reproduce.finding import Finding, Verdict
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.prices import measuring_minutes, missing_minutes
from worldr1.reproduce.rules import RULES, Decision
from worldr1.reproduce.variants import VARIANTS

CLAIMS: Mapping[str, Claim] = {
    claim.name: claim
    for claim in (
        gain.CLAIM,
        camera.CLAIM,
        *ablations.CLAIMS,
        data_size.CLAIM,
        larger.CLAIM,
        cost.CLAIM,
        *beyond.CLAIMS,
    )
}
"""By name, in the order in which they are worth their minutes."""
SEEDS = 3


def findings(layout: Layout, names: Iterable[str] | None = None, *, seeds: int = SEEDS) -> list[Finding]:
    """One finding per claim (all if None), from whatever runs are there; `Verdict.OPEN` where some are missing.

    seeds: how many runs of a variant are wanted, for the price of what is missing. Raises InputError for an unknown
    claim, or a file that is damaged.
    """
    chosen = list(CLAIMS) if names is None else list(names)
    claims = [find_claim(name) for name in chosen]
    evidence = load_evidence(layout)
    return [find(claim, evidence, seeds=seeds) for claim in claims]


def find_claim(name: str) -> Claim:
    """Raises InputError, which names the nearest claim, if there is none of that name."""
    if name not in CLAIMS:
        near = get_close_matches(name, CLAIMS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the claims are {', '.join(CLAIMS)}"
        raise InputError(f"There is no claim {name!r}; {hint}")
    return CLAIMS[name]


def find(claim: Claim, evidence: Evidence, *, seeds: int = SEEDS) -> Finding:
    """What the evidence says of one claim."""
    missing = [name for name in claim.variants if name not in evidence.runs]
    missing += [name for name in claim.files if name not in evidence.files]
    there = [name for name in (*claim.variants, *claim.beside) if name in evidence.runs]
    if missing:
        found = Found(decision=_open(missing), measured=claim.measure(evidence) if claim.measure else ())
    else:
        found = claim.find(evidence)
    return Finding(
        claim=claim.name,
        title=claim.title,
        says=claim.says,
        rule=RULES[claim.name],
        verdict=found.decision.verdict,
        reason=found.decision.reason,
        published=claim.published,
        measured=tuple(dict.fromkeys(found.measured)),  # variants of one control bring its level each
        variants=claim.variants,
        rule_written=claim.rule_written,
        of_paper=claim.of_paper,
        num_runs=sum(len(evidence.runs[name].seeds) for name in there),
        missing_minutes=price([claim], evidence, seeds=seeds),
        notes=(*found.notes, *claim.notes, *_about(evidence, there)),
    )


def price(claims: Iterable[Claim], evidence: Evidence, *, seeds: int = SEEDS) -> float:
    """Minutes of one H200 for all that these claims lack together; what several need is paid once."""
    chosen = list(claims)
    variants = dict.fromkeys(name for claim in chosen for name in (*claim.variants, *claim.beside))
    files = dict.fromkeys(name for claim in chosen for name in claim.files if name not in evidence.files)
    return sum(measuring_minutes(name, seeds) for name in files) + sum(
        missing_minutes(VARIANTS[name], evidence.runs[name].seeds if name in evidence.runs else (), seeds)
        for name in variants
    )


def _open(missing: list[str]) -> Decision:
    return Decision(Verdict.OPEN, f"not there: {', '.join(missing)}")


def _about(evidence: Evidence, there: list[str]) -> list[str]:
    """What a reader must know of the runs."""
    notes = []
    if single := [name for name in there if len(evidence.runs[name].seeds) == 1]:
        notes.append(f"One run only of {', '.join(single)}.")
    if short := [name for name in there if evidence.runs[name].shorter and name != "full"]:
        notes.append(f"Shorter than planned: {', '.join(short)}.")
    lists = {evidence.runs[name].prompts_sha256 for name in there if name != "full"}
    if len(lists) > 1:
        notes.append("Judged on different lists of prompts; differences are over the prompts that both sides have.")
    return notes
