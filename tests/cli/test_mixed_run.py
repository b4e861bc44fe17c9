"""Images, videos and rendered sequences in one run, by the commands alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from hydra.errors import ConfigCompositionException

from fixtures.freihand import FreiHandTree
from fixtures.ho3d import Ho3dTree
from fixtures.runs import compose_config, run_command
from s2hand.cli.adapt import main as adapt
from s2hand.cli.data import main as data_command
from s2hand.cli.evaluate import main as evaluate
from s2hand.cli.train import main as train
from s2hand.training.checkpoints.reading import read_checkpoint

PARTS = [
    "data=mixed", "+data@data.parts.images=freihand", "+data@data.parts.videos=ho3d",
    "+data@data.parts.rendered=synthetic_video",
    "data.weights={images:1,videos:1,rendered:2}", "data.val=videos", "data.test=videos",
    "window=clip3", "data.parts.images.data.window=null",
]  # fmt: skip
"""Single images beside windows of three frames."""
SMALL = [
    "trainer=cpu", "model.network.encoder.name=mobilenetv3_small_050",
    "model.network.encoder.weights=none", "model.network.encoder.input_px=64",
    "render.resolution=32", "trainer.max_steps=4", "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1", "callbacks.progress=null",
    "loss=[joint_location,bone_orientation,estimator_2d,scale,photometric,quaternion_slerp]",
    "loss.quaternion_slerp.weight=100",
    "data.parts.images.data.batch_size=4", "data.parts.images.data.num_workers=0",
    "data.parts.images.data.train.val_count=2",
    "data.parts.videos.data.batch_size=2", "data.parts.videos.data.num_workers=0",
    "data.parts.videos.data.train.image_px=64", "data.parts.videos.data.val.image_px=64",
    "data.parts.rendered.data.batch_size=2", "data.parts.rendered.data.train.image_px=48",
    "data.parts.rendered.data.train.sequences=2",
    "data.parts.rendered.data.train.frames_per_sequence=6",
    "data.parts.rendered.data.train.renderer.resolution=48",
]  # fmt: skip
"""The networks, frames and steps that a test can afford."""


def sources(freihand: FreiHandTree, ho3d: Ho3dTree) -> list[str]:
    return [
        f"data.parts.images.dataset.root={freihand.root}",
        f"data.parts.images.dataset.detections={freihand.training_detections}",
        f"data.parts.videos.dataset.root={ho3d.root}",
        f"data.parts.videos.dataset.detections={ho3d.detections}",
        f"data.parts.videos.dataset.eval_detections={ho3d.evaluation_detections}",
        "data.parts.videos.dataset.val_every=3",
    ]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["train/loss"]]


@pytest.fixture(scope="module")
def run(freihand: FreiHandTree, ho3d: Ho3dTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts as their pixels are and the frozen features of all three."""
    folder = tmp_path_factory.mktemp("mixed_run")
    arguments = [*PARTS, *SMALL, *sources(freihand, ho3d), f"paths.run={folder}"]
    assert run_command(train, *arguments) == 0
    return folder


def test_temporal_terms_count_on_windows_only(run: Path) -> None:
    found = rows(run)
    assert [row["step"] for row in found] == ["0", "1", "2", "3"]
    weights = {
        name: term.weight for name, term in compose_config("train", *PARTS, *SMALL).loss.items()
    }
    motion = []
    for row in found:
        terms = {name: weight * float(row[f"train/{name}"]) for name, weight in weights.items()}
        total, still = float(row["train/loss"]), sum(terms.values()) - terms["quaternion_slerp"]
        assert total == pytest.approx(still, rel=1e-5) or total == pytest.approx(
            sum(terms.values()), rel=1e-5
        )
        motion.append(total != pytest.approx(still, rel=1e-5))
    # One round by weights (1, 1, 2): rendered, images, videos, rendered.
    assert motion == [True, False, True, True]


def test_an_interrupted_run_goes_on_with_the_next_part(
    run: Path, freihand: FreiHandTree, ho3d: Ho3dTree, tmp_path: Path
) -> None:
    arguments = [*PARTS, *SMALL, *sources(freihand, ho3d), f"paths.run={tmp_path}"]
    stop = "+callbacks.stop={_target_: fixtures.runs.Interrupt, hook: on_train_batch_start, nth: 2}"
    run_command(train, *arguments, stop)
    assert len(rows(tmp_path)) == 2
    assert run_command(train, *arguments) == 0
    whole, parted = (
        read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (run, tmp_path)
    )
    assert [row["train/loss"] for row in rows(tmp_path)] == [row["train/loss"] for row in rows(run)]
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(parted["state_dict"][name], value, rtol=0, atol=0, msg=name)


def test_the_checkpoint_is_evaluated_on_each_set_by_its_own_protocol(
    run: Path, freihand: FreiHandTree, ho3d: Ho3dTree, tmp_path: Path
) -> None:
    checkpoint = f"checkpoint={run}/checkpoints/last.ckpt"
    own = ["+data.parts.videos.data.test.image_px=64"]
    images = [
        "data=freihand", f"dataset.root={freihand.root}", "data.num_workers=0",
        f"dataset.eval_detections={freihand.evaluation_detections}",
    ]  # fmt: skip
    for name, options in {"ho3d": own, "freihand": images}.items():
        out = tmp_path / name
        assert run_command(evaluate, checkpoint, f"out={out}", "examples=1", *options) == 0
        root = freihand.root if name == "freihand" else ho3d.root
        report = json.loads((out / "metrics.json").read_text())
        assert report["test_set"]["root"] == str(root)
        model = report["metrics"]["model"]
        assert any(key.startswith(f"{name}/") for key in model), sorted(model)
        assert 0 < model["pa_mpjpe_mm"] < 60


def test_an_unknown_key_of_a_part_fails() -> None:
    with pytest.raises(ConfigCompositionException, match="rooot"):
        compose_config("train", *PARTS, "data.parts.images.dataset.rooot=x")
    with pytest.raises(ConfigCompositionException, match="batch_size"):
        compose_config("train", *PARTS, "data.batch_size=4")


def test_a_left_out_weight_is_told_before_anything_is_read(
    freihand: FreiHandTree, ho3d: Ho3dTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [text.replace(",rendered:2", "") for text in PARTS]
    arguments = [*parts, *SMALL, *sources(freihand, ho3d), f"paths.run={tmp_path}"]
    assert run_command(train, *arguments) == 1
    assert "give each part its weight" in " ".join(capsys.readouterr().err.split())


def test_windows_longer_than_every_recording_name_the_part_setting(
    freihand: FreiHandTree, ho3d: Ho3dTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*PARTS[:-1], *SMALL, *sources(freihand, ho3d), f"paths.run={tmp_path}"]
    assert run_command(train, *arguments) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "data.parts.<name>.data.window=null" in said


def test_a_mix_is_nothing_to_adapt_to(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["data=mixed", "+data@data.parts.a=synthetic", "data.weights={a:1}", "data.val=null"]
    assert run_command(adapt, *options) == 1
    assert "adapt to one" in " ".join(capsys.readouterr().err.split())


def test_a_mix_is_not_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data_command(["pack", str(tmp_path / "out"), *PARTS]) == 1
    assert "pack each by itself" in " ".join(capsys.readouterr().err.split())
