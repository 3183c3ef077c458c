"""The command `edgekit`, and `python -m edgekit`.

Nothing is imported before a Ctrl-C, or too little memory for the imports themselves, ends in one sentence.
"""

import errno
import sys

NO_MEMORY = ("cannot allocate memory", "failed to map segment", "can't start new thread")


def main() -> None:
    """Runs the command line."""
    try:
        from edgekit.cli.main import main as run

        run()
    except KeyboardInterrupt:  # while it was being loaded, or a second one while it ends
        print("edgekit: stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if not _is_no_memory(error):
            raise
        why = (str(error).strip() or type(error).__name__).splitlines()[-1]
        print(f"edgekit: there is too little memory here ({why})", file=sys.stderr)
        sys.exit(1)


def _is_no_memory(error: Exception) -> bool:
    said = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
        or any(text in said for text in NO_MEMORY)
    )


if __name__ == "__main__":
    main()
