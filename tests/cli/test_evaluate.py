"""``s2hand-evaluate``: numbers, pictures, a mesh and a page for one checkpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from omegaconf import OmegaConf
from PIL import Image

from fixtures.freihand import FreiHandTree
from fixtures.runs import run_command
from s2hand.cli.evaluate import main
from s2hand.cli.train import main as train_main
from s2hand.metric.hands import HandMetrics
from s2hand.training.build import load, make_data
from s2hand.training.evaluation import data_config, results_folder, write_predictions
from s2hand.types import HandBatch

NAMES = {
    "pa_mpjpe_mm", "pa_mpvpe_mm", "rr_mpjpe_mm", "st_mpjpe_mm", "auc_pa_50mm", "f5", "f15",
    "f5_pa", "f15_pa", "error_2d_px", "error_2d_confident_px",
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(smoke_run: Path) -> Path:
    return smoke_run / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def results(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that one evaluation wrote, beside the animated hand of an adaptation."""
    out = tmp_path_factory.mktemp("results")
    (out / "hand.glb").write_bytes(b"animated")
    assert run_command(main, f"checkpoint={checkpoint}", f"out={out}", "examples=3") == 0
    return out


def test_metrics_are_those_of_the_test_set(results: Path, checkpoint: Path) -> None:
    report = json.loads((results / "metrics.json").read_text())
    assert report["frames"] == 16
    assert report["hand"] == "open"
    assert Path(report["checkpoint"]) == checkpoint
    assert set(report["metrics"]) == {"model", "mean pose"}
    assert set(report["metrics"]["model"]) == NAMES
    assert set(report["metrics"]["mean pose"]) == {"pa_mpjpe_mm", "pa_mpvpe_mm"}
    module = load(checkpoint)
    recorded = OmegaConf.create({"data": module.record["config"]["data"]})
    metric = HandMetrics()
    with torch.no_grad():
        for batch in make_data(recorded, module).test_dataloader():
            metric.update(module(batch, render=False), batch)
    for name, value in metric.compute().items():
        assert report["metrics"]["model"][name] == pytest.approx(float(value), rel=1e-4)


def test_the_panel_has_a_row_per_example(results: Path) -> None:
    with Image.open(results / "panel.png") as image:
        assert image.size == (6 * 224, 18 + 3 * 224)


def test_the_mesh_reads_again(results: Path) -> None:
    mesh = trimesh.load(results / "example.glb", force="mesh")
    assert mesh.faces.shape == (1538, 3)
    assert len(mesh.vertices) == 778
    assert 0.05 < np.ptp(mesh.vertices, axis=0).max() < 0.4, "metres"
    content = (results / "example.glb").read_bytes()
    size = int.from_bytes(content[12:16], "little")
    (primitive,) = json.loads(content[20 : 20 + size])["meshes"][0]["primitives"]
    assert "COLOR_0" in primitive["attributes"]


def test_an_adaptations_animation_stays(results: Path) -> None:
    assert (results / "hand.glb").read_bytes() == b"animated"
    page = (results / "index.html").read_text()
    assert "example.glb" in page
    assert "hand.glb" not in page


def test_the_page_needs_nothing_but_itself(results: Path) -> None:
    page = (results / "index.html").read_text()
    metrics = json.loads((results / "metrics.json").read_text())["metrics"]
    for name, value in metrics["model"].items():
        assert name in page
        assert f"{value:.3f}" in page
    loaded = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)|url\(([^)]+)\)""", page)
    assert all(source.startswith("data:") for pair in loaded for source in pair if source)
    assert not re.search(r"https?:|//cdn|@import|\bimport\s*\(|fetch\(|XMLHttpRequest", page)
    assert not re.search(r"\$\{?[a-z]", page.replace("${", "") if "`" in page else page)


def test_results_lie_with_the_run_unless_told_otherwise(tmp_path: Path) -> None:
    def folder(checkpoint: Path, out: Path | None = None) -> Path:
        return results_folder(
            OmegaConf.create({"checkpoint": str(checkpoint), "out": out and str(out)})
        )

    assert folder(tmp_path / "run" / "checkpoints" / "last.ckpt") == tmp_path / "run"
    assert folder(tmp_path / "downloads" / "model.ckpt") == tmp_path / "downloads"
    assert folder(tmp_path / "x.ckpt", tmp_path / "out") == tmp_path / "out"


def test_evaluating_leaves_no_folder_behind(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [f"checkpoint={checkpoint}", "out=out", "examples=1", "+data.batch_size=5"]
    assert run_command(main, *arguments) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_values_of_the_recorded_data_can_be_changed(checkpoint: Path) -> None:
    recorded: dict[str, Any] = load(checkpoint).record["config"]["data"]
    cfg = OmegaConf.create({"data": {"batch_size": 3, "test": {"size": 4}}})
    changed = data_config(cfg, recorded)
    assert (changed.batch_size, changed.test.size) == (3, 4)
    assert changed.test.image_px == recorded["test"]["image_px"]
    with pytest.raises(Exception, match="sise"):
        data_config(OmegaConf.create({"data": {"test": {"sise": 4}}}), recorded)


def test_another_dataset_with_labels(
    checkpoint: Path, freihand: FreiHandTree, tmp_path: Path
) -> None:
    arguments = [f"checkpoint={checkpoint}", f"out={tmp_path}", "examples=1", "data=freihand"]
    arguments += [f"dataset.root={freihand.root}", "data.num_workers=0", "data.test.image_px=64"]
    assert run_command(main, *arguments) == 0
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["frames"] == len(freihand.evaluation_joints)
    assert report["test_set"]["root"] == str(freihand.root)
    assert "pa_mpjpe_mm" in report["metrics"]["model"]


def test_own_pictures_without_labels(
    checkpoint: Path, freihand: FreiHandTree, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "metrics.json").write_text('{"test_set": {"_target_": "other.Frames"}}')
    pictures = freihand.root / "evaluation" / "rgb"
    arguments = [f"checkpoint={checkpoint}", f"out={tmp_path}", "examples=1", "data=frames"]
    arguments += [
        f"dataset.source={pictures}",
        f"dataset.detections={freihand.evaluation_detections}",
    ]
    for told in ("another test set (other.Frames) are replaced; out=FOLDER keeps both", ""):
        caplog.clear()
        assert run_command(main, *arguments) == 0
        assert told in caplog.text
        assert ("are replaced" in caplog.text) == bool(told)
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert set(report["metrics"]) == {"model"}
    assert set(report["metrics"]["model"]) == {"error_2d_px", "error_2d_confident_px"}


def test_a_leaderboard_file_holds_every_frame_in_order(checkpoint: Path, tmp_path: Path) -> None:
    module = load(checkpoint)
    data = make_data(OmegaConf.create({"data": module.record["config"]["data"]}), module)
    write_predictions(module, data, tmp_path / "pred.json")
    joints, vertices = json.loads((tmp_path / "pred.json").read_text())
    frames: Any = data.dataset("test")
    with torch.no_grad():
        hand = module(HandBatch.stack([frames[13]]), render=False).hand
    np.testing.assert_allclose(joints[13], hand.joints[0, 0].numpy(), atol=1e-5)
    np.testing.assert_allclose(vertices[13], hand.vertices[0, 0].numpy(), atol=1e-5)
    assert len(joints) == len(vertices) == 16


def test_freihand_is_trained_on_evaluated_and_written(
    freihand: FreiHandTree, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The commands alone, from FreiHAND's files to its leaderboard file."""
    run = tmp_path / "run"
    arguments = [
        "data=freihand", f"paths.run={run}", f"dataset.root={freihand.root}",
        f"dataset.detections={freihand.training_detections}",
        f"dataset.eval_detections={freihand.evaluation_detections}",
        "data.batch_size=2", "data.num_workers=0", "dataset.val_count=2",
        "data.train.image_px=64", "data.val.image_px=64", "data.test.image_px=64",
        "model.network.encoder.name=mobilenetv3_small_050", "model.network.encoder.weights=none",
        "model.network.encoder.input_px=64", "render.resolution=32", "trainer.max_steps=2",
        "trainer.val_check_interval=2",
    ]  # fmt: skip
    assert run_command(train_main, *arguments) == 0
    last = run / "checkpoints" / "last.ckpt"
    assert run_command(main, f"checkpoint={last}", f"out={tmp_path}", "pred_json=true") == 0
    report = json.loads((tmp_path / "metrics.json").read_text())
    model = report["metrics"]["model"]
    assert {name for name in model if "/" not in name} == NAMES
    for own, official in (("pa_mpjpe_mm", "pa_mpjpe_mm"), ("f5_pa", "pa_f5"), ("f15", "f15")):
        assert model[f"freihand/{official}"] == pytest.approx(model[own], rel=1e-5)
    joints, vertices = (np.array(x) for x in json.loads((tmp_path / "pred.json").read_text()))
    frames = len(freihand.evaluation_joints)
    assert joints.shape == (frames, 21, 3)
    assert vertices.shape == (frames, 778, 3)
    # Metres in the camera: a hand in front of it whose span is a hand's.
    assert (joints[..., 2] > 0.1).all()
    spans = np.ptp(joints, axis=1).max(-1)
    assert ((spans > 0.05) & (spans < 0.5)).all()
    assert "leaderboard takes 3960" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "checkpoint is missing: give it on the command line"),
        (["checkpoint=none.ckpt"], "no checkpoint none.ckpt"),
        (["checkpoint={text}"], "is not a readable checkpoint"),
        (["checkpoint={real}", "hand_file=none.npz"], "no hand model at none.npz"),
        (["checkpoint={real}", "+data.test.sise=3"], "sise"),
        (["checkpoint={real}", "data=freihand"], "dataset.root is missing"),
        (["checkpoint={real}", "data=freihand", "dataset.root='no[b]where'"], "no[b]where"),
    ],
)
def test_errors_are_one_message(
    arguments: list[str],
    said: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    names = {"text": tmp_path / "text.ckpt", "real": checkpoint}
    filled = [argument.format(**names) for argument in arguments]
    assert run_command(main, f"out={tmp_path}", *filled) == 1
    message = capsys.readouterr().err
    assert message.count("error:") == 1
    assert said in message
    assert "Traceback" not in message


def test_another_protocol_can_be_asked_for(
    checkpoint: Path, freihand: FreiHandTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"checkpoint={checkpoint}", f"out={tmp_path}", "examples=1", "data=freihand"]
    arguments += [f"dataset.root={freihand.root}", "data.num_workers=0", "data.test.image_px=64"]
    assert run_command(main, *arguments, "protocol=stb_b") == 0
    model = json.loads((tmp_path / "metrics.json").read_text())["metrics"]["model"]
    own = {name for name in model if "/" in name}
    assert own == {"stb_b/root9_mpjpe_mm", "stb_b/root9_auc_joints_20_50mm"}
    assert run_command(main, *arguments, "protocol=stb") != 0
    assert "protocol='stb'; known: freihand" in capsys.readouterr().err
