"""HanCo by the commands alone: trained from detections, images and clips, and measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.hanco import FRAMES, HanCoTree, write_hanco
from fixtures.runs import run_command
from s2hand.cli.evaluate import main
from s2hand.cli.train import main as train_main

SMALL = [
    "data=hanco", "model=compact", "trainer=cpu", "data.num_workers=0", "data.batch_size=2",
    "data.train.image_px=64", "data.val.image_px=64", "data.test.image_px=64",
    "dataset.val_sequences=1",
    "model.network.encoder.name=mobilenetv3_small_050", "model.network.encoder.weights=none",
    "model.network.encoder.input_px=64", "render.resolution=32", "trainer.max_steps=1",
    "trainer.val_check_interval=1", "trainer.check_val_every_n_epoch=null", "logger=none",
    "hand.convention=manopth",
]  # fmt: skip
"""The network and steps that a test can afford."""


@pytest.fixture(scope="module")
def hanco(tmp_path_factory: pytest.TempPathFactory) -> HanCoTree:
    return write_hanco(tmp_path_factory.mktemp("hanco") / "tree")


@pytest.mark.parametrize(
    ("experiment", "window"), [("ho3d_image", "image"), ("ho3d_video", "clip3")]
)
def test_hanco(hanco: HanCoTree, tmp_path: Path, experiment: str, window: str) -> None:
    """The commands of docs/datasets/hanco.md, with a network and steps that a test can afford."""
    arguments = [
        f"experiment={experiment}", *SMALL, f"window={window}", f"paths.run={tmp_path / 'run'}",
        f"dataset.root={hanco.root}", f"dataset.detections={hanco.detections}",
        f"dataset.eval_detections={hanco.detections}", "dataset.cameras=[0,3]",
    ]  # fmt: skip
    assert run_command(train_main, *arguments) == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    out = tmp_path / "results"
    arguments = [
        f"checkpoint={checkpoint}", f"out={out}", "examples=1", "data=hanco",
        f"dataset.root={hanco.root}", f"dataset.eval_detections={hanco.detections}",
        "data.num_workers=0",
    ]  # fmt: skip
    assert run_command(main, *arguments) == 0
    report = json.loads((out / "metrics.json").read_text())
    assert report["frames"] == 2 * (FRAMES - 1), "two cameras; one fit was not validated"
    model = report["metrics"]["model"]
    assert 0 < model["pa_mpjpe_mm"] < 60
    assert "pa_mpvpe_mm" not in model, "its files hold no vertices"
    assert not any("/" in name for name in model), "it has no benchmark of its own"
    assert "acceleration_error_pa_mm_frame2" in model, "its sequences are videos"
    assert "acceleration_error_pa_mm_s2" not in model, "of unknown frame rate"
