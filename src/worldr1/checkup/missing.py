"""Whether all is there that a recipe's models are loaded from: said together, before the first of them is loaded."""

from collections.abc import Iterable

from worldr1.backends.published_files import Need
from worldr1.errors import InputError


def check_needs(needs: Iterable[tuple[str, Need]]) -> None:
    """Raises InputError for what is missing: its own sentence, or of several a table with a line for each.

    needs: each with whom it is for, as `build.recipe_needs` says them.
    """
    missing: dict[str, tuple[str, InputError]] = {}
    for whose, need in needs:
        try:
            need()
        except InputError as error:
            missing.setdefault(str(error), (whose, error))  # what two of them lack is one thing to fetch
    if len(missing) == 1:
        ((_, error),) = missing.values()
        raise error
    if missing:
        raise InputError(f"{len(missing)} things that the recipe needs are missing:\n{_table(missing.values())}")


def _table(missing: Iterable[tuple[str, InputError]]) -> str:
    """As `worldr1 doctor` prints its own."""
    rows = [(whose, " ".join(str(error).split())) for whose, error in missing]
    width = max(len(whose) for whose, _ in rows) + 2
    return "\n".join(f"{'MISSING':8}{whose:{width}}{said}" for whose, said in rows)
