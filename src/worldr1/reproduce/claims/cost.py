"""What the trained model costs at inference: nothing, once its LoRA is merged."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, variance
from typing import Any

from worldr1.errors import InputError
from worldr1.reproduce.claims.claim import Claim, Found, measured
from worldr1.reproduce.evidence import FILES, Evidence
from worldr1.reproduce.finding import Measured
from worldr1.reproduce.intervals import Estimate, Spread, satterthwaite
from worldr1.reproduce.rules import inference_cost

TIMES = ("seconds_base", "seconds_merged", "seconds_lora")
COUNTS = ("modules_base", "modules_merged", "parameters_base", "parameters_merged")


def read(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Checks it. Raises InputError if a number is missing or no number."""
    times = [seconds for name in TIMES for seconds in table.get(name) or (math.nan,)]
    counts = [table.get(name) for name in COUNTS]
    if not all(isinstance(s, int | float) and s > 0 for s in times) or not all(isinstance(c, int) for c in counts):
        raise InputError(f"{FILES['inference']} lacks one of {', '.join((*TIMES, *COUNTS))}; remove it and run again.")
    return table


def ratio(seconds: Sequence[float], base: Sequence[float]) -> Estimate:
    """Of medians; its error from the spread of the repeats (of logarithms, which for small spreads is relative)."""
    value = median(seconds) / median(base)
    spreads = [_relative(times) for times in (seconds, base)]
    total = satterthwaite(spreads)
    return Estimate(
        value=value,
        error=value * math.sqrt(total.variance),
        df=total.df,
        seeds=(),
        num=min(len(seconds), len(base)),
        knows_seeds=False,
    )


def _relative(times: Sequence[float]) -> Spread:
    if len(times) < 2:
        return Spread(math.inf, 1)
    return Spread(variance(times) / fmean(times) ** 2 / len(times), len(times) - 1)


def find(evidence: Evidence) -> Found:
    """The rule, with the price of a LoRA that is not merged beside it."""
    table = read(evidence.files["inference"])
    decision = inference_cost(
        ratio=ratio(table["seconds_merged"], table["seconds_base"]).value,
        same_modules=table["modules_merged"] == table["modules_base"],
        same_parameters=table["parameters_merged"] == table["parameters_base"],
    )
    return Found(decision=decision, measured=measure(evidence))


def measure(evidence: Evidence) -> tuple[Measured, ...]:
    """Seconds by those of the base."""
    if "inference" not in evidence.files:
        return ()
    table = read(evidence.files["inference"])
    names = {"merged": "merged into the weights", "lora": "beside the weights"}
    return tuple(
        measured(
            f"ratio_{name}",
            f"Seconds of a sample with the LoRA {text}, by the base's",
            ratio(table[f"seconds_{name}"], table["seconds_base"]),
            decimals=3,
            predicts=False,
        )
        for name, text in names.items()
    )


CLAIM = Claim(
    name="inference-cost",
    title="No change of architecture, no cost at inference",
    says="The architecture stays as it is, so sampling costs what the base model's does.",
    find=find,
    variants=("full",),
    files=("inference",),
    measure=measure,
    notes=(
        "At full size on an H200: a forward with the LoRA merged takes 1.007 of the base's, beside it a fifth more "
        "(docs/results.md). Camera control also needs the start noise, made before sampling.",
    ),
)
