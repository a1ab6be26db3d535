"""Where things lie in the folder that `worldr1 reproduce --out DIR` fills."""

from dataclasses import dataclass
from pathlib import Path

from worldr1.reproduce.variants import Variant


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths under one folder.

    runs/VARIANT/seed-N is an ordinary run folder of `worldr1 train`; judged/VARIANT one of `worldr1 mini judge --run
    runs/VARIANT/seed-*` (judging.json, table.md, records/JUDGE/SIDE-noise-N with SIDE base, truth, trained-0, ...: the
    n-th of its seeds in ascending order); films/NAME an evaluation of a few prompts (NAME: a variant, base or truth);
    measured/longer and measured/larger are judged like judged/full, of clips that the runs did not train; ledger.jsonl
    has every attempt. A job's output goes to NAME.log beside the folder NAME that it fills.
    """

    root: Path

    def run(self, variant: Variant, seed: int) -> Path:
        """Run folder of a variant's seed."""
        return self.root / "runs" / variant.name / f"seed-{seed}"

    def judged(self, variant: Variant) -> Path:
        """What `mini judge` said of all seeds of a variant."""
        return self.root / "judged" / variant.name

    def films(self, variant: Variant) -> Path:
        """Videos of a few prompts, for the page."""
        return self.root / "films" / variant.name

    @property
    def plan(self) -> Path:
        """How long the runs are and what is judged (`plan.Plan`): one for all that lies here."""
        return self.root / "plan.json"

    @property
    def ledger(self) -> Path:
        """One line per attempt at a job: finished, failed and killed ones."""
        return self.root / "ledger.jsonl"

    @property
    def under_way(self) -> Path:
        """The attempts that have not ended, for the next start after a kill."""
        return self.root / "under_way.json"

    @property
    def findings(self) -> Path:
        """Every claim's numbers and verdict (`findings_file`)."""
        return self.root / "findings.json"

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.root / "reproduction.html"

    @property
    def markdown(self) -> Path:
        """The same tables, for the repository."""
        return self.root / "reproduction.md"
