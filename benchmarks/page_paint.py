"""How large a page is and how soon a browser shows it: any HTML file of worldr1.

    worldr1 compare base mini-r1 --limit 24
    python benchmarks/page_paint.py comparison.html [PAGE...] [--times 5]

Opens each as a file in the machine's headless Chromium, on a desktop's and a phone's screen, in a fresh page each time,
and prints a row: the file's size and the median (smallest to largest) time of the first contentful paint.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browsing import DESKTOP, PHONE, launched, opened
from machine import heading, load

PAINT = "performance.getEntriesByName('first-contentful-paint')"


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+", metavar="PAGE")
    parser.add_argument("--times", type=int, default=5, metavar="N", help="each page is opened (default: 5)")
    args = parser.parse_args()
    print(heading())
    with launched() as browser:
        print(f"headless Chromium {browser.version}, {load()}\n")
        sizes = [f"{size['width']} x {size['height']}" for size in (DESKTOP, PHONE)]
        print(f"| page | MB | {' | '.join(f'first paint, {size}, ms' for size in sizes)} |\n|---|---|---|---|")
        for file in args.pages:
            cells = [file.name, f"{file.stat().st_size / 1e6:.1f}"]
            for size in (DESKTOP, PHONE):
                paints = []
                for _ in range(args.times):
                    with opened(browser, file, viewport=size) as page:
                        page.wait_for_function(f"() => {PAINT}.length > 0")
                        paints.append(page.evaluate(f"{PAINT}[0].startTime"))
                cells.append(f"{statistics.median(paints):.0f} ({min(paints):.0f} to {max(paints):.0f})")
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
