"""More prompts are better: nested lists at equal updates."""

from worldr1.reproduce.claims.claim import Claim, Found, against, contrasts, paper
from worldr1.reproduce.evidence import Evidence
from worldr1.reproduce.finding import Measured
from worldr1.reproduce.measures import PSNR
from worldr1.reproduce.rules import Outcome, data_size

SIZES = ("data-500", "data-1000", "data-1500")
STRESS = "data-50"


def measure(evidence: Evidence) -> tuple[Measured, ...]:
    """Every size that is there, less the largest."""
    if SIZES[-1] not in evidence.runs:
        return ()
    there = [name for name in (STRESS, *SIZES[:-1]) if name in evidence.runs]
    return tuple(row for name in there for row in contrasts(evidence, name))


def find(evidence: Evidence) -> Found:
    """The whole, and its two steps."""
    small, middle, large = SIZES
    pairs = ((large, small), (middle, small), (large, middle))
    whole, *steps = (_named(evidence, more, less) for more, less in pairs)
    return Found(decision=data_size(whole, steps), measured=measure(evidence))


def _named(evidence: Evidence, more: str, less: str) -> Outcome:
    outcome = against(evidence, more, PSNR, control=less)
    names = [evidence.runs[name].variant.text for name in (less, more)]
    return outcome._replace(text=f"from {names[0]} to {names[1]}: {outcome.text}")


CLAIM = Claim(
    name="data-size",
    title="More training prompts are better",
    says="With 1K, 2K and 3K prompts PSNR is 25.82, 26.54 and 27.63.",
    find=find,
    variants=SIZES,
    beside=(STRESS,),
    published=tuple(paper("E", "psnr_db", variant=f"{num}K prompts") for num in (1, 2, 3)),
    measure=measure,
    notes=(
        "A half run draws 93 x 16 = 1,488 times, each update anew: 476, 777 and 947 different prompts on average. A "
        "prompt of the smallest of the three lists comes three times.",
        "The mini world's prompts are one grammar: 500 of them show most of what 1,500 do.",
    ),
)
