"""Films of one variant in a process of their own, as `reproduce` starts it: python -m worldr1.reproduce.filming DIR
VARIANT. What is filmed is `reproduce.films.film`'s to know."""

import sys
from collections.abc import Sequence
from pathlib import Path

from worldr1.errors import InputError
from worldr1.reproduce.films import film
from worldr1.reproduce.jobs import FILMED
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.variants import VARIANTS


def main(arguments: Sequence[str]) -> int:
    """Makes them; marks the folder once all are there. The exit code: 2, with one sentence, for bad input."""
    root, name = arguments
    layout, variant = Layout(Path(root)), VARIANTS[name]
    try:
        film(layout, [variant])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    (layout.films(variant) / FILMED).touch()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
