"""The commands on a GPU: what the CPU cannot notice, such as a tensor on the wrong device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.clips import write_clip
from fixtures.runs import run_command
from s2hand.cli import adapt, evaluate, predict, train
from s2hand.export.track import read_track

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

SMALL_VIDEO = (
    "experiment=video", "data.batch_size=2", "data.train.sequences=2", "data.val.sequences=1",
    "data.train.frames_per_sequence=12", "data.val.frames_per_sequence=12",
    "data.train.image_px=64", "data.val.image_px=64", "render.resolution=32",
    "model.network.encoder={name: mobilenetv3_small_050, weights: none, input_px: 64}",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint trained in bfloat16 with augmented pixels."""
    runs = tmp_path_factory.mktemp("runs")
    arguments = ["experiment=smoke", "trainer=gpu", "augment=crop", f"paths.runs={runs}"]
    assert run_command(train.main, *arguments) == 0
    return runs / "smoke" / "run" / "checkpoints" / "last.ckpt"


def test_what_was_trained_there_is_measured_alike_on_both(trained: Path, tmp_path: Path) -> None:
    found = {}
    for trainer in ("gpu", "cpu"):
        arguments = [f"checkpoint={trained}", f"trainer={trainer}", "trainer.precision=32-true"]
        out = tmp_path / trainer
        assert run_command(evaluate.main, *arguments, f"out={out}", "pred_json=true") == 0
        found[trainer] = json.loads((out / "metrics.json").read_text())["metrics"]["model"]
        assert {path.name for path in out.iterdir()} >= {"panel.png", "example.glb", "pred.json"}
    for name, value in found["cpu"].items():
        assert found["gpu"][name] == pytest.approx(value, rel=1e-3, abs=1e-3), name


def test_clips_train(tmp_path: Path) -> None:
    arguments = [*SMALL_VIDEO, "trainer=gpu", "trainer.max_steps=3", f"paths.runs={tmp_path}"]
    assert run_command(train.main, *arguments) == 0


def test_frozen_features_are_cached_there(tmp_path: Path) -> None:
    arguments = [*SMALL_VIDEO, "model.network.encoder.frozen_stride=16", "trainer=gpu"]
    assert run_command(train.main, *arguments, "trainer.max_steps=2", f"paths.runs={tmp_path}") == 0


def test_a_clip_is_predicted_alike_on_both(trained: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip")
    records = {}
    for device in ("cuda", "cpu"):
        out = tmp_path / device
        arguments = [f"checkpoint={trained}", f"source={clip.source}", f"out={out}"]
        more = [f"detections={clip.detections}", f"device={device}", "sequence=true"]
        assert run_command(predict.main, *arguments, *more) == 0
        records[device] = read_track(out / "track.npz")
    np.testing.assert_allclose(records["cuda"]["joints"], records["cpu"]["joints"], atol=2e-3)


def test_pictures_are_refined_there(trained: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip")
    arguments = [f"checkpoint={trained}", f"source={clip.source}", f"out={tmp_path / 'out'}"]
    more = [f"detections={clip.detections}", "device=cuda", "sequence=false", "refine_steps=3"]
    assert run_command(predict.main, *arguments, *more) == 0
    assert len(list((tmp_path / "out").glob("*.json"))) > 1


def test_a_clip_is_adapted_to_there(trained: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip")
    arguments = [f"checkpoint={trained}", f"dataset.source={clip.source}", "trainer=gpu"]
    more = [f"dataset.detections={clip.detections}", f"out={tmp_path / 'out'}"]
    steps = ["trainer.max_steps=4", "stop={every_n_steps: 2, frames: 4}", "data.batch_size=2"]
    assert run_command(adapt.main, *arguments, *more, *steps) == 0
    report = json.loads((tmp_path / "out" / "adapt.json").read_text())
    assert report["steps"] == 4
