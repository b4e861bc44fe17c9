"""STB and RHD by the commands alone: trained from detections, measured by their own protocols."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fixtures.rhd import RhdTree
from fixtures.runs import run_command
from fixtures.stb import StbTree
from s2hand.cli.evaluate import main
from s2hand.cli.train import main as train_main
from s2hand.data.recorded.rhd import RhdDataset
from s2hand.metric.protocols import BenchmarkMetrics

SMALL = [
    "experiment=ho3d_image", "model=compact", "trainer=cpu", "data.num_workers=0",
    "data.batch_size=2", "data.train.image_px=64", "data.test.image_px=64",
    "model.network.encoder.name=mobilenetv3_small_050", "model.network.encoder.weights=none",
    "model.network.encoder.input_px=64", "render.resolution=32", "trainer.max_steps=1",
    "trainer.val_check_interval=1", "trainer.check_val_every_n_epoch=null", "logger=none",
]  # fmt: skip
"""The network and steps that a test can afford."""


def train(run: Path, *arguments: str) -> Path:
    assert run_command(train_main, *SMALL, f"paths.run={run}", *arguments) == 0
    return run / "checkpoints" / "last.ckpt"


def test_stb(stb: StbTree, tmp_path: Path) -> None:
    checkpoint = train(
        tmp_path / "run", "data=stb", "data.val.image_px=64", f"dataset.root={stb.root}",
        f"dataset.detections={stb.detections}",
    )  # fmt: skip
    for protocol, wanted in (
        (None, {"stb_a/root0_mpjpe_mm", "stb_a/root0_auc_joints_21_50mm"}),
        ("stb_b", {"stb_b/root9_mpjpe_mm", "stb_b/root9_auc_joints_20_50mm"}),
    ):
        arguments = [f"protocol={protocol}"] if protocol else []
        out = tmp_path / f"results-{protocol}"
        assert run_command(main, f"checkpoint={checkpoint}", f"out={out}", *arguments) == 0
        report = json.loads((out / "metrics.json").read_text())
        assert report["frames"] == 5
        model = report["metrics"]["model"]
        assert {name for name in model if "/" in name} == wanted
        assert "acceleration_error_pa_mm_frame2" in model, "its sequences are videos"
        assert "acceleration_error_pa_mm_s2" not in model, "of unknown frame rate"


@pytest.mark.parametrize("hands", ["dominant", "each"])
def test_rhd(rhd: RhdTree, tmp_path: Path, hands: str, monkeypatch: pytest.MonkeyPatch) -> None:
    update, told = BenchmarkMetrics.update, []
    monkeypatch.setattr(
        BenchmarkMetrics, "update",
        lambda self, *given: told.append([x.clone() for x in given[-2:]]) or update(self, *given),
    )  # fmt: skip
    checkpoint = train(
        tmp_path / "run", "data=rhd", f"dataset.root={rhd.root}",
        f"dataset.detections={rhd.detections}", f"dataset.eval_detections={rhd.detections}",
        f"data.test.hands={hands}",
    )  # fmt: skip
    assert run_command(main, f"checkpoint={checkpoint}", f"out={tmp_path}") == 0
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["frames"] == (5 if hands == "dominant" else 8)
    test = RhdDataset(rhd.root, None, "evaluation", hands, labels=True)  # type: ignore[arg-type]
    visible, left = (torch.cat(parts) for parts in zip(*told, strict=True))
    for i in range(len(test)):  # its benchmark is told of every frame
        labels = test.labels_of(i)
        assert labels is not None
        assert labels.visible is not None
        assert torch.equal(visible[i], labels.visible[0])
        assert bool(left[i]) == test.is_left(i)
    assert visible.all() == (hands == "dominant"), "these show every joint"
    found = {name for name in report["metrics"]["model"] if "/" in name}
    assert found == {
        "rhd/root0_mpjpe_mm", "rhd/root0_auc_joints_21_50mm", "rhd/root9_mpjpe_mm",
        "rhd/root9_auc_joints_20_50mm",
    }  # fmt: skip
