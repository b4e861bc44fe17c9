"""The documents say what is there: links, paths, layers, losses and commands."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import s2hand.cli.common.app  # noqa: F401  (registers the resolvers that the configuration uses)
from test_layers import LAYERS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(ROOT.glob("*.md")) + [
    path
    for folder in ("docs", "experiments", "benchmarks", "src")
    for path in sorted((ROOT / folder).rglob("*.md"))
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
REPOSITORY_PATH = re.compile(r"(?:src|conf|docs|tests|tools|experiments|benchmarks|\.ci)/[\w./-]*")
COMMAND = re.compile(r"s2hand-(train|evaluate|predict|adapt|ablate)\s+(\S.*)")

each_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix()
)


def prose(path: Path) -> str:
    """The text of a document without its code blocks."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@each_document
def test_relative_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{path.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{path.name}: no heading for {link}"


@each_document
def test_paths_in_backticks_exist(path: Path) -> None:
    for code in CODE.findall(prose(path)):
        if REPOSITORY_PATH.fullmatch(code):
            assert (ROOT / code).exists(), f"{path.name} names {code}"


@each_document
def test_prose_is_wrapped_at_100_characters(path: Path) -> None:
    long = [line for line in prose(path).splitlines() if is_too_long(line)]
    assert long == [], f"{path.relative_to(ROOT)}: wrap at 100 characters"


def is_too_long(line: str) -> bool:
    """Whether a line of prose exceeds 100 characters, not counting what cannot be broken.

    Tables are left out, and so are the targets of links, addresses and long pieces of code.
    """
    unbroken = r"\]\([^)\s]+\)|<?https?://\S+|`[^`]{90,}`"
    return not line.startswith("|") and len(re.sub(unbroken, "", line)) > 100


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("word " * 20, False),
        ("word " * 20 + "more", True),
        ("| " + "cell " * 30, False),
        ("word " * 18 + "[here](docs/a/long/path.md#with-an-anchor)", False),
        ("word " * 18 + "`src/s2hand/a/long/path.py`", True),
    ],
)
def test_long_lines_are_found(line: str, expected: bool) -> None:
    assert is_too_long(line.rstrip()) is expected


def test_the_readme_has_a_row_for_every_command() -> None:
    rows = re.findall(r"^\| `(s2hand-[\w-]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    scripts = re.findall(r"^    (s2hand-[\w-]+) = ", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(scripts)


def test_every_folder_of_the_package_has_its_row() -> None:
    section = (ROOT / "docs" / "architecture.md").read_text().partition("## The tree")[2]
    rows = CODE.findall("\n".join(re.findall(r"^\| (.*?) \|", section, re.MULTILINE)))
    source = ROOT / "src" / "s2hand"
    folders = {path.parent.relative_to(ROOT) for path in source.rglob("*.py")} - {
        source.relative_to(ROOT)
    }
    inside = {"src/s2hand/cli/common", "src/s2hand/hand/assets", "src/s2hand/studies/ablation"}
    named = {row.rstrip("/") for row in rows} | inside  # the latter by name, in their parents' rows
    assert {folder.as_posix() for folder in folders} <= named


def test_the_layers_are_those_of_the_test() -> None:
    section = (ROOT / "docs" / "architecture.md").read_text().partition("## Who may import whom")[2]
    lines = re.findall(r"^\d+\. (.*)$", section, re.MULTILINE)
    assert [set(CODE.findall(line)) for line in lines] == LAYERS


def test_every_loss_has_its_row_and_weight() -> None:
    text = (ROOT / "docs" / "method.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|.*?\| ([\d.e-]+) \| `\w+`", text, re.MULTILINE))
    rows |= {"pose_prior": "3e-3", "joints_3d": "10"}  # named in a sentence
    terms = {
        path.stem: OmegaConf.load(path)[path.stem] for path in (ROOT / "conf/loss").glob("*.yaml")
    }
    assert {name: float(weight) for name, weight in rows.items()} == {
        name: term.weight for name, term in terms.items()
    }
    for term in terms.values():
        assert f"`{term.fn._target_.rpartition('.')[2]}`" in text


def commands() -> list[tuple[str, str]]:
    """(file, command) wherever documents and configuration show a whole one."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        blocks = [block for language, block in FENCE.findall(text) if language == "sh"]
        lines = "\n".join(blocks).replace("\\\n", " ").splitlines() + CODE.findall(prose(path))
        found += [(path.name, line) for line in lines]
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [(path.name, line.strip().lstrip("# ")) for line in lines]
    parts = {part.strip(): file for file, line in found for part in line.split("&&")}
    return [
        (file, part) for part, file in parts.items() if COMMAND.match(part) and "..." not in part
    ]


@pytest.mark.parametrize(("file", "line"), commands())
def test_every_command_composes(file: str, line: str) -> None:
    program, rest = COMMAND.match(line).groups()  # type: ignore[union-attr]
    rest = re.sub(r"\s{2,}\(.*", "", rest)  # a remark behind the command
    words = [word for word in shlex.split(rest, comments=True) if word != "-m"]
    with initialize_config_module("s2hand.conf", version_base="1.3"):
        cfg = compose(program, [first_of_sweep(word) for word in words])
    if program in ("evaluate", "ablate") and "_target_" in cfg.get("data", {}):
        cfg.data.train = cfg.data.val = None  # measuring asks for neither
    OmegaConf.to_container(cfg, resolve=True)


def test_imports_of_python_examples_exist() -> None:
    blocks = [
        b for path in DOCUMENTS for lang, b in FENCE.findall(path.read_text()) if lang == "python"
    ]
    for node in itertools.chain.from_iterable(ast.walk(ast.parse(block)) for block in blocks):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("s2hand"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def first_of_sweep(override: str) -> str:
    """An override that can be composed alone: of a sweep its first value."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return override
    if parsed.is_interval_sweep():
        return f"{parsed.key_or_group}={parsed.value().start}"
    (value,) = itertools.islice(parsed.sweep_string_iterator(), 1)
    return f"{parsed.key_or_group}={value}"
