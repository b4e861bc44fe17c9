"""The LightningModule: what a step learns from, logs, freezes and refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from fixtures.frames import PlainFrames
from fixtures.runs import Interrupt, compose_config, constant_rate, fit, last_checkpoint
from s2hand.data.module import HandDataModule
from s2hand.training.build import make_data, make_module
from s2hand.training.module import S2Hand, S2HandVideo, mean_hand
from s2hand.training.objective import NonFiniteLossError
from s2hand.types import HandBatch, HandCode


class Watch(pl.Callback):
    """Keeps the batches and the metrics of every training step."""

    def __init__(self) -> None:
        self.batches: list[HandBatch] = []
        self.metrics: list[dict[str, float]] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        self.batches.append(batch)
        self.metrics.append({k: float(v) for k, v in trainer.callback_metrics.items()})


def plain_sgd(cfg: DictConfig, lr: float) -> None:
    """Steps that can be computed by hand."""
    cfg.optim.optimizer = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": lr}
    cfg.optim.schedule = constant_rate()
    cfg.trainer.gradient_clip_val = None


def test_repeating_one_batch_lowers_its_loss(smoke: DictConfig) -> None:
    smoke.data.train.size = smoke.data.batch_size
    smoke.trainer.max_steps = 15
    watch = Watch()
    fit(smoke, [watch], save=False)
    losses = [metrics["train/loss"] for metrics in watch.metrics]
    assert len(losses) == 15
    assert losses[-1] < 0.6 * losses[0]
    joints = [metrics["train/joint_location"] for metrics in watch.metrics]
    assert joints[-1] < 0.6 * joints[0]


def test_every_raw_term_is_logged_and_the_total_is_their_weighted_sum(smoke: DictConfig) -> None:
    smoke.trainer.max_steps = 1
    watch = Watch()
    fit(smoke, [watch], save=False)
    logged = watch.metrics[0]
    assert set(logged) >= {f"train/{name}" for name in smoke.loss}
    total = sum(term.weight * logged[f"train/{name}"] for name, term in smoke.loss.items())
    assert logged["train/loss"] == pytest.approx(total, rel=1e-5)
    assert logged["train/shape"] != 0


def test_a_training_batch_carries_no_labels_and_a_validation_batch_does(smoke: DictConfig) -> None:
    smoke.trainer.max_steps = 2
    watch = Watch()
    _, trainer = fit(smoke, [watch], save=False)
    assert [batch.labels for batch in watch.batches] == [None, None]
    assert next(iter(trainer.datamodule.val_dataloader())).labels is not None


def poisoned(step: int) -> pl.Callback:
    """A network that says NaN from ``step`` on."""

    class Poison(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.global_step == step:
                with torch.no_grad():
                    for parameter in pl_module.reconstructor.network.geometry.parameters():
                        parameter.fill_(torch.nan)

    return Poison()


def test_a_term_that_is_not_finite_stops_the_run_and_names_itself(smoke: DictConfig) -> None:
    watch = Watch()
    smoke.callbacks.checkpoint.every_n_train_steps = 2
    with pytest.raises(NonFiniteLossError, match=r"'joint_location' is nan on frames \[") as e:
        fit(smoke, [poisoned(3), watch])
    assert len(watch.batches) == 3
    assert len(e.value.indices) == smoke.data.batch_size
    # The last checkpoint is the last good one: a run resumed from the broken step could only fail.
    saved = torch.load(last_checkpoint(smoke), weights_only=True)
    assert saved["global_step"] == 2
    assert all(v.isfinite().all() for v in saved["state_dict"].values())


def gradients(module: S2Hand, batches: list[HandBatch]) -> list[Tensor]:
    """The mean of the batches' gradients, by hand."""
    module.train()
    for batch in batches:
        prediction = module(batch, render=module.objective.needs_render)
        (module.objective(prediction, batch).total / len(batches)).backward()
    return [p.grad if p.grad is not None else torch.zeros_like(p) for p in trainable(module)]


def trainable(module: S2Hand) -> list[Tensor]:
    return [p for p in module.parameters() if p.requires_grad]


def test_accumulated_gradients_make_one_step_of_their_mean(smoke: DictConfig) -> None:
    plain_sgd(smoke, lr=0.01)
    smoke.trainer.update(max_steps=1, accumulate_grad_batches=3)
    watch = Watch()
    module, trainer = fit(smoke, [watch], save=False)
    assert (len(watch.batches), trainer.global_step) == (3, 1)
    pl.seed_everything(smoke.seed, verbose=False)
    start = make_module(smoke)
    expected = [
        p.detach() - 0.01 * g
        for p, g in zip(trainable(start), gradients(start, watch.batches), strict=True)
    ]
    for found, wanted in zip(trainable(module), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)
    pairs = zip(trainable(module), trainable(start), strict=True)
    assert any(not torch.equal(after, before) for after, before in pairs)


def test_mixed_precision_keeps_geometry_and_losses_in_float32(smoke: DictConfig) -> None:
    smoke.trainer.update(max_steps=1, precision="bf16-mixed")
    pl.seed_everything(0, verbose=False)
    module = make_module(smoke)
    seen: dict[str, list[Any]] = {"neck": [], "hand": [], "render": [], "loss": []}
    parts = module.reconstructor
    for name, part in (
        ("neck", parts.network.fine),
        ("hand", parts.hand),
        ("render", parts.renderer),
    ):
        part.register_forward_hook(lambda m, inputs, output, name=name: seen[name].append(output))
    module.objective.register_forward_hook(lambda m, inputs, output: seen["loss"].append(output))
    trainer = pl.Trainer(
        accelerator="cpu", precision="bf16-mixed", max_steps=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, make_data(smoke, module))
    assert seen["neck"][0].dtype == torch.bfloat16  # mixed precision was on
    hand, render, report = seen["hand"][0], seen["render"][0], seen["loss"][0]
    tensors = [hand.vertices, hand.joints, hand.quaternions, render.image, render.depth]
    code: HandCode = hand.code
    tensors += [code.rotation, code.translation, code.pose, report.total, *report.raw.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    # Not merely stored as float32: computed so.
    exact = parts.hand(code.detach())
    torch.testing.assert_close(hand.vertices, exact.vertices, atol=1e-7, rtol=0)


def test_gradients_are_clipped_in_mixed_precision_too(smoke: DictConfig) -> None:
    smoke.trainer.update(max_steps=2, precision="bf16-mixed", gradient_clip_val=1e-3)
    assert smoke.optim.optimizer.fused  # which Lightning refuses to clip by itself
    norms: list[float] = []

    class Norms(pl.Callback):
        def on_train_batch_end(
            self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any
        ) -> None:
            gradients = [p.grad.norm() for p in module.parameters() if p.grad is not None]
            norms.append(float(torch.stack(gradients).norm()))

    fit(smoke, [Norms()], save=False)
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-3)


def test_pixels_are_augmented_in_full_precision(smoke: DictConfig) -> None:
    OmegaConf.update(smoke, "augment", {"_target_": "s2hand.data.augment.Augment"}, force_add=True)
    module = make_module(smoke)
    module.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    batch = HandBatch.stack([PlainFrames(2)[i] for i in range(2)])
    exact = module._augmented(batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = module._augmented(batch)
    torch.testing.assert_close(mixed.camera.intrinsics, exact.camera.intrinsics, atol=0, rtol=0)
    torch.testing.assert_close(mixed.image, exact.image, atol=0, rtol=0)


def test_frozen_stages_stay_as_they_are(smoke: DictConfig) -> None:
    OmegaConf.update(smoke, "data.cache_features", False)  # the whole encoder runs in every step
    smoke.trainer.max_steps = 2
    pl.seed_everything(smoke.seed, verbose=False)
    before = make_module(smoke).state_dict()
    module, trainer = fit(smoke, save=False)
    after = module.state_dict()
    frozen = [name for name in before if ".encoder.frozen." in name]
    assert any(name.endswith("running_mean") for name in frozen)
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    learned = [name for name in before if "geometry" in name or ".fine." in name]
    assert any(not torch.equal(before[name], after[name]) for name in learned)
    held = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert held == {id(p) for p in trainable(module)}


def test_the_schedule_knows_the_length_of_the_run(smoke: DictConfig) -> None:
    plain_sgd(smoke, lr=1.0)
    smoke.optim.schedule = {
        "_target_": "s2hand.training.schedule.halve_at", "_partial_": True, "epochs": 4,
        "milestones": [2],
    }  # fmt: skip
    smoke.trainer.max_steps = 4
    rates: list[float] = []

    class Rates(pl.Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit(smoke, [Rates()], save=False)
    assert rates == [1, 1, 0.5, 0.5]


def test_augmentation_depends_on_the_seed_and_the_step_alone(
    smoke: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment = {"_target_": "s2hand.data.augment.Augment", "colour": 0.3}
    OmegaConf.update(smoke, "augment", augment, force_add=True)
    module = make_module(smoke)
    module.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    batch = HandBatch.stack([PlainFrames(2)[i] for i in range(2)])

    def augmented(step: int, seed: int = 0) -> Tensor:
        pl.seed_everything(seed, verbose=False)
        torch.rand(step)  # what else a run draws does not matter
        state = torch.get_rng_state()
        monkeypatch.setattr("s2hand.training.module.batches_seen", lambda trainer: step)
        image = module._augmented(batch).image
        assert torch.equal(torch.get_rng_state(), state), "and nothing else is disturbed"
        return image

    assert torch.equal(augmented(3), augmented(3))
    assert not torch.equal(augmented(3), augmented(4))
    assert not torch.equal(augmented(3), augmented(3, seed=1))


def measure(module: S2Hand, data: HandDataModule) -> dict[str, Tensor]:
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.test(module, data, verbose=False)
    return dict(trainer.callback_metrics)


@pytest.mark.filterwarnings("error:.*compute.*:UserWarning")
def test_without_labels_only_image_errors_are_measured(smoke: DictConfig) -> None:
    module = make_module(smoke)
    found = measure(module, HandDataModule(test=lambda: PlainFrames(4, image_px=64)))
    motion = {"jitter_root_mm_frame2", "jitter_camera_mm_frame2"}
    consistency = {"shape_sd", "bone_sd_mm", "texture_sd"}
    names = {"error_2d_px", "error_2d_confident_px"} | motion | consistency
    assert set(found) == {f"test/{name}" for name in names}


def test_with_labels_the_mean_pose_is_measured_beside_the_model(smoke: DictConfig) -> None:
    module = make_module(smoke)
    found = measure(module, make_data(smoke, module))
    mean = {k.partition("/")[2]: v for k, v in found.items() if k.startswith("mean_pose/")}
    model = {k.partition("/")[2]: v for k, v in found.items() if k.startswith("test/")}
    assert {"pa_mpjpe_mm", "pa_mpvpe_mm"} <= set(mean) <= set(model)
    assert mean["rr_mpjpe_mm"] != model["rr_mpjpe_mm"]


def test_the_mean_hand_looks_at_nothing(smoke: DictConfig) -> None:
    reconstructor = make_module(smoke).reconstructor
    batch = HandBatch.stack([PlainFrames(2)[i] for i in range(2)])
    first = mean_hand(reconstructor, batch)
    second = mean_hand(reconstructor, replace(batch, image=1 - batch.image))
    torch.testing.assert_close(first.hand.vertices, second.hand.vertices)
    torch.testing.assert_close(first.hand.joints[0], first.hand.joints[1])
    assert not first.hand.code.pose.any()
    assert not first.hand.code.shape.any()
    assert (first.joints_2d - 111.5).abs().max() < 112, "in front of the camera, within the crop"


def test_the_same_module_takes_clips(smoke: DictConfig) -> None:
    module = make_module(smoke).eval()
    frames = PlainFrames(6, image_px=64)
    clips = HandBatch.stack([HandBatch.cat([frames[3 * c + i] for i in range(3)]) for c in (0, 1)])
    single = HandBatch.stack([frames[i] for i in range(6)])
    with torch.no_grad():
        video, images = module(clips, render=False), module(single, render=False)
    torch.testing.assert_close(
        video.hand.vertices.flatten(0, 1), images.hand.vertices.flatten(0, 1), atol=1e-5, rtol=1e-5
    )


def test_a_run_stopped_by_an_error_says_that_it_can_go_on(smoke: DictConfig, caplog: Any) -> None:
    with pytest.raises(RuntimeError, match="interrupted"):
        fit(smoke, [Interrupt("on_train_batch_end", 1, "RuntimeError")])
    assert "stopped at step 2" in caplog.text
    assert torch.load(last_checkpoint(smoke), weights_only=True)["global_step"] == 2


def video_config(tmp_path: Path, *overrides: str) -> DictConfig:
    """S2HAND(V) at the size of the smoke run."""
    return compose_config(
        "train", "experiment=video", "data.batch_size=2", "data.train.sequences=2",
        "data.val.sequences=1", "data.train.renderer.resolution=32",
        *(f"data.{split}.image_px=64" for split in ("train", "val", "test")),
        *(f"data.{split}.frames_per_sequence=6" for split in ("train", "val", "test")),
        "model.network.encoder.name=mobilenetv3_small_050", "model.network.encoder.weights=none",
        "model.network.encoder.input_px=64", "render.resolution=32", "trainer.max_steps=2",
        "trainer.val_check_interval=2", "callbacks.panels=null", "callbacks.progress=null",
        "logger=none", "+trainer.enable_progress_bar=false",
        f"paths.runs={tmp_path}", *overrides,
    )  # fmt: skip


def test_windows_with_temporal_terms_train_and_validation_measures_motion(
    tmp_path: Path,
) -> None:
    module, trainer = fit(video_config(tmp_path), save=False)
    assert isinstance(module, S2HandVideo)
    logged = trainer.callback_metrics
    for name in ("quaternion_slerp", "texture_consistency", "shape_consistency"):
        assert logged[f"train/{name}"] > 0
    for name in ("acceleration_error_pa_mm_frame2", "acceleration_error_root_mm_s2", "texture_sd"):
        assert logged[f"val/{name}"] > 0


def test_image_and_video_modules_exchange_their_weights(smoke: DictConfig, tmp_path: Path) -> None:
    image = make_module(smoke)
    video = make_module(video_config(tmp_path))
    assert type(image) is S2Hand
    video.load_state_dict(image.state_dict())
    image.load_state_dict(video.state_dict())


def test_a_temporal_term_on_single_frames_says_what_to_set(tmp_path: Path) -> None:
    cfg = video_config(tmp_path, "window=image")
    with pytest.raises(ValueError, match=r"'quaternion_slerp' compares at least 3.*window=clip5"):
        fit(cfg, save=False)
