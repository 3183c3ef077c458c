"""The report in a real browser: nothing is cut off on a phone or on a desk, in light and in dark."""

import html as escaping
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit.records import Report
from edgekit.report import html

pytestmark = pytest.mark.bundles

PROBE = """<!doctype html><title>waiting</title><iframe width="{width}" height="900" srcdoc="{page}"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const inside = frame.contentDocument, root = inside.documentElement;
  const hidden = (each) => each.closest("thead") !== null || each.closest("svg") !== null;
  const right = (each) => each.getBoundingClientRect().right;
  const cut = [...inside.querySelectorAll("body *")].filter((each) => !hidden(each) && right(each) > root.clientWidth + 1);
  document.title = JSON.stringify({{ scrolls: root.scrollWidth > root.clientWidth, cut: cut.map((each) => each.tagName + " " + each.textContent.trim().slice(0, 60)) }});
}};
</script>"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_off(report: Report, tmp_path: Path, width: int, theme: str) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    page = tmp_path / "probe.html"
    page.write_text(PROBE.format(width=width, page=escaping.escape(html.page([report]))), encoding="utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=5000",
    ]
    dark = ["--force-dark-mode"] if theme == "dark" else []
    command = [browser, *flags, *dark, "--window-size=1400,1000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title is not None, done.stderr[-2000:]
    assert json.loads(escaping.unescape(title[1])) == {"scrolls": False, "cut": []}
