"""`python -m worldr1`."""

from worldr1.cli import entry

if __name__ == "__main__":
    entry()
