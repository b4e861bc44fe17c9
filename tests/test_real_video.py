"""The method on real frames: one person's video, no label, a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
from hydra import compose, initialize_config_module

from s2hand.training.build import make_data, make_module

STEPS = 80


def test_a_real_video_is_fitted_from_its_detections_alone(
    real_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))
    overrides = [
        "experiment=own_video",
        f"dataset.source={real_video}",
        f"dataset.detections={real_video.with_suffix('.keypoints.json')}",
    ]
    with initialize_config_module("s2hand.conf", version_base="1.3"):
        cfg = compose("train", overrides)
    pl.seed_everything(0, workers=True, verbose=False)
    module = make_module(cfg)
    data = make_data(cfg, module)
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=STEPS, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0,
    )  # fmt: skip
    before = trainer.test(module, data, verbose=False)[0]["test/error_2d_confident_px"]
    trainer.fit(module, data)
    after = trainer.test(module, data, verbose=False)[0]["test/error_2d_confident_px"]
    # 900 steps reach about 4 px; a constant hand in the middle of the crop has over 20.
    assert before > 20
    assert after < 12
