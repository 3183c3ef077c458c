"""Runs one stage again, in this process, so that a debugger sees it.

    python -m edgekit.engine.replay FOLDER [--pdb]

FOLDER is a stage's folder of a run that was kept (`--keep-work`) or stopped: `.OUT.edgekit-work/TARGET/STAGE-KEY`, with spec.json in
it. The stage's files are written into a folder beside it, so that the kept run stays as it was; the result is printed as JSON.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.engine import child, private
from edgekit.engine.environment import environment
from edgekit.errors import EdgekitError, UserError
from edgekit.records.foreign import visible


def replay(folder: Path, work: Path) -> dict[str, Any]:
    """Calls the stage of `folder` with `work` in place of its own folder.

    Returns:
        Its result as plain data.

    Raises:
        UserError: `folder` is not a stage's folder, or another user's: a stage runs what its files say.
        Exception: Whatever the stage raises, as it is.
    """
    place = folder / child.SPEC
    if not place.is_file():
        raise UserError(
            f"{folder} is no stage's folder: it holds no {child.SPEC}; such folders lie in .OUT.edgekit-work/TARGET/ of a run with "
            "--keep-work, or of one that was stopped"
        )
    private.check_owner(folder, folder.stat())
    own = json.dumps(str(folder.absolute()))[1:-1]
    text = place.read_text(encoding="utf-8").replace(own, json.dumps(str(work))[1:-1])
    (work / child.SPEC).write_text(text, encoding="utf-8")
    return child.call(work / child.SPEC)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m edgekit.engine.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pdb", action="store_true", help="a debugger opens where the stage fails")
    asked = parser.parse_args(arguments)
    os.environ.update(environment(tuned=True))  # before any framework is imported
    work = Path(
        tempfile.mkdtemp(prefix="replay-", dir=asked.folder.parent if asked.folder.is_dir() else None)
    )
    try:
        print(json.dumps(replay(asked.folder, work), indent=1))
    except UserError as error:
        print(visible(f"edgekit: {error}"), file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if not asked.pdb:
            raise
        import pdb
        import traceback

        traceback.print_exc()
        pdb.post_mortem(error.__traceback__)
        return error.exit_code if isinstance(error, EdgekitError) else 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
