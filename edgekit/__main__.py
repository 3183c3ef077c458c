"""The command `edgekit`, and `python -m edgekit`. Nothing is imported before a Ctrl-C ends in silence, not in a traceback."""

import sys


def main() -> None:
    """Runs the command line."""
    try:
        from edgekit.cli.main import main as run

        run()
    except KeyboardInterrupt:  # while it was being loaded, or a second one while it ends
        print("edgekit: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
