"""What all HTML pages share: one file that needs no network and no other file."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files


def html_page(
    title: str, body: str, *, styles: Sequence[str], scripts: Sequence[str], kind: str = "", css: str = ""
) -> str:
    """A whole page. title: plain text. styles, scripts: files beside this one. kind: a CSS class of the body.

    css: more styles, which come last.
    """
    css = "".join(asset(name) for name in styles) + css
    code = "".join(f"<script>{asset(name)}</script>" for name in scripts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{css}</style></head>"
        f"<body{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{body}{code}</body></html>\n"
    )


def with_contents(sections: Mapping[str, str]) -> str:
    """The sections that have something to say, under their titles, with links to them below the first."""
    opening, *named = [(title, body) for title, body in sections.items() if body]
    links = " · ".join(f'<a href="#part-{i}">{title}</a>' for i, (title, _) in enumerate(named))
    parts = "".join(f'<h2 id="part-{i}">{title}</h2>{body}' for i, (title, body) in enumerate(named))
    return f"{opening[1]}<nav>{links}</nav>{parts}"


def asset(name: str) -> str:
    """A file of this package as text."""
    return (files("worldr1.evaluate.pages") / name).read_text(encoding="utf-8")
