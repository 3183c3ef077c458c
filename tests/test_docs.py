"""The pages are true: what they name exists, what they quote is said, what they leave out is nothing a user meets."""

import ast
import re
from functools import cache
from pathlib import Path

import click
import pytest

from edgekit import errors
from edgekit.cli.main import main
from edgekit.errors import EdgekitError

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md", *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("edgekit", "runner", "targets", "tests", "examples", "benchmarks", "docs", ".github", ".ci")
# made by others, or by the reader: not here, or not yet
PLACES = re.compile(r"NAME|FORMAT|RUNTIME|KIND|\.\.\.|\*|^runner/edgekit_runner/(?!backends)")
VERBS_TO_COME = {"schema", "techniques"}
MODULES_TO_COME = {"edgekit.engine.catalogue", "edgekit.engine.replay"}
HISTORY = {"CHANGELOG.md"}


def of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code(text: str) -> list[str]:
    """Inline code and the lines of fenced code."""
    fenced = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    plain = re.sub(r"^ *```\w*\n.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*re.findall(r"`([^`\n]+)`", plain), *(line for block in fenced for line in block.splitlines())]


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_files_that_a_page_names_exist(page: Path) -> None:
    if page.name in HISTORY:
        return
    named = re.findall(
        rf"(?<![\w./-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*-]*",
        "\n".join(code(page.read_text("utf-8"))),
    )
    wrong = [name for name in named if not PLACES.search(name) and not (ROOT / name.rstrip(".")).exists()]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_modules_that_a_page_names_exist(page: Path) -> None:
    if page.name in HISTORY:
        return
    named = set(
        re.findall(
            r"(?<!org\.)\bedgekit\.(?!gradle\b)[a-z_]+(?:\.\w+)*", "\n".join(code(page.read_text("utf-8")))
        )
    )
    wrong = [n for n in named if not _is_there(n) and not any(n.startswith(m) for m in MODULES_TO_COME)]
    assert wrong == []


def _is_there(name: str) -> bool:
    """A module, or a name written in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        files = (
            place.with_suffix(".py"),
            place / "__init__.pyi",
            place / "__init__.py",
        )  # a stub has the names
        file = next((p for p in files if p.is_file()), None)
        if file is not None:
            rest = parts[count:]
            return not rest or re.search(rf"\b{rest[0]}\b", file.read_text("utf-8")) is not None
    return False


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_links_lead_to_files(page: Path) -> None:
    """Those of docs/ are MkDocs' to check, with their anchors."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    local = [link.partition("#")[0] for link in links if not re.match(r"https?:|#", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_commands_of_a_page_are_those_of_the_command_line(page: Path) -> None:
    for line in code(page.read_text("utf-8")):
        match = re.match(r"(?:\$ |\.venv/bin/)?edgekit (?P<verb>[a-z]+)\b(?P<rest>[^#|]*)", line)
        if match is None or match["verb"] in VERBS_TO_COME - set(main.commands):
            continue
        assert match["verb"] in main.commands, f"{page.name}: {line}"
        known = {name for p in main.commands[match["verb"]].params for name in p.opts} | {"--help"}
        given = set(re.findall(r"(?<=\s)--[a-z-]+", re.sub(r"\"[^\"]*\"|'[^']*'", "", match["rest"])))
        assert given <= known, f"{page.name}: {line}"


def test_every_verb_has_a_sentence() -> None:
    for name, command in main.commands.items():
        assert isinstance(command, click.Command) and command.help, name


def test_the_table_of_exit_codes_is_that_of_the_errors() -> None:
    rows = re.findall(r"^\| (\d+) \| .*\|(.*)\|$", page("troubleshooting.md"), re.MULTILINE)
    told = {name: int(code) for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    real = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, EdgekitError)
    }
    assert told == real


def test_sentences_of_troubleshooting_are_said_by_the_code() -> None:
    """`…` stands for what varies; every part between is written in one string of the sources."""
    quoted = re.findall(r"^`([^`]+)`\n:", page("troubleshooting.md"), re.MULTILINE)
    assert len(quoted) > 50
    said = "\n".join(sentences())
    for sentence in quoted:
        parts = [part.strip(" ;:.,()") for part in re.split(r"…|\[…\]", sentence)]
        assert [part for part in parts if part not in said] == [], sentence


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


@cache
def sentences() -> tuple[str, ...]:
    """The strings of the sources, what they are formatted with left out."""
    found = []
    for folder in (ROOT / "edgekit", ROOT / "runner" / "edgekit_runner"):
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    found.append(
                        "".join(p.value if isinstance(p, ast.Constant) else "\0" for p in node.values)
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return tuple(found)
