"""`python -m tools` writes every picture and every page that is made from data."""

from tools.made import MADE


def main() -> None:
    """Write them all."""
    for path, make in MADE.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make())


if __name__ == "__main__":
    main()
