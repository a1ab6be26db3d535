"""Beyond the paper: choices of ours against their alternatives, indicative (one run of half length each)."""

from worldr1.reproduce.claims.claim import Claim, Found, against, collapsed, contrasts
from worldr1.reproduce.evidence import Evidence
from worldr1.reproduce.finding import Measured, Verdict
from worldr1.reproduce.measures import PSNR, ROTATION, TRANSLATION
from worldr1.reproduce.rules import RULES, Decision, not_beaten, own_metrics_fall

RIVALRY = (PSNR, ROTATION, TRANSLATION)
INDICATIVE = "One run of each alternative: indicative, and it says so."
"""A rival's numbers are the judge's."""


def _measure(evidence: Evidence, variants: tuple[str, ...]) -> tuple[Measured, ...]:
    if "half" not in evidence.runs:
        return ()
    return tuple(row for name in variants if name in evidence.runs for row in contrasts(evidence, name))


def _rivals(name: str, title: str, says: str, *variants: str, notes: tuple[str, ...] = ()) -> Claim:
    def find(evidence: Evidence) -> Found:
        rivals = {
            evidence.runs[variant].variant.text: [against(evidence, variant, measure) for measure in RIVALRY]
            for variant in variants
            if not collapsed(evidence, variant)
        }
        fallen = [variant for variant in variants if collapsed(evidence, variant)]
        decision = not_beaten(rivals) if rivals else Decision(Verdict.HOLDS, "")
        reason = ". ".join(text for text in (decision.reason, *(f"{v}: its clips collapsed" for v in fallen)) if text)
        return Found(decision=decision._replace(reason=reason), measured=_measure(evidence, variants))

    return Claim(
        name=name,
        title=title,
        says=says,
        find=find,
        variants=("half", *variants),
        measure=lambda evidence: _measure(evidence, variants),
        notes=(INDICATIVE, *notes),
        of_paper=False,
    )


def _find_holdout(evidence: Evidence) -> Found:
    decision = own_metrics_fall([against(evidence, "no-holdout", PSNR)], collapsed=collapsed(evidence, "no-holdout"))
    return Found(decision=decision, measured=_measure(evidence, ("no-holdout",)))


def _find_rollouts(evidence: Evidence) -> Found:
    del evidence
    return Found(decision=Decision(Verdict.UNTESTABLE, RULES["rollouts"]))


CLAIMS = (
    Claim(
        name="rollouts",
        title="Real SDE steps against the release's deterministic rollouts",
        says="The paper has stochastic steps; its released trainer takes none for Wan.",
        find=_find_rollouts,
        notes=(
            'To test it one would write the release\'s UniPC solver and its residual "log-probability" as a sampler '
            "and an objective of their own: a day of work, then 3 GPU-minutes a run.",
        ),
        of_paper=False,
    ),
    _rivals(
        "prefix",
        "One start noise and one prefix for a group",
        "Ours: the paper leaves open how members of a group differ.",
        "no-prefix",
        notes=("Equal updates, not equal seconds: without a shared prefix rollouts take longer.",),
    ),
    Claim(
        name="holdout",
        title="S_recon on frames that the scene has not seen",
        says="Ours: the paper redraws the frames that its Gaussians were made of.",
        find=_find_holdout,
        variants=("half", "no-holdout"),
        measure=lambda evidence: _measure(evidence, ("no-holdout",)),
        notes=(INDICATIVE,),
        of_paper=False,
    ),
    _rivals(
        "sde-steps",
        "One SDE step is enough",
        "The paper draws some steps at random; how many is open.",
        "sde-steps-2",
        "sde-steps-4",
        notes=("Equal updates, not equal seconds: each SDE step is one more forward and backward of a group.",),
    ),
    _rivals(
        "kernels",
        "The kernel flow_sde",
        "The paper's equations 1 and 2, with a diffusion that it leaves open.",
        "kernel-wan",
        "kernel-ddim",
        "kernel-dance",
        "kernel-cps",
        notes=("At each kernel's default level: a level tuned to it might do better.",),
    ),
    _rivals("group-size", "Groups of 12", "The paper has G = 8.", "group-6", "group-24"),
    _rivals(
        "quality-frames",
        "R_gen of the first 4 frames",
        "The paper averages the first K frames; K is open.",
        "quality-1",
        "quality-17",
        notes=("The scale of R_gen (mean and spread of the base model's scores) is that of 4 frames for all three.",),
    ),
)
