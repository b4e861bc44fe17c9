"""Fixtures that several test packages share; the builders are in tests/fixtures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from fixtures.dexycb import DexYcbTree
    from fixtures.freihand import FreiHandTree
    from fixtures.ho3d import Ho3dTree
    from fixtures.rhd import RhdTree
    from fixtures.stb import StbTree

# The same examples in every run, and no time limit: first calls compile, and machines are shared.
settings.register_profile("s2hand", deadline=None, derandomize=True)
settings.load_profile("s2hand")

REAL_VIDEO = Path(__file__).parents[2] / "shared" / "data" / "human_hand_video.mp4"


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache folder of this test run: nothing is read from, or left in, the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("S2HAND_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A command's log goes to the stderr of its test, which is closed after it."""
    before = list(logging.root.handlers)
    yield
    for handler in logging.root.handlers[:]:
        if type(handler) is logging.StreamHandler and handler not in before:
            logging.root.removeHandler(handler)


@pytest.fixture(scope="session")
def smoke_base() -> DictConfig:
    """The smoke experiment without validation, panels, bar and logs, and with fewer losses."""
    from fixtures.runs import compose_config

    return compose_config(
        "train", "experiment=smoke", "callbacks.panels=null", "callbacks.progress=null",
        "logger=none", "+trainer.enable_progress_bar=false",
        "trainer.val_check_interval=1000",
        "loss=[joint_location,estimator_2d,consistency_2d,photometric,shape]",
    )  # fmt: skip


@pytest.fixture
def smoke(smoke_base: DictConfig, tmp_path: Path) -> DictConfig:
    """``smoke_base`` with a folder of its own, to be changed at will."""
    cfg = smoke_base.copy()
    cfg.paths.runs = str(tmp_path / "runs")
    return cfg


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished ``s2hand-train experiment=smoke``; read only."""
    from fixtures.runs import run_command
    from s2hand.cli.train import main

    runs = tmp_path_factory.mktemp("runs")
    assert run_command(main, "experiment=smoke", f"paths.runs={runs}") == 0
    return runs / "smoke" / "run"


@pytest.fixture(scope="session")
def freihand(tmp_path_factory: pytest.TempPathFactory) -> FreiHandTree:
    """A tree in FreiHAND's format; read only."""
    from fixtures.freihand import write_freihand  # imports the renderer

    return write_freihand(tmp_path_factory.mktemp("freihand"))


@pytest.fixture(scope="session")
def ho3d(tmp_path_factory: pytest.TempPathFactory) -> Ho3dTree:
    """A tree in HO-3D's format; read only."""
    from fixtures.ho3d import write_ho3d  # imports the renderer

    return write_ho3d(tmp_path_factory.mktemp("ho3d"))


@pytest.fixture(scope="session")
def dexycb(tmp_path_factory: pytest.TempPathFactory) -> DexYcbTree:
    """A tree in DexYCB's format; read only."""
    from fixtures.dexycb import write_dexycb  # imports the renderer

    return write_dexycb(tmp_path_factory.mktemp("dexycb"))


@pytest.fixture(scope="session")
def stb(tmp_path_factory: pytest.TempPathFactory) -> StbTree:
    """A tree in STB's format; read only."""
    from fixtures.stb import write_stb  # imports the renderer

    return write_stb(tmp_path_factory.mktemp("stb"))


@pytest.fixture(scope="session")
def rhd(tmp_path_factory: pytest.TempPathFactory) -> RhdTree:
    """A tree in RHD's format; read only."""
    from fixtures.rhd import write_rhd  # imports the renderer

    return write_rhd(tmp_path_factory.mktemp("rhd"))


@pytest.fixture(scope="session")
def real_video() -> Path:
    """A real hand video; its detections lie beside it as ``human_hand_video.keypoints.json``."""
    if not REAL_VIDEO.is_file():
        pytest.skip(f"the real hand video is not here: {REAL_VIDEO}")
    return REAL_VIDEO
