"""Every number that a mini run records is called by a name that a reader understands."""

from worldr1.evaluate.labels import LABELS
from worldr1.evaluate.records import Evaluation
from worldr1.evaluate.statistics.values import value_names
from worldr1.shipped import shipped_adapter


def test_every_number_of_the_packaged_run_has_a_label() -> None:
    records = Evaluation.load(shipped_adapter().parent / "before").records
    assert set(value_names(records)) - LABELS.keys() == set()
