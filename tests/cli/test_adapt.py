"""``s2hand-adapt``: one sequence, from a checkpoint or from new heads; never worse than before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import s2hand
from fixtures.clips import write_clip
from fixtures.runs import compose_config, run_command
from s2hand.cli import adapt as cli_adapt
from s2hand.cli import evaluate
from s2hand.cli.adapt import main
from s2hand.cli.common.app import quiet_libraries
from s2hand.cli.common.overrides import check_dataset_keys
from s2hand.fitting.adaptation import Adaptation, adapt, with_recorded_model
from s2hand.training.checkpoints.reading import read_checkpoint

SMALL = (
    "data=synthetic_sequence",
    "data.batch_size=2",
    "data.train.dataset.sequences=2",
    "data.test.dataset.sequences=2",
    "data.train.dataset.frames_per_sequence=12",
    "data.test.dataset.frames_per_sequence=12",
    "data.train.dataset.image_px=64",
    "data.test.dataset.image_px=64",
    "data.train.dataset.renderer.resolution=64",
    "data.test.dataset.renderer.resolution=64",
    "model.network.encoder={name: mobilenetv3_small_050, weights: none, input_px: 64}",
    "render.resolution=32",
    "callbacks={panels: null, progress: null}",
    "logger=none",
    "+trainer.enable_progress_bar=false",
    "loss=[joint_location,shape,scale,photometric,quaternion_slerp]",
    "stop={every_n_steps: 5, frames: 6}",
)
"""A rendered sequence of 12 frames, a small network, few losses."""


def adapt_in(folder: Path, *overrides: str) -> Adaptation:
    quiet_libraries()
    return adapt(compose_config("adapt", *SMALL, f"paths.run={folder}", *overrides))


def saved_weights(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = read_checkpoint(path)["state_dict"]
    return state


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adaptation of new heads to sequence 0; read only."""
    folder = tmp_path_factory.mktemp("adapt") / "first"
    arguments = [*SMALL, f"out={folder}", "trainer.max_steps=25", "optim.optimizer.lr=3e-3"]
    assert run_command(main, *arguments) == 0
    return folder


@pytest.fixture(scope="module")
def first_checkpoint(first: Path) -> Path:
    return first / "checkpoints" / "last.ckpt"


def report_in(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "adapt.json").read_text())
    return report


def test_new_heads_learn_a_sequence_without_labels(first: Path, first_checkpoint: Path) -> None:
    report = report_in(first)
    residual = report["residual_px"]
    assert residual["after"] < 0.7 * residual["before"]
    assert (report["frames"], report["steps"], report["ended"]) == (12, 25, "limit")
    assert [step for step, _ in report["checks"]] == [0, 5, 10, 15, 20, 25]
    assert min(px for _, px in report["checks"]) == residual["after"]
    assert report["checkpoint"] is None
    assert {"seconds", "revision", "version", "seed"} <= set(report)
    assert s2hand.load(first_checkpoint).record["config"]["data"]["train"]["sequence"] == 0


def test_training_reads_no_labels_and_the_evaluation_has_them(tmp_path: Path) -> None:
    adapted = adapt_in(tmp_path, "trainer.max_steps=1")
    assert adapted.data.dataset("train")[0].labels is None
    assert adapted.data.dataset("test")[0].labels is not None
    assert adapted.data.dataset("train").names == adapted.data.dataset("test").names
    assert not adapted.module.training


def test_the_checkpoint_is_evaluated_on_its_sequence(first_checkpoint: Path) -> None:
    assert run_command(evaluate.main, f"checkpoint={first_checkpoint}", "examples=1") == 0
    results = json.loads((first_checkpoint.parents[1] / "metrics.json").read_text())
    assert results["frames"] == 12
    assert results["metrics"]["model"]["pa_mpjpe_mm"] > 0


def test_from_a_checkpoint_its_statistics_stay_and_its_weights_move(
    first_checkpoint: Path, tmp_path: Path
) -> None:
    # The network is the checkpoint's, whatever the configuration would make.
    adapted = adapt_in(
        tmp_path, f"checkpoint={first_checkpoint}", "trainer.max_steps=10",
        "model.network.encoder.name=mobilenetv3_small_075", "dataset.sequence=1",
    )  # fmt: skip
    residual = adapted.report["residual_px"]
    assert residual["after"] < residual["before"]
    names = changed(saved_weights(first_checkpoint), saved_weights(adapted.checkpoint))
    assert any(name.startswith("reconstructor.network.geometry.pose") for name in names)
    assert not [n for n in names if "running_" in n or "num_batches" in n or ".frozen." in n]


def test_new_heads_learn_their_statistics(first_checkpoint: Path) -> None:
    state = saved_weights(first_checkpoint)
    assert state["reconstructor.network.trunk.1.running_mean"].abs().max() > 0


def test_a_run_that_diverges_keeps_the_weights_it_began_with(
    first_checkpoint: Path, tmp_path: Path
) -> None:
    adapted = adapt_in(
        tmp_path, f"checkpoint={first_checkpoint}", "optim.optimizer.lr=1",
        "trainer.max_steps=6", "stop.every_n_steps=1",
    )  # fmt: skip
    report = adapted.report
    assert (report["best_step"], report["ended"]) == (0, "diverged")
    assert report["residual_px"]["after"] == report["residual_px"]["before"]
    assert not changed(saved_weights(first_checkpoint), saved_weights(adapted.checkpoint))


def test_it_stops_when_the_residual_stays(first_checkpoint: Path, tmp_path: Path) -> None:
    adapted = adapt_in(
        tmp_path, f"checkpoint={first_checkpoint}", "trainer.max_steps=50",
        "optim.optimizer.lr=1e-12", "stop={every_n_steps: 2, patience: 3}",
    )  # fmt: skip
    assert (adapted.report["steps"], adapted.report["ended"]) == (6, "converged")


def test_a_second_run_starts_over_and_ends_alike(tmp_path: Path) -> None:
    first, second = (adapt_in(tmp_path, "trainer.max_steps=4") for _ in range(2))
    assert first.report["checks"] == second.report["checks"]


def test_time_can_end_it(tmp_path: Path) -> None:
    adapted = adapt_in(tmp_path, "+trainer.max_time='00:00:00:01'", "trainer.max_steps=100000")
    assert adapted.report["ended"] == "limit"
    assert adapted.report["steps"] < 100000
    assert adapted.checkpoint.is_file()


def test_a_checkpoint_brings_its_hand_and_scale(first_checkpoint: Path) -> None:
    cfg = compose_config("adapt", *SMALL, f"checkpoint={first_checkpoint}", "scale_target_m=1")
    cfg = with_recorded_model(cfg)
    assert cfg.loss.scale.fn.target_m == pytest.approx(0.0338)
    assert cfg.model.network.encoder.weights == "none"
    assert cfg.model.renderer.resolution == 32


def test_what_cannot_be_adapted_is_said(
    first_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def complaint(*arguments: str) -> str:
        capfd.readouterr()
        assert run_command(main, *arguments, f"out={tmp_path}") == 1
        return capfd.readouterr().err

    assert "set a longer one, e.g. `window=clip5`" in complaint(
        *SMALL, "window=image", "loss=[quaternion_slerp]"
    )
    assert "source is missing" in complaint()
    chosen = (f"checkpoint={first_checkpoint}", "data=synthetic_sequence")
    assert "no checkpoint nowhere.ckpt" in complaint(chosen[1], "checkpoint=nowhere.ckpt")
    assert "come with the checkpoint" in complaint(*chosen, "hand=mano")
    assert "come with the checkpoint" in complaint(*chosen, "model.camera=paper")
    assert "choose from npz" in complaint(chosen[1], "predict.formats=[avi]")
    assert "the dataset has 2 sequences" in complaint(*SMALL, "dataset.sequence=2")
    assert "trainer.max_steps=0: adapting takes at least 1" in complaint(
        *SMALL, "trainer.max_steps=0"
    )
    assert "would run 2 processes" in complaint(*SMALL, "trainer=ddp_cpu")
    for prefix in ("+", "++"):
        said = complaint(*SMALL, f"{prefix}dataset.every=6")
        assert "dataset.every: nothing reads it" in said
        assert "+data.train.every=6 +data.test.every=6" in said
    assert "calls it predict.smooth_sigma" in complaint(*SMALL, "smooth_sigma=1")
    assert "calls it +data.train.every and +data.test.every" in complaint(*SMALL, "+every=30")
    one = ("data.train.dataset.frames_per_sequence=1", "data.test.dataset.frames_per_sequence=1")
    assert "for single frames set window=image" in complaint(*SMALL, *one)
    assert not (tmp_path / "adapt.json").exists()


def test_files_of_the_user_are_found_before_anything_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip")
    source = tmp_path / "overlay.mp4"
    shutil.copy(clip.source, source)
    monkeypatch.delattr(cli_adapt, "adapt")
    start = tmp_path / "checkpoints" / "last.ckpt"
    arguments = [f"source={source}", f"detections={clip.detections}", f"out={tmp_path}"]
    for more, file in (([], source), (["checkpoint={}"], start)):
        more = [text.format(file) for text in more]
        if file == start:
            start.parent.mkdir()
            start.write_bytes(b"mine")
        assert run_command(main, *arguments, *more) == 1
        assert f"{file} would replace the input {file}" in capsys.readouterr().err
    start.unlink()
    source.rename(tmp_path / "hand.glb")
    arguments[0] = f"source={clip.source}"
    assert run_command(main, *arguments) == 1
    assert f"{tmp_path / 'hand.glb'} exists and was not written" in capsys.readouterr().err


def test_a_setting_of_the_dataset_that_is_read_may_be_given_with_a_plus() -> None:
    cfg = compose_config("adapt", *SMALL, "++dataset.sequence=1")
    check_dataset_keys(cfg, ["++dataset.sequence=1"])


def test_a_real_video_is_adapted_to_and_predicted(real_video: Path, tmp_path: Path) -> None:
    arguments = (
        f"source={real_video}", f"detections={real_video.with_suffix('.keypoints.json')}",
        "data.batch_size=4", "+data.train.every=30", "trainer.max_steps=10", "stop.frames=10",
        "predict.formats=[npz]", "callbacks={panels: null, progress: null}", "logger=none",
        "+trainer.enable_progress_bar=false", f"out={tmp_path}",
    )  # fmt: skip
    assert run_command(main, *arguments) == 0
    report = report_in(tmp_path)
    assert report["residual_px"]["after"] < report["residual_px"]["before"]
    assert report["track"]["frames"] == report["frames"] == 21
    assert (tmp_path / "track.npz").is_file()
