"""The docs agree with the code: settings, contract, commands and log messages. Every link has a target."""

from __future__ import annotations

import ast
import functools
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import typer

from orderflow import cli, settings
from orderflow.contract import definition, exact_path
from orderflow.contract.definition import DEFAULT, Kind
from orderflow.jvm import jars

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MARKDOWN = sorted((*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "tests/README.md"))
PAGES = (*MARKDOWN, *(ROOT / "deploy").rglob("*.service"))
COMMAND = typer.main.get_command(cli.app)
DAGS = ROOT / "examples/airflow/orderflow_dags.py"


def _rows(section: str, page: Path) -> list[list[str]]:
    [table] = re.findall(rf"<!-- {section}: .*?-->\n(.*?)<!-- /{section} -->", page.read_text("utf-8"), re.DOTALL)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_settings_table_agrees_with_the_code() -> None:
    expected = [[name, f"`{default}`" if default else "", text] for name, default, text in settings.table()]
    assert _rows("settings", DOCS / "settings.md") == expected


_JSON = {Kind.INTEGER: "integer", Kind.STRING: "string", Kind.DECIMAL: "number", Kind.TIMESTAMP: "string"}


def test_the_contract_table_agrees_with_the_code() -> None:
    rules = {field.name: field.rule for field in DEFAULT.fields}
    rules["total_price"] = "equals unit_price × quantity exactly"
    expected = [
        [name, _JSON[field.kind], field.sql_type.split(" CHARACTER SET")[0], rules[name]]
        for name, field in DEFAULT.by_name.items()
    ]
    assert _rows("contract", DOCS / "message-format.md") == expected


def test_the_sample_is_accepted() -> None:
    [sample] = re.findall(r"```json\n(.*?)\n```", (DOCS / "message-format.md").read_text("utf-8"))
    assert exact_path.decode(sample.encode()).order_id == "ORDER-000001"


def test_every_reason_is_explained() -> None:
    page = (DOCS / "quarantine.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \| .* \| .* \|$", page.split("<!-- /reasons -->")[0], re.MULTILINE) == [
        *definition.Reason
    ]


def test_the_architecture_page_agrees_with_the_source() -> None:
    page, source = (DOCS / "architecture.md").read_text("utf-8"), ROOT / "src/orderflow"
    files = re.findall(r"`([\w/]+\.(?:py|c|lock))`", page)
    assert [file for file in files if not (source / file).exists() and not (ROOT / file).exists()] == []
    packages = page.split("## Packages")[1].split("## ")[0]
    shown = {name for row in re.findall(r"^\| (`.*?`) \|", packages, re.MULTILINE) for name in re.findall(r"\w+", row)}
    assert shown == {path.stem for path in source.iterdir() if not re.match(r"_|py\.typed", path.name)} | {"benchmarks"}


@pytest.mark.parametrize("title", ["One record", "One error"])
def test_the_steps_of_the_architecture_page_exist(title: str) -> None:
    section = (DOCS / "architecture.md").read_text("utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    steps = [line for line in section.splitlines() if re.match(r"\| \d", line)]
    assert len(steps) > 10
    for step in steps:
        files, functions = (re.findall("`(.*?)`", cell) for cell in step.strip("| ").split(" | ")[-2:])
        known = {name for file in files for name in _definitions(ROOT / "src/orderflow" / file)}
        assert functions, step
        assert set(functions) <= known, step


def test_the_tested_versions_are_those_of_the_lock_file() -> None:
    section = (DOCS / "installation.md").read_text("utf-8").split("## Tested versions")[1].split("\n## ")[0]
    for group, artifact, product in (("kafka", "kafka_2.13", "Apache Kafka"), ("mariadb", "", "MariaDB")):
        [version] = [name.split(":")[2] for name in jars.locked(group) if artifact in name.split(":")[1]]
        assert re.search(rf"^\| {product} \|.*\| {re.escape(version)}\b", section, re.MULTILINE), product


def _definitions(path: Path) -> Iterator[str]:
    """Yield the names of the functions and classes of a module: methods alone and as `Class.method`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{member.name}" for member in node.body if isinstance(member, ast.FunctionDef))


def commands(text: str) -> Iterator[list[str]]:
    """Yield every `orderflow …` in a code block, between backticks, or after ExecStart."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    units = re.findall(r"^ExecStart=(.*)", text, re.MULTILINE)
    spans = re.findall(r"`(orderflow [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in (*(line for block in blocks for line in block.splitlines()), *units, *spans):
        if not re.search(r"(^|[\s/;|])orderflow ", line):
            continue
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in (*lexer, ";"):
            if not set(word) <= set("();<>|&"):
                words.append(word)
                continue
            while words and re.match(r"[A-Z_]+=", words[0]):  # environment variables before a command
                del words[0]
            if words and Path(words[0]).name == "orderflow":
                yield ["orderflow", *words[1:]]
            words = []


def usage_error_of(words: list[str]) -> str:
    """Return the usage error of the command line; empty if it is valid. Nothing is run."""
    usage_error = typer.BadParameter.__base__
    assert usage_error and issubclass(usage_error, Exception)
    name, *arguments = words
    command, context = COMMAND, None
    try:
        with mock.patch.dict(os.environ):  # --log-format sets a variable
            while isinstance(command, typer.core.TyperGroup) and arguments:
                context = command.make_context(name, arguments, parent=context)
                rest = [*context._protected_args, *context.args]
                if not rest:  # `contract --format sql`: the group itself is the command
                    return ""
                found_name, found, arguments = command.resolve_command(context, rest)
                assert found_name and found  # it raises the usage error otherwise
                name, command = found_name, found
            if not isinstance(command, typer.core.TyperGroup):
                command.make_context(name, arguments, parent=context)
    except typer.Exit:  # --help and --version
        return ""
    except usage_error as error:
        return str(error)
    return ""


def test_the_commands_of_the_pages_exist() -> None:
    shown = {(page.name, *words) for page in PAGES for words in commands(page.read_text("utf-8"))}
    numbered = {words: ["1" if word == "N" else word for word in words[1:]] for words in shown}
    assert {words: message for words, plain in numbered.items() if (message := usage_error_of(plain))} == {}
    assert len(shown) > 50


@pytest.mark.parametrize("wrong", ["orderflow sinc", "orderflow sink --onze", "orderflow contract --format yaml"])
def test_a_wrong_command_is_noticed(wrong: str) -> None:
    [words] = commands(f"```\n$ A=1 {wrong} > file\n```\n")
    assert words == wrong.split()
    assert words[-1] in usage_error_of(words)


def test_the_commands_of_the_dags_exist() -> None:
    tree = ast.parse(DAGS.read_text("utf-8"))
    nodes = [*ast.walk(tree)]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    lists = [
        [str(element.value) if isinstance(element, ast.Constant) else "2025-01-15" for element in node.elts]
        for node in nodes
        if isinstance(node, ast.List)
    ]
    run = [shlex.split(text) for text in texts if text.startswith("orderflow ")]
    run += [words for words in lists if words[0] == "orderflow"]
    assert sorted(words[1] for words in run) == ["audit", "quarantine", "sink"]
    assert [usage_error_of(words) for words in run] == [""] * len(run)


@pytest.mark.parametrize(
    ("page", "after", "before"),
    [("troubleshooting.md", "# ", "## Damaged batches"), ("security.md", "## Connection refusals", "Each of them")],
)
def test_the_messages_of_the_pages_are_logged(page: str, after: str, before: str) -> None:
    text = (DOCS / page).read_text("utf-8").split(after, 1)[1].split(before)[0]
    messages = re.findall(r"^\| (.*?) \| .* \|$", text.replace("| message |", ""), re.MULTILINE)
    # Each sentence or part of a message may be a text of its own.
    sentences = [part for message in messages for part in re.split(r"; |, (?=although)|(?<=[.…:]) (?=[A-Z])", message)]
    messages = [sentence for sentence in sentences if re.search("[a-z]", sentence)]
    texts = [text for path in (ROOT / "src").rglob("*.py") for text in _messages(path)]
    assert [message for message in messages if not _is_logged(message, texts)] == []
    assert len(messages) > 5


@pytest.mark.parametrize(("message", "is_logged"), [("extra", True), ("extr", False), ("Nothing was", True)])
def test_a_message_of_one_word_is_a_whole_text(message: str, is_logged: bool) -> None:
    assert _is_logged(message, ["extra", "Nothing was stored yet."]) == is_logged


def _is_logged(message: str, texts: list[str]) -> bool:
    """Whether the message is part of one of the texts. A single word must be a whole one."""
    return bool(re.search(_pattern(message), "\n".join(texts))) if " " in message else message in texts


@functools.cache
def _messages(path: Path) -> tuple[str, ...]:
    """Return the strings of a module, without its docstrings; `…` stands for each value in them."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = list(ast.walk(tree))
    other = {node.value for node in nodes if isinstance(node, ast.Expr)}
    other |= {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    texts = []
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in other:
            texts.append(re.sub(r"%[sd]|\{\w+\}", "…", node.value))
    return tuple(texts)


def _pattern(message: str) -> str:
    """Return a pattern for the text that this message comes from; `…` replaces its values and numbers.

    The name of a server and what is wrong with it are two texts.
    """
    text = re.sub(r"^(MySQL|Kafka) at … ", "", message)
    return ".*".join(map(re.escape, re.split(r"\s*(?:…|\d+)\s*", text)))


# The rows of README's comparison, and their rows in docs/performance.md.
_MEASURED_ROWS = {
    "OrderFlow, Spark (default trigger)": "OrderFlow, Spark `micro-batch`",
    "OrderFlow, Spark, `--trigger auto`": "OrderFlow, Spark `auto`",
    "OrderFlow, `--engine direct`": "OrderFlow, direct",
    "hand-written consumer, LOAD DATA": "hand-written, LOAD DATA",
    "hand-written consumer, upsert": "hand-written, upsert",
    "Debezium JDBC sink": "Debezium",
    "Flink SQL": "Flink",
    "Spark JDBC (`foreachBatch`), rewritten batches": "Spark JDBC, rewritten batches",
}


def test_every_figure_of_the_comparison_is_measured() -> None:
    measured = {row[0]: row[1:] for row in _rows("measured", DOCS / "performance.md")}
    shown, expected = {}, {}
    for name, _, _, rate, latency, needs in _rows("comparison", ROOT / "README.md"):
        _, shares, _, memory, latencies, *_ = measured[_MEASURED_ROWS[name]]
        p50, _, p99 = latencies.split(" / ")
        shown[name] = rate, latency, needs.split("; ")[-1]
        expected[name] = " to ".join(sorted({*shares.split(", ")})), f"{p50} / {p99}", f"{memory} MB"
    assert shown == expected
    assert shown.keys() == _MEASURED_ROWS.keys()


def _prose(page: Path) -> str:
    """Return the page without code blocks and code spans."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def _anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as repository browsers and the site generate them."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#{1,4} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield the relative links of the page: the file, and its anchor (empty if none)."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            yield (page.parent / name).resolve() if name else page, anchor


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for file, anchor in _links(page):
        assert file.exists(), file
        assert not anchor or anchor in _anchors(file), (file, anchor)


def test_every_page_is_reachable_from_the_index() -> None:
    index = DOCS / "index.md"
    seen, waiting = {index}, [index]
    while waiting:
        for file, _ in _links(waiting.pop()):
            if file.suffix == ".md" and file not in seen:
                seen.add(file)
                waiting.append(file)
    assert set(MARKDOWN) - seen == set()


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_prose_have_120_characters_at_most(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []


# Words that are hard to read, or that replace a plainer one: fix, retry, again, always.
_OBSCURE = re.compile(r"\b(mend|mends|mended|anew|lest|for ever|let alone|as good|at hand|of before)\b", re.IGNORECASE)


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_words_are_plain(page: Path) -> None:
    assert _OBSCURE.findall(_prose(page)) == []
