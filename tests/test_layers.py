"""Who may import whom: the architecture, held by the syntax trees of the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "s2hand"

LAYERS = [
    {"files"},
    {"types", "window"},
    {"geometry"},
    {"hand", "render", "loss", "metric", "export"},
    {"model", "pretrained"},
    {"data"},
    {"detect"},
    {"view"},
    {"training"},
    {"fitting"},
    {"prediction"},
    {"studies"},
    {"cli"},
]
"""Leftward imports only; members of one layer do not import each other, except where said below."""

WITHIN_LAYER = {
    ("window", "types"),
}

COMPOSED = {
    "files/errors.py",
    "training/build.py",
    "training/run.py",
    "training/evaluation.py",
    "fitting/adaptation.py",
    "prediction/video.py",
    "prediction/video_job.py",
    "prediction/video_settings.py",
    "studies",
    "cli",
}
"""Who may know Hydra's configurations; losses, data and models know plain arguments only."""

OWNERS = {
    "timm": {"model/encoder.py", "training/distributed.py"},
    "smplx": {"hand/mano.py"},
    "nvdiffrast": {"render/nvdiffrast.py"},
    "hydra": COMPOSED,
    "omegaconf": COMPOSED,
    "wandb": {"training/checkpoints/artifacts.py", "training/loggers/dashboard.py"},
    "mediapipe": {"detect/mediapipe.py"},
    "viser": {"view/server.py"},
    "av": {"data/frames/decode.py", "export/movie.py"},
    "fsspec": {"data/shards/packed.py"},
    "ijson": {"data/recorded/youtube.py"},
}


COMMAND_PARTS = {"cli/data.py": {"data_check", "data_pack"}}
"""Command modules that another command is made of, by that command."""


def _modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _part(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def _layer(part: str) -> int:
    for position, members in enumerate(LAYERS):
        if part in members:
            return position
    raise AssertionError(f"{part} belongs to no layer; add it to LAYERS and docs/architecture.md")


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_only_point_left(path: Path) -> None:
    part = _part(path)
    if part == "__init__":
        return
    for name in _imports(path):
        if not name.startswith("s2hand."):
            continue
        other = name.split(".")[1]
        if other in ("__version__", part) or not any(other in members for members in LAYERS):
            continue
        allowed = _layer(other) < _layer(part) or (part, other) in WITHIN_LAYER
        assert allowed, f"{path.relative_to(SOURCE)} must not import {name}"


def test_nothing_outside_the_commands_imports_them() -> None:
    for path in _modules():
        if _part(path) != "cli":
            used = {name for name in _imports(path) if f"{name}.".startswith("s2hand.cli.")}
            assert not used, f"{path.relative_to(SOURCE)} imports {used}: move it out of cli/"


def test_no_command_is_imported_but_by_the_one_it_is_a_part_of() -> None:
    commands = {path.stem for path in (SOURCE / "cli").glob("*.py")} - {"__init__"}
    for path in _modules():
        allowed = COMMAND_PARTS.get(path.relative_to(SOURCE).as_posix(), set())
        parts = (name.split(".") for name in _imports(path) if name.startswith("s2hand.cli."))
        used = {part[2] for part in parts} & commands
        assert used <= allowed, f"{path.relative_to(SOURCE)} imports the commands {used - allowed}"


@pytest.mark.parametrize("package", sorted(OWNERS))
def test_every_third_party_has_one_owner(package: str) -> None:
    for path in _modules():
        relative = path.relative_to(SOURCE).as_posix()
        if any(relative == owner or relative.startswith(f"{owner}/") for owner in OWNERS[package]):
            continue
        users = {n for n in _imports(path) if n.split(".")[0] == package}
        assert not users, f"{relative} imports {package}; that is for {OWNERS[package]}"
