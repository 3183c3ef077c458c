"""One version: of the code, of the changelog, and of the files that two programs exchange."""

import re
from pathlib import Path

import edgekit_runner
from edgekit_runner.cli import bundle

from edgekit.package import manifest_file

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def test_the_changelog_tells_of_this_version_first() -> None:
    released = re.findall(r"^## \[(\d[^\]]*)\]", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == edgekit_runner.__version__


def test_the_runner_reads_the_manifest_that_edgekit_writes() -> None:
    assert bundle.MANIFEST_VERSION == manifest_file.SCHEMA_VERSION
