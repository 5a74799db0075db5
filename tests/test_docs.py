"""What the documents say is true: examples run, links lead somewhere, records keep their form.

A ```python block runs by itself in a fresh folder. The ```shell and ```console blocks of one
document run in order in one folder; of a console block, what follows `$ ` are the commands. Every
folder holds `disk.img`: 1 MiB of bytes, then a hole of 3 MiB. A block directly below the comment
`<!-- not run: why -->` does not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

TOP = Path(__file__).resolve().parents[1]
EXAMPLE_S_MAX = 120
SHELL_LANGUAGES = ("shell", "console", "sh", "bash")
NOT_RUN = re.compile(r"<!-- not run: \S.*-->\s*")
# Its examples are files of a whole package; a test of their own runs them.
TESTED_ELSEWHERE = {"docs/guide/write-a-driver.md"}
PAST = re.compile(r"(\w+ed|\w+ing|will|was|were|made|wrote|fixes)\b", re.IGNORECASE)
DECISION_LINES_MAX = 40


@dataclass(frozen=True, slots=True)
class Example:
    """One block of a document: where it stands, its language and its text."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def _documents() -> list[str]:
    """Return every Markdown file, by its path below the repository's top."""
    found = [TOP / "README.md", *(TOP / "docs").rglob("*.md"), *(TOP / "drivers").rglob("*.md")]
    return sorted(str(path.relative_to(TOP)) for path in found)


def examples(document: str, text: str) -> Iterator[Example]:
    """Yield the blocks of a document that are to be run."""
    before = ""
    for token in MarkdownIt().parse(text):
        if token.type == "fence" and token.map and not NOT_RUN.fullmatch(before):
            words = token.info.split()
            yield Example(document, token.map[0] + 1, words[0] if words else "", token.content)
        before = token.content if token.type == "html_block" else ""


def commands(example: Example) -> str:
    """Return the commands of a shell block; a console block shows them behind `$ `."""
    if example.language != "console":
        return example.text
    lines = [line for line in example.text.splitlines() if line.startswith(("$ ", "> "))]
    return "\n".join(line[2:] for line in lines)


def links(text: str) -> Iterator[str]:
    """Yield the target of each link and picture of a document."""
    for token in MarkdownIt().parse(text):
        for child in token.children or []:
            target = child.attrGet("href") or child.attrGet("src")
            if target:
                yield str(target)


def is_dead(document: Path, target: str) -> bool:
    """Return whether a relative link leads to no file."""
    path = target.partition("#")[0]
    if not path or re.match(r"[a-z][a-z0-9+.-]*:", path):
        return False
    return not (document.parent / path).exists()


def decision_faults(text: str) -> Iterator[str]:
    """Yield what a decision record lacks."""
    if len(text.splitlines()) > DECISION_LINES_MAX:
        yield f"longer than {DECISION_LINES_MAX} lines"
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    if headings != ["Context", "Choice", "Price"]:
        yield f"headings {headings} instead of Context, Choice, Price"


def change_faults(text: str) -> Iterator[str]:
    """Yield what the note of a change lacks."""
    first = text.partition("\n")[0]
    if not re.fullmatch(r"[^#\s].{9,98}\.", first):
        yield "the first line is no sentence of 11 to 100 characters"
    if PAST.match(first):
        yield f"the first line begins with {first.split()[0]!r}: write the present tense"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with a small volume in it."""
    return _filled(tmp_path)


def _filled(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "disk.img").open("wb") as image:
        image.write(bytes(range(256)) * 4096)
        image.truncate(4 << 20)
    return folder


def _run(command: list[str], folder: Path, example: Example) -> None:
    home = folder / ".home"
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR", "TZ") if name in os.environ}
    scripts = str(Path(sys.executable).parent)
    environment = {
        **kept,
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        input=example.text if command[-1] == "-" else commands(example),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=EXAMPLE_S_MAX,
    )
    if done.returncode:
        pytest.fail(f"{example}: exit code {done.returncode}\n{example.text}\n{done.stdout}")


def run_python(example: Example, folder: Path) -> None:
    """Run a Python block in a folder; warnings are errors, as in the tests."""
    _run([sys.executable, "-W", "error", "-"], folder, example)


def run_shell(example: Example, folder: Path) -> None:
    """Run the commands of a shell block in a folder until one fails."""
    _run(["bash", "-euo", "pipefail", "-s"], folder, example)


def _guides() -> list[str]:
    wanted = [path for path in _documents() if path.startswith(("README.md", "docs/guide/"))]
    return [path for path in wanted if path not in TESTED_ELSEWHERE]


def _examples_of(document: str, *languages: str) -> list[Example]:
    text = (TOP / document).read_text(encoding="utf-8")
    return [example for example in examples(document, text) if example.language in languages]


def _records(name: str) -> list[str]:
    paths = [path for path in _documents() if path.startswith(f"docs/{name}/")]
    return [path for path in paths if not path.endswith("/README.md")]


@pytest.mark.parametrize("document", _guides())
def test_python_examples_run(document: str, tmp_path: Path) -> None:
    for number, example in enumerate(_examples_of(document, "python")):
        run_python(example, _filled(tmp_path / str(number)))


@pytest.mark.parametrize("document", _guides())
def test_shell_examples_run_in_order(document: str, folder: Path) -> None:
    for example in _examples_of(document, *SHELL_LANGUAGES):
        run_shell(example, folder)


@pytest.mark.parametrize("document", _documents())
def test_relative_links_lead_to_files(document: str) -> None:
    path = TOP / document
    text = path.read_text(encoding="utf-8")
    assert [target for target in links(text) if is_dead(path, target)] == []


def test_decisions_are_short_and_give_context_choice_and_price() -> None:
    records = {path: (TOP / path).read_text(encoding="utf-8") for path in _records("decisions")}
    faults = [f"{path}: {fault}" for path in records for fault in decision_faults(records[path])]
    misnamed = [path for path in records if not re.search(r"/\d{4}-[a-z0-9-]+\.md$", path)]
    assert faults + misnamed == []


def test_changes_are_told_one_a_file_in_the_present_tense() -> None:
    notes = {path: (TOP / path).read_text(encoding="utf-8") for path in _records("changes")}
    faults = [f"{path}: {fault}" for path in notes for fault in change_faults(notes[path])]
    misnamed = [path for path in notes if not re.search(r"/[a-z0-9-]+\.md$", path)]
    assert faults + misnamed == []


def test_a_python_example_that_raises_is_found(folder: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"a\.md:3.*\n.*raise"):
        run_python(Example("a.md", 3, "python", "raise SystemExit(3)\n"), folder)


def test_a_shell_example_that_fails_midway_is_found(folder: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="exit code 1"):
        run_shell(Example("a.md", 3, "shell", "false | cat\ntrue\n"), folder)


def test_examples_see_a_small_volume_and_a_home_of_their_own(folder: Path) -> None:
    text = 'test "$(stat -c %s disk.img)" = 4194304\ntest "$HOME" = "$PWD/.home"\n'
    run_shell(Example("a.md", 1, "shell", text), folder)


def test_a_block_marked_not_run_is_left_out() -> None:
    marked = "<!-- not run: needs a bucket -->\n```shell\nfalse\n```\n"
    assert list(examples("a.md", marked)) == []


def test_a_mark_without_a_reason_or_at_another_block_does_not_count() -> None:
    text = "<!-- not run: -->\n```shell\na\n```\n<!-- not run: x -->\n\ntext\n\n```shell\nb\n```\n"
    assert [example.line for example in examples("a.md", text)] == [2, 9]


def test_only_what_follows_the_prompt_of_a_console_block_runs() -> None:
    shown = "$ echo one \\\n> two\none two\n$ true\n"
    assert commands(Example("a.md", 1, "console", shown)) == "echo one \\\ntwo\ntrue"


def test_a_dead_link_is_found_and_others_are_left_alone() -> None:
    text = "[a](gone.md) [b](README.md#x) [c](https://example.org/) [d](#here) ![e](gone.png)"
    dead = [target for target in links(text) if is_dead(TOP / "README.md", target)]
    assert dead == ["gone.md", "gone.png"]


@pytest.mark.parametrize(
    "text", ["## Context\n## Choice\n", "## Context\n## Choice\n## Price\n" + "a\n" * 38]
)
def test_a_decision_without_its_form_is_found(text: str) -> None:
    assert list(decision_faults(text))


@pytest.mark.parametrize("first", ["# Title of it", "Added a driver for S3.", "No full stop here"])
def test_a_change_without_its_form_is_found(first: str) -> None:
    assert list(change_faults(first + "\n"))
