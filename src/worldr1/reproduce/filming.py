"""Films of one variant in a process of their own, as `reproduce` starts it: python -m worldr1.reproduce.filming DIR
VARIANT. What is filmed is `reproduce.films.film`'s to know."""

import sys
from collections.abc import Sequence
from pathlib import Path

from worldr1.reproduce.films import film
from worldr1.reproduce.jobs import FILMED
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.variants import VARIANTS


def main(arguments: Sequence[str]) -> None:
    """Makes them; marks the folder once all are there."""
    root, name = arguments
    layout, variant = Layout(Path(root)), VARIANTS[name]
    film(layout, [variant])
    (layout.films(variant) / FILMED).touch()


if __name__ == "__main__":
    main(sys.argv[1:])
