"""The report in a real browser: every control is used, nothing is cut off or too faint, nothing is asked of the network.

`make test-bundles`; EDGEKIT_NPM names a folder whose node_modules hold playwright-core.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from app_tools import PARTS, need, npm_modules, run

from edgekit.records import Report
from edgekit.report import html

pytestmark = pytest.mark.bundles
GROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}


def used(page: Path, width: int, theme: str, screenshot: Path | None = None) -> dict[str, Any]:
    """What a browser of this width saw while every control was used."""
    need("node", "chromium")
    place = page.parent
    (place / "node_modules").symlink_to(npm_modules("playwright-core"))
    shutil.copyfile(PARTS / "report.mjs", place / "report.mjs")
    shot = () if screenshot is None else (screenshot,)
    done = run("node", "report.mjs", shutil.which("chromium"), page, width, theme, *shot, folder=place)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", GROUNDS)
def test_every_control_works_and_everything_can_be_read(
    report: Report, tmp_path: Path, width: int, theme: str
) -> None:
    html.write(report, tmp_path / "report.html")
    found = used(tmp_path / "report.html", width, theme)
    text, controls = found.pop("text"), found.pop("controls")
    assert found == {
        "scrolls": False, "cut": [], "faint": [], "dead": [], "errors": [], "requests": [], "ground": GROUNDS[theme],
    }  # fmt: skip
    assert controls >= 15
    for heading in (
        "What to do next",
        "Size against accuracy",
        "Where the time went",
        "Layers of ",
        "Latency",
        "Memory",
    ):
        assert heading in text


def test_a_page_that_is_too_wide_asks_the_network_and_is_faint_is_caught(tmp_path: Path) -> None:
    """What the test above would say of it."""
    (tmp_path / "report.html").write_text(
        "<!doctype html><body style='background:#fff'><p style='width:900px;color:#ccc'>wide and faint</p>"
        "<img src='http://127.0.0.1:9/x.png'><details><summary onclick='event.preventDefault()'>dead</summary>x</details>"
    )
    found = used(tmp_path / "report.html", 390, "light")
    assert found["scrolls"] and found["cut"] == found["faint"] == ["P wide and faint"]
    assert found["dead"] and found["requests"] == ["http://127.0.0.1:9/x.png"]
