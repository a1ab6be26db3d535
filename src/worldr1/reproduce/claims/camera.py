"""Camera control: rotation, translation and both (CamMC), over all moving clips and by kind of camera move.

RotErr, TransErr and CamMC of CamI2V are sums over frames, of paths that are divided by their own lengths
(`metrics.camera_path`). The judge's records keep means over frames, in degrees and as a share of the *requested* path,
which do not forgive a camera that stops half way. CamMC is the Frobenius norm of the difference of two poses: here
sqrt(8 sin^2(theta / 2) + e^2) of a video's mean errors theta and e (the mean of its frames' norms is no less).
"""

import math

from worldr1.evaluate.records import VideoRecord
from worldr1.reproduce.claims.claim import BASE, Claim, Found, lacks, measured, oriented, paper, said
from worldr1.reproduce.evidence import Evidence, Runs
from worldr1.reproduce.finding import Measured, Verdict
from worldr1.reproduce.intervals import Estimate
from worldr1.reproduce.measures import ROTATION, TRANSLATION, Measure, change_of
from worldr1.reproduce.rules import Decision, Outcome, camera_control

SEQUENCES = "two moves"
BOTH = Measure(name="cammc", text="rotation and translation together (CamMC)", key="translation_error", better=-1)
ERRORS = {"rotation": ROTATION, "translation": TRANSLATION, "cammc": BOTH}


def both_errors(record: VideoRecord) -> float | None:
    """CamMC a frame, of a video with the mean errors of this one; None without them."""
    rotation, translation = (record.measures.get(key) for key in (ROTATION.key, TRANSLATION.key))
    if rotation is None or translation is None:
        return None
    return math.hypot(math.sqrt(8) * math.sin(math.radians(rotation) / 2), translation)


def kind_of_move(record: VideoRecord) -> str:
    """A token, or `SEQUENCES`; "" without camera words."""
    return record.tokens[0] if len(record.tokens) == 1 else SEQUENCES if record.tokens else ""


def change(runs: Runs, error: str, move: str | None = None) -> Estimate:
    """Relative change of an error over moving static clips, or over all static clips of one kind of move."""
    measure = ERRORS[error]
    value = both_errors if error == BOTH.name else None
    if move is None:
        table = runs.table(_grouped(measure), value=value)
    else:
        table = runs.table(
            _everywhere(measure), lambda record: not record.dynamic and kind_of_move(record) == move, value
        )
    return change_of(table)


def _grouped(measure: Measure) -> Measure:
    return Measure(name=measure.name, text=measure.text, key=measure.key, better=-1, group=ROTATION.group)


def _everywhere(measure: Measure) -> Measure:
    return Measure(name=measure.name, text=measure.text, key=measure.key, better=-1)


def moves_of(runs: Runs) -> list[str]:
    """The kinds of move that its static prompts ask for, sequences last."""
    found = {kind_of_move(record) for record in runs.base[0].records if not record.dynamic} - {""}
    return sorted(found, key=lambda move: (move == SEQUENCES, move))


def find(evidence: Evidence) -> Found:
    """The rule, with every change by kind of move beside it."""
    runs = evidence.runs["full"]
    over_all = {error: change(runs, error) for error in ERRORS}
    by_move = {(error, move): change(runs, error, move) for move in moves_of(runs) for error in ERRORS}
    known = {
        move: Outcome(oriented(estimate, -1), said(move, estimate, decimals=3, percent=True))
        for (error, move), estimate in by_move.items()
        if error == BOTH.name and math.isfinite(estimate.error)
    }
    outcomes = [
        Outcome(oriented(estimate, -1), said(_text(error), estimate, decimals=3, percent=True))
        for error, estimate in over_all.items()
    ]
    few = sorted({move for _, move in by_move} - set(known))
    notes = [f"Too few prompts, or no error to begin with: {', '.join(few)}."] if few else []
    if missing := lacks(evidence, ("full",), (ROTATION, TRANSLATION)):
        decision = Decision(Verdict.OPEN, missing)
    else:
        decision = camera_control(outcomes, known)
        decision = decision._replace(reason=f"{decision.reason} (the paper's sums: -84, -96, -95 %)")
    return Found(decision=decision, measured=_rows(over_all, by_move), notes=tuple(notes))


def _rows(over_all: dict[str, Estimate], by_move: dict[tuple[str, str], Estimate]) -> tuple[Measured, ...]:
    rows = [
        measured(
            f"{error}.all", f"{_text(error)}, all moving clips: relative change", estimate, decimals=3, percent=True
        )
        for error, estimate in over_all.items()
        if estimate.num
    ]
    rows += [
        measured(f"{error}.{move}", f"{_text(error)}, {move}: relative change", estimate, decimals=3, percent=True)
        for (error, move), estimate in by_move.items()
        if estimate.num
    ]
    return tuple(rows)


def _text(error: str) -> str:
    return {"rotation": "Rotation error (RotErr)", "translation": "Translation error (TransErr)"}.get(
        error, "Both together (CamMC)"
    )


CLAIM = Claim(
    name="camera-control",
    title="The camera goes where the words say",
    says="RotErr falls from 9.29 to 1.50, TransErr from 62.94 to 2.76 and CamMC from 66.21 to 3.39.",
    rule_written="when the overall numbers of the three published runs were known",
    find=find,
    variants=("full",),
    published=tuple(
        paper("C", metric, method)
        for metric in ("rotation_error_sum", "translation_error_sum", "cammc_sum")
        for method in (BASE, "World-R1-Small")
    ),
    notes=(
        "The paper names neither the pose estimator nor the number of frames. Ours are means over frames, relative to "
        "the base's; the judge's own error (of the rendered truth: a third of the base's) is in them.",
        "Pans and `fixed` ask for no travel: their translation error is in units of a sideways move of 0.22 depths.",
    ),
)
