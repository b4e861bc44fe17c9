"""HO-3D by the commands alone: from the dataset's files to the leaderboard's, with windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from fixtures.dexycb import DexYcbTree
from fixtures.ho3d import OPENGL, ORDER, Ho3dTree
from fixtures.runs import run_command
from s2hand.cli.evaluate import main
from s2hand.cli.train import main as train_main
from s2hand.data.recorded.dexycb import DexYcbDataset
from s2hand.geometry.skeleton import JointConvention
from s2hand.training.build import load, make_data
from s2hand.types import HandBatch

SMALL = [
    "model=compact", "trainer=cpu", "data.num_workers=0", "data.batch_size=2",
    "data.train.image_px=64", "data.val.image_px=64", "data.test.image_px=64",
    "model.network.encoder.name=mobilenetv3_small_050", "model.network.encoder.weights=none",
    "model.network.encoder.input_px=64", "render.resolution=32", "trainer.max_steps=2",
    "trainer.val_check_interval=2", "trainer.check_val_every_n_epoch=null", "logger=none",
]  # fmt: skip
"""The networks and steps that a test can afford."""


@pytest.fixture(scope="module")
def checkpoint(ho3d: Ho3dTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of ``experiment=ho3d_video``, in windows of three."""
    run = tmp_path_factory.mktemp("ho3d_run")
    arguments = [
        "experiment=ho3d_video", *SMALL, "window=clip3", f"paths.run={run}",
        f"dataset.root={ho3d.root}", f"dataset.detections={ho3d.detections}",
        f"dataset.eval_detections={ho3d.evaluation_detections}", "dataset.val_every=3",
    ]  # fmt: skip
    assert run_command(train_main, *arguments) == 0
    return run / "checkpoints" / "last.ckpt"


def test_the_leaderboard_file_is_the_models_prediction_in_ho3ds_conventions(
    checkpoint: Path, ho3d: Ho3dTree, tmp_path: Path
) -> None:
    assert run_command(main, f"checkpoint={checkpoint}", f"out={tmp_path}", "pred_json=true") == 0
    joints, vertices = (np.array(x) for x in json.loads((tmp_path / "pred.json").read_text()))
    frames = len(ho3d.evaluation)
    assert joints.shape == (frames, 21, 3)
    assert vertices.shape == (frames, 778, 3)
    assert (joints[..., 2] < 0).all(), "OpenGL: the hand lies at negative z"

    module = load(checkpoint)
    data = make_data(OmegaConf.create({"data": module.record["config"]["data"]}), module)
    test: Any = data.dataset("test")
    assert list(test.names) == ho3d.evaluation
    with torch.no_grad():
        batch = HandBatch.stack([test[i] for i in range(frames)])
        hand = module(batch, render=False).hand
    np.testing.assert_allclose(joints, hand.joints[:, 0].numpy()[:, ORDER] * OPENGL, atol=1e-5)
    np.testing.assert_allclose(vertices, hand.vertices[:, 0].numpy() * OPENGL, atol=1e-5)
    # The hand's own tips, at the end of HO-3D's order, are vertices of the mesh.
    np.testing.assert_allclose(joints[:, 16:], vertices[:, [744, 333, 444, 555, 672]], atol=1e-6)


def test_the_published_truth_gives_metrics_of_the_evaluation_split(
    checkpoint: Path, ho3d: Ho3dTree, tmp_path: Path
) -> None:
    assert run_command(main, f"checkpoint={checkpoint}", f"out={tmp_path}", "examples=1") == 0
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["frames"] == len(ho3d.evaluation)
    model = report["metrics"]["model"]
    assert {"pa_mpjpe_mm", "pa_mpvpe_mm", "st_mpjpe_mm", "f15_pa"} <= set(model)
    assert 0 < model["pa_mpjpe_mm"] < 60


def test_another_dataset_evaluates_the_checkpoint_by_its_own_joints(
    checkpoint: Path, dexycb: DexYcbTree, tmp_path: Path
) -> None:
    arguments = [
        f"checkpoint={checkpoint}", f"out={tmp_path}", "examples=1", "data=dexycb",
        f"dataset.root={dexycb.root}", f"dataset.eval_detections={dexycb.detections}",
        "dataset.setup=s2", "data.num_workers=0", "data.test.image_px=64",
    ]  # fmt: skip
    assert run_command(main, *arguments) == 0
    model = json.loads((tmp_path / "metrics.json").read_text())["metrics"]["model"]
    assert "pa_mpjpe_mm" in model
    assert "pa_mpvpe_mm" not in model, "DexYCB's files hold no vertices"
    frames = DexYcbDataset(dexycb.root, dexycb.detections, split="test", setup="s2", image_px=64)
    batch = HandBatch.stack([frames[0]])
    module = load(checkpoint)
    with torch.no_grad():
        hand = module(batch, render=False).hand
        tips = JointConvention.preset("manopth").tips
        own = module.reconstructor.decode(hand.code, batch.camera, render=False).hand
    torch.testing.assert_close(hand.joints[..., [4, 8, 12, 16, 20], :], hand.vertices[..., tips, :])
    assert not torch.allclose(own.joints, hand.joints, atol=1e-4)
