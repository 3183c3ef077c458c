"""The pages: terminal, Markdown and HTML of one report."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from edgekit.errors import UserError
from edgekit.records import Attempt, Decision, Recipe, Report
from edgekit.report import html, markdown, terminal
from edgekit.report.files import write_whole
from edgekit.report.plot import plot

REPLACE = msgspec.structs.replace
HOSTILE = "<script>alert('x')</script> \"quoted\" | `a` {{ 7 * 7 }}"


class _Tags(HTMLParser):
    """Checks nesting and collects the start tags with their attributes."""

    VOID = frozenset({"meta", "line", "circle", "rect", "path"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> _Tags:
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def hostile(report: Report) -> Report:
    first = REPLACE(report.targets[0], target=HOSTILE, summary=HOSTILE)
    return REPLACE(report, task=HOSTILE, doubts=(HOSTILE,), targets=(first, *report.targets[1:]))


def test_terminal_fits_100_columns(report: Report) -> None:
    written = terminal.text(report)
    assert max(len(line) for line in written.splitlines()) <= 100
    lines = {re.sub(r" {2,}", "  ", line.strip()) for line in written.splitlines()}
    assert {
        "x86-server  ptq(mse)  5.16 MB  0.8900  98.50 %  0.65*  38.1 MB*",
        "accepted x86-server: metric within budget; 1.54 times as fast as float",
        "refused  x86-server  ptq(minmax): metric fell by 0.0310, allowed is 0.0050",
        "* tflite-int8: Metric and Agreement: scored on 400 of 500 samples",
    } <= lines
    assert written.startswith("imagenet-lite0: 3 of 4 targets accepted; float metric 0.8925, n=400; budget: ")


def test_terminal_prints_markup_as_it_is(report: Report) -> None:
    odd = REPLACE(report, task="[red]task[/red] [/]", doubts=("[bold]",))
    assert "[red]task[/red] [/]: 3 of 4" in terminal.text(odd)


def test_markdown_is_one_table(report: Report) -> None:
    written = markdown.text(report)
    table = [line for line in written.splitlines() if line.startswith("|")]
    assert len(table) == 6
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {10}
    assert r"0.98 \[0.97, 1.00\], 30 rounds, on x86\_64 avx2, not the target" in written
    assert "- x86-server, ptq(minmax): metric fell by 0.0310, allowed is 0.0050" in written


def test_markdown_escapes(report: Report) -> None:
    written = markdown.text(hostile(report))
    assert "<script>" not in written
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in written.splitlines() if line.startswith("|")} == {
        10
    }


def test_html_is_whole_and_alone(report: Report) -> None:
    page = html.page([report])
    tags = parsed(page)
    assert not {tag for tag, _ in tags.tags} & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"https?:|//[a-z]|url\(|@import", page)
    assert not any(name in attributes for _, attributes in tags.tags for name in ("src", "style"))
    places = {f"#{attributes['id']}" for _, attributes in tags.tags if "id" in attributes}
    assert {attributes["href"] for _, attributes in tags.tags if "href" in attributes} <= places
    assert len(page) < 100_000
    assert all("scope" in attributes for tag, attributes in tags.tags if tag == "th")
    assert {attributes["role"] for tag, attributes in tags.tags if tag == "svg"} == {"img"}
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


@pytest.mark.parametrize(
    "said",
    [
        "0.65*</span><small>[0.64, 0.67], 30 rounds</small>",
        "0.98</span><small>[0.97, 1.00], 30 rounds, on x86_64 avx2, not the target</small>",
        "coreml-fp16: CPU time / float and Peak memory not measured: Core ML runs on Apple hardware only",
        "budget: at least 0.8875",
        "no training data in the task",
        "litert-torch cannot lower aten.roll from block.3",
        "7-bit weights cannot saturate",
        "Conv:int8",
        "12.4 MB <small>peak less what the process held before the runtime, on x86_64 avx2, not the target",
        "27.4 dB",
        "41.3 s wall",
        "peak memory 1.41 GB",
        "9f2c4e1b" * 8,
        "image int8 [1, 3, 224, 224], real = (q - -1) × 0.0078125",
        "torch 2.13.0, tflite 1.2.3",
        "few for histograms",
        "2 of 30 rounds ran beside another job",
        "this file: median 18.2 ms, 17.2 ms to 33.6 ms, n=30 rounds",
        "float: median 27.6 ms, 26 ms to 51 ms, n=30 rounds",
        "the runtime imported</th><td>31.0 MB <small>float 31.0 MB</small>",
        "first inference</th><td>38.0 MB <small>float 84.0 MB</small>",
        "float32: 1 layer, ",
        "int8: 18 layers, ",
        'title="features.0 (Conv2d), float32: 0.',
        "<strong>coreml-fp16</strong>: time of the file: Core ML runs on Apple hardware only; edgekit bench ",
        "<strong>x86-server, arm-mobile, coreml-fp16, tflite-int8</strong>: noise of each layer: not measured; ",
    ],
)
def test_html_says(report: Report, said: str) -> None:
    assert said in html.page([report])


def test_html_escapes_a_hostile_name(report: Report) -> None:
    page = html.page([hostile(report)])
    tags = parsed(page)
    assert "script" not in {tag for tag, _ in tags.tags}
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page


def test_html_of_several_reports(report: Report, empty: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    html.write([report, REPLACE(empty, task="second")], path)
    page = path.read_text(encoding="utf-8")
    tags = parsed(page)
    assert [attributes["id"] for tag, attributes in tags.tags if tag == "h1"] == ["r1", "r2"]
    assert "No target was asked for." in page
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]


def test_html_of_one_report_or_none(report: Report, tmp_path: Path) -> None:
    html.write(report, tmp_path / "one.html")
    assert (tmp_path / "one.html").read_text(encoding="utf-8") == html.page([report])
    assert "Nothing to report" in html.page([])


def test_no_targets(empty: Report) -> None:
    assert plot(empty) is None
    assert "no target was asked for" in terminal.text(empty)
    assert "No target was asked for." in markdown.text(empty)


def test_a_place_that_cannot_be_written(report: Report, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"cannot write .*report\.html: No such file or directory; name a folder"
    ):
        html.write(report, tmp_path / "absent" / "report.html")


def test_a_reused_stage_is_marked(report: Report) -> None:
    assert "reused" not in html.page([report])
    again = REPLACE(report, stages=tuple(REPLACE(time, reused=True) for time in report.stages))
    assert "peak memory 800 MB, done before and reused" in html.page([again])


def test_a_refusal_is_told_once_on_a_page_and_not_in_every_cell(report: Report) -> None:
    """Once in the row of its target, once where the attempt itself is told in full."""
    failed = Attempt(
        recipe=Recipe(name="fp16", precision="float16", steps=()),
        decision=Decision(accepted=False, reasons=()),
        error="the converter died",
    )
    target = REPLACE(report.targets[3], attempts=(failed,), summary="")
    page = html.page([REPLACE(report, targets=(target,))])
    assert page.count("the converter died") == 2
    written = terminal.text(REPLACE(report, targets=(target,)))
    assert written.count("the converter died") == 1


def test_the_terminal_repeats_no_sentence_for_each_recipe(report: Report) -> None:
    same, other = "the runtime has no kernel for it", "nothing is gained: 9 bytes are not a tenth smaller"
    attempts = tuple(
        Attempt(
            recipe=Recipe(name=name, precision="int8", steps=()),
            decision=Decision(accepted=False, reasons=reasons),
        )
        for name, reasons in (("a", (same,)), ("b", (same, other)), ("c", (same, other)), ("d", (same,)))
    )
    target = REPLACE(report.targets[3], attempts=attempts, summary="")
    written = " ".join(terminal.text(REPLACE(report, targets=(target,))).split())
    assert f"refused tflite-int8: all 4 recipes refused; a, d: {same}" in written
    assert f"refused tflite-int8 b, c: {same}; {other}" in written
    assert written.count(same) == 2 and written.count(other) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_or_a_device_is_written_into_and_stays(tmp_path: Path) -> None:
    """`-o /dev/stdout`; as root a rename would put a file in the place of the device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, "a page")
    assert os.read(reader, 100) == b"a page" and pipe.is_fifo()
    os.close(reader)
    (tmp_path / "link").symlink_to("page.html")
    write_whole(tmp_path / "link", "a page")
    assert not (tmp_path / "link").is_symlink() and not (tmp_path / "page.html").exists()
    if Path("/dev/full").is_char_device():
        with pytest.raises(UserError, match="the disk is full while writing /dev/full"):
            write_whole(Path("/dev/full"), "a page")
        assert Path("/dev/full").is_char_device()
    for name in (".", ""):
        with pytest.raises(UserError, match="it is a folder"):
            write_whole(Path(name), "a page")
