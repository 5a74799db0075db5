"""House rules that no linter keeps: size, nesting, names, comments, and what the core may touch.

A rule is a function from files (path → source) to findings, each `path:line: what is wrong`. Every
rule stands beside a snippet that it must find fault with.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import pytest

TOP = Path(__file__).resolve().parents[1]
FOLDERS = ("backupcore", "drivers", "benchmarks", "tests")
SHIPPED = ("backupcore", "drivers", "benchmarks")

Files: TypeAlias = Mapping[str, str]
Rule: TypeAlias = Callable[[Files], Iterator[str]]
FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 7
NESTING_MAX = 3
FOLDER_FILES_MAX = 12
CODE_LINES_PER_COMMENT_MIN = 12

VAGUE_MODULES = {"util", "utils", "helper", "helpers", "common", "manager", "misc", "stuff"}
VAGUE_CLASS = re.compile(r"(Manager|Handler|Helpers?|Processor|Utils?|Misc|Common)$")
# The glossary's "not" column, as far as such a name can mean nothing else here.
FORBIDDEN_WORDS = {
    "gc": "prune",
    "garbage_collect": "prune",
    "defrag": "compact",
    "repack": "compact",
    "fsck": "verify",
    "scrub": "verify",
    "fingerprint": "chunk id",
    "vault": "repository",
    "trash": "tomb",
}
IMPURE_MODULES = {"time", "random", "secrets", "sched"}
IMPURE_NAMES = {
    "os": {"urandom", "getrandom"},
    "threading": {"Thread", "Timer"},
    "concurrent.futures": {"ThreadPoolExecutor", "ProcessPoolExecutor"},
    "uuid": {"uuid1", "uuid4"},
}
IMPURE_CALL = re.compile(
    r"(^|\.)(datetime\.(now|utcnow|today)|date\.today|os\.(urandom|getrandom)|uuid\.uuid[14]"
    r"|threading\.(Thread|Timer)|futures\.(Thread|Process)PoolExecutor)$"
)
IMPURE_PLACES = ("backupcore/runtime.py", "backupcore/cli/", "backupcore/testing/")
TODO = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\W{0,3}\d)")
DIRECTIVE = re.compile(r"#\s*(noqa|type:|pyright:|pragma:|!)")
MACHINE_TEXT = re.compile(
    r"(?<![\w.])/(home|root|Users)/[\w.]|\b[A-Z]:\\Users\\|BEGIN [A-Z ]*PRIVATE KEY"
)
EXTRAS = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def _comments(source: str) -> dict[int, str]:
    """Return the comment of each line that has one."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def _functions(source: str) -> list[FunctionNode]:
    return [
        node
        for node in ast.walk(_tree(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def files_are_short(files: Files) -> Iterator[str]:
    for path, source in files.items():
        count = len(source.splitlines())
        if count > FILE_LINES_MAX:
            yield f"{path}:{count}: more than {FILE_LINES_MAX} lines: it holds two nouns"


def functions_are_short(files: Files) -> Iterator[str]:
    for path, source in files.items():
        for node in _functions(source):
            count = (node.end_lineno or 0) - node.lineno + 1
            if count > FUNCTION_LINES_MAX:
                yield f"{path}:{node.lineno}: {node.name} has {count} lines"


def functions_take_few_parameters(files: Files) -> Iterator[str]:
    for path, source in files.items():
        for node in _functions(source):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(argument.arg not in ("self", "cls") for argument in every)
            if count > PARAMETERS_MAX:
                yield f"{path}:{node.lineno}: {node.name} takes {count} parameters"


def blocks_are_shallow(files: Files) -> Iterator[str]:
    for path, source in files.items():
        for node in _functions(source):
            for line in _too_deep(node, 0):
                yield f"{path}:{line}: nested deeper than {NESTING_MAX} in {node.name}"


def _too_deep(node: ast.AST, depth: int) -> Iterator[int]:
    """Yield the line of each block that branches or repeats and lies too deep.

    An elif is as deep as its if; a with neither branches nor repeats.
    """
    for name, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        for child in children:
            if not isinstance(child, ast.AST) or isinstance(
                child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
            ):
                continue
            is_elif = name == "orelse" and isinstance(node, ast.If) and len(children) == 1
            is_block = isinstance(child, ast.If | ast.For | ast.While | ast.Try | ast.Match)
            inside = depth + (is_block and not (is_elif and isinstance(child, ast.If)))
            if is_block and inside == NESTING_MAX + 1 > depth:
                yield child.lineno  # type: ignore[attr-defined]
            yield from _too_deep(child, inside)


def folders_are_small(files: Files) -> Iterator[str]:
    folders: dict[str, int] = defaultdict(int)
    for path in files:
        folders[str(PurePosixPath(path).parent)] += 1
    for folder, count in folders.items():
        if count > FOLDER_FILES_MAX:
            yield f"{folder}:0: {count} Python files, more than {FOLDER_FILES_MAX}"


def names_say_what_they_hold(files: Files) -> Iterator[str]:
    for path, source in files.items():
        if VAGUE_MODULES & set(PurePosixPath(path).with_suffix("").parts):
            yield f"{path}:1: the module's name does not say what it holds"
        for node in ast.walk(_tree(source)):
            if isinstance(node, ast.ClassDef) and VAGUE_CLASS.search(node.name):
                yield f"{path}:{node.lineno}: {node.name}: say what it manages"


def names_are_of_the_glossary(files: Files) -> Iterator[str]:
    for path, source in files.items():
        for node in ast.walk(_tree(source)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name).lower()
            found = [word for word in FORBIDDEN_WORDS if f"_{word}_" in f"_{words}_"]
            for word in found:
                yield f"{path}:{node.lineno}: {node.name}: the word is {FORBIDDEN_WORDS[word]}"


def modules_say_what_they_are(files: Files) -> Iterator[str]:
    for path, source in files.items():
        if not ast.get_docstring(_tree(source)):
            yield f"{path}:1: the module has no docstring"


def docstrings_do_not_name_themselves(files: Files) -> Iterator[str]:
    opening = re.compile(r"(this|the) (function|method|class|module)\b", re.IGNORECASE)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
    for path, source in files.items():
        for node in ast.walk(_tree(source)):
            text = ast.get_docstring(node) if isinstance(node, kinds) else None
            if text and opening.match(text):
                line = getattr(node, "lineno", 1)
                yield f"{path}:{line}: the docstring begins with {text.split('.')[0][:40]!r}"


def comments_are_rare(files: Files) -> Iterator[str]:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path, source in files.items():
        comments = [text for text in _comments(source).values() if not DIRECTIVE.match(text)]
        code = [line for line in source.splitlines() if line.strip() and line.strip()[0] != "#"]
        count = counts[str(PurePosixPath(path).parent)]
        count[0] += len(comments)
        count[1] += len(code)
    for folder, (comment_count, code_count) in counts.items():
        if comment_count * CODE_LINES_PER_COMMENT_MIN > code_count:
            yield f"{folder}:0: {comment_count} comments in {code_count} lines of code"


def late_imports_name_their_extra(files: Files) -> Iterator[str]:
    for path, source in files.items():
        comments = _comments(source)
        late = (
            node
            for function in _functions(source)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        )
        for line in sorted({node.lineno for node in late}):
            said = comments.get(line, "") + " " + comments.get(line - 1, "")
            if not set(re.findall(r"\w+", said)) & set(EXTRAS):
                yield f"{path}:{line}: an import in a function names no extra that brings it"


def the_core_takes_time_and_chance_from_its_runtime(files: Files) -> Iterator[str]:
    for path, source in files.items():
        if not path.startswith("backupcore/") or path.startswith(IMPURE_PLACES):
            continue
        for node in ast.walk(_tree(source)):
            for name in _impure_names(node):
                yield f"{path}:{getattr(node, 'lineno', 0)}: {name}: take it from the runtime"


def _impure_names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names if name.name in IMPURE_MODULES)
    elif isinstance(node, ast.ImportFrom) and node.module:
        forbidden = IMPURE_NAMES.get(node.module, set())
        for alias in node.names:
            if node.module in IMPURE_MODULES or alias.name in forbidden:
                yield f"{node.module}.{alias.name}"
    elif isinstance(node, ast.Attribute) and IMPURE_CALL.search(ast.unparse(node)):
        yield ast.unparse(node)


def to_dos_carry_a_number(files: Files) -> Iterator[str]:
    for path, source in files.items():
        for line, text in _comments(source).items():
            if TODO.search(text):
                yield f"{path}:{line}: a to-do without a number"


def no_text_is_of_one_machine(files: Files) -> Iterator[str]:
    for path, text in files.items():
        for number, line in enumerate(text.splitlines(), 1):
            if found := MACHINE_TEXT.search(line):
                yield f"{path}:{number}: {found[0]!r} is of one machine or a secret"


_DEEP = "def f(a):\n if a:\n  for b in a:\n   while b:\n    if b:\n     pass\n"

RULES: dict[Rule, tuple[tuple[str, ...], dict[str, str]]] = {
    files_are_short: (FOLDERS, {"backupcore/a.py": "a = 1\n" * 401}),
    functions_are_short: (FOLDERS, {"backupcore/a.py": "def f():\n" + " a = 1\n" * 60}),
    functions_take_few_parameters: (
        FOLDERS,
        {"backupcore/a.py": "def f(self, a, b, c, d, *, e, g, h, i): pass"},
    ),
    blocks_are_shallow: (FOLDERS, {"backupcore/a.py": _DEEP}),
    folders_are_small: (FOLDERS, {f"backupcore/a{number}.py": "" for number in range(13)}),
    names_say_what_they_hold: (
        FOLDERS,
        {"backupcore/utils.py": "", "backupcore/a.py": "class PackManager: pass"},
    ),
    names_are_of_the_glossary: (FOLDERS, {"backupcore/a.py": "def run_gc(): pass"}),
    modules_say_what_they_are: (SHIPPED, {"backupcore/a.py": "a = 1"}),
    docstrings_do_not_name_themselves: (
        FOLDERS,
        {"backupcore/a.py": 'def f():\n    """This function returns one."""'},
    ),
    comments_are_rare: (SHIPPED, {"backupcore/a.py": "a = 1  # one\n" + "a = 2\n" * 10}),
    late_imports_name_their_extra: (
        FOLDERS,
        {"backupcore/a.py": "def f():\n    # it is slow\n    import click"},
    ),
    the_core_takes_time_and_chance_from_its_runtime: (
        FOLDERS,
        {
            "backupcore/a.py": "import time",
            "backupcore/b.py": "from threading import Thread",
            "backupcore/c.py": "import datetime\nnow = datetime.datetime.now()",
            "backupcore/d.py": "import os\nkey = os.urandom(16)",
        },
    ),
    to_dos_carry_a_number: (FOLDERS, {"backupcore/a.py": "a = 1  # TODO: two"}),
    no_text_is_of_one_machine: (
        ("",),
        {"README.md": "see /" + "home/me/notes", "b.md": "-----BEGIN " + "PRIVATE KEY-----"},
    ),
}
EACH_RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


def _tracked() -> list[str]:
    """Return the files git tracks or would add; every file when this is no git checkout."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=TOP, capture_output=True, text=True, check=False)
    if done.returncode:
        paths = [path.relative_to(TOP) for path in TOP.rglob("*") if path.is_file()]
        return [str(path) for path in paths if not path.parts[0].startswith(".")]
    return [path for path in done.stdout.split("\0") if path and (TOP / path).is_file()]


@cache
def _read(folders: tuple[str, ...]) -> Files:
    wants_all = folders == ("",)
    files: dict[str, str] = {}
    for path in sorted(_tracked()):
        if wants_all or (path.endswith(".py") and path.split("/")[0] in folders):
            files[path] = (TOP / path).read_text(encoding="utf-8", errors="replace")
    return files


@EACH_RULE
def test_the_tree_keeps_the_rule(rule: Rule) -> None:
    findings = list(rule(_read(RULES[rule][0])))
    assert not findings, "\n" + "\n".join(findings)


@EACH_RULE
def test_the_rule_finds_fault_with_what_breaks_it(rule: Rule) -> None:
    bad = RULES[rule][1]
    findings = list(rule(bad))
    if rule in (folders_are_small, comments_are_rare):
        assert len(findings) == 1
    else:
        assert {finding.split(":")[0] for finding in findings} == set(bad)


@EACH_RULE
def test_the_rule_finds_no_fault_with_plain_code(rule: Rule) -> None:
    plain = '"""One thing."""\n\n\ndef twice(number: int) -> int:\n    return 2 * number\n'
    assert not list(rule({"backupcore/number.py": plain}))


def test_an_elif_is_no_deeper_than_its_if() -> None:
    chain = "def f(a):\n if a:\n  pass\n" + " elif a:\n  pass\n" * 5
    assert not list(blocks_are_shallow({"a.py": chain}))
