"""The dashboard, read back from the files that offline runs of wandb leave."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from PIL import Image

from fixtures.gltf import Glb
from fixtures.runs import compose_config, run_command
from s2hand.cli.evaluate import main as evaluate
from s2hand.cli.train import main as train
from s2hand.geometry.skeleton import JOINT_NAMES
from s2hand.training.build import git_revision
from s2hand.training.checkpoints.reading import read_checkpoint
from s2hand.training.loggers.dashboard import artifact_name, table

TOOLS = Path(__file__).parents[3] / "tools"


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No key, no folder outside the test's, nothing printed."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        for name in ("WANDB_API_KEY", "WANDB_MODE"):
            patch.setenv(name, "")  # so that what Lightning sets is undone too
            patch.delenv(name)
        for name in ("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
            patch.setenv(name, str(home))
        patch.setenv("WANDB_SILENT", "true")
        patch.syspath_prepend(TOOLS)
        yield


def runs(folder: Path) -> list[Any]:
    """Every offline run below a folder, oldest first.

    ``wandb.finish`` returns before wandb's process has written the run's file; ``teardown`` waits
    for the end of that process.
    """
    wandb.teardown()
    read_run = importlib.import_module("offline_run").read_run
    return [read_run(path) for path in sorted(folder.rglob("offline-run-*"))]


@pytest.fixture(scope="module")
def trained(offline: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A training with everything on, as its file tells it."""
    folder = tmp_path_factory.mktemp("runs")
    arguments = ["experiment=smoke", "logger=wandb", f"paths.runs={folder}", "seed=3"]
    assert run_command(train, *arguments, "loss.shape.weight=0.02") == 0
    (run,) = runs(folder)
    return run


@pytest.fixture(scope="module")
def evaluated(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An evaluation of that training over sequences."""
    out = tmp_path_factory.mktemp("out")
    checkpoint = trained.folder.parents[1] / "checkpoints" / "last.ckpt"
    arguments = [f"checkpoint={checkpoint}", f"out={out}", "logger=wandb", "study=smoke"]
    video = ["data=synthetic_video", "data.test.sequences=2", "data.test.frames_per_sequence=6"]
    small = ["data.test.image_px=64", "data.test.renderer.resolution=64", "examples=2"]
    assert run_command(evaluate, *arguments, *video, *small) == 0
    (run,) = runs(out)
    return run


def test_a_run_says_what_it_is(trained: Any) -> None:
    assert (trained.project, trained.group, trained.job_type) == ("s2hand", "smoke", "train")
    assert trained.name == "run"
    assert set(trained.tags) == {"experiment=smoke", "seed=3", "loss.shape.weight=0.02"}
    assert trained.exit_code == 0


def test_the_configuration_is_the_resolved_one(trained: Any) -> None:
    assert trained.config["revision"] == git_revision()
    assert trained.config["seed"] == 3
    assert trained.config["loss"]["shape"]["weight"] == 0.02
    assert trained.config["model"]["renderer"]["resolution"] == 32, "interpolated from render"
    assert "${" not in json.dumps({k: v for k, v in trained.config.items() if k != "_wandb"})


def test_every_raw_term_and_metric_is_a_curve(trained: Any) -> None:
    cfg = compose_config("train", "experiment=smoke")
    for name in ("loss", *cfg.loss):
        assert len(trained.series(f"train/{name}")) == 4, name
    for name in ("pa_mpjpe_mm", "rr_mpjpe_mm", "error_2d_px"):
        assert len(trained.series(f"val/{name}")) == 1
    for name in ("learning_rate", "gradient/norm", "gradient/trunk", "memory/process_gb"):
        assert [step for step, _ in trained.series(name)] == [1, 2, 3, 4]
    assert all(value > 0 for _, value in trained.series("speed/images_per_s"))


def test_the_panel_is_a_picture(trained: Any) -> None:
    ((step, entry),) = trained.series("panels")
    assert step == 4
    with Image.open(trained.file(entry)) as picture:
        assert picture.size == (6 * 224, 18 + 6 * 224)
        written = Image.open(trained.folder.parents[1] / "panels" / "latest.png")
        assert picture.convert("RGB").tobytes() == written.tobytes()


def test_the_bars_of_the_joints_average_to_the_metric(trained: Any) -> None:
    ((_, entry),) = trained.series("val/joints_table")
    content = json.loads(trained.file(entry).read_text())
    assert content["columns"] == ["joint", "pa_mm", "sd_mm"]
    assert [row[0] for row in content["data"]] == list(JOINT_NAMES)
    mean = sum(row[1] for row in content["data"]) / 21
    ((_, expected),) = trained.series("val/pa_mpjpe_mm")
    assert mean == pytest.approx(expected, rel=1e-5)
    shown = trained.config["_wandb"]["visualize"]["val/joints"]
    assert "bar" in json.dumps(shown)


@pytest.mark.parametrize("key", ["hand/mesh", "hand/texture"])
def test_meshes_are_hands_in_colour(trained: Any, key: str) -> None:
    ((step, entry),) = trained.series(key)
    assert step == 4
    assert entry["_type"] == "object3D-file"
    glb = Glb(trained.file(entry))
    (primitive,) = glb.tree["meshes"][0]["primitives"]
    assert len(glb.array(primitive["indices"])) == 3 * 1538
    assert 0.1 < np.ptp(glb.array(primitive["attributes"]["POSITION"]), axis=0).max() < 0.3, "m"
    assert glb.array(primitive["attributes"]["COLOR_0"]).shape[0] == 778


def test_the_checkpoint_is_an_artifact_where_it_lies(trained: Any) -> None:
    (artifact,) = (a for a in trained.artifacts if a.type == "model")
    assert artifact.name == "smoke-run"
    assert set(artifact.aliases) == {"latest", "step-4"}
    (file,) = artifact.manifest.contents
    assert file.path == "last.ckpt"
    path = Path(file.local_path)
    assert path == (trained.folder.parents[1] / "checkpoints" / "last.ckpt").resolve()
    assert read_checkpoint(path)["global_step"] == 4
    metadata = json.loads(artifact.metadata)
    assert metadata["step"] == 4
    assert metadata["begun_from"] is None
    assert metadata["metrics"]["val/pa_mpjpe_mm"] > 0


def test_an_evaluation_is_a_run_of_its_own_kind(trained: Any, evaluated: Any) -> None:
    assert (evaluated.group, evaluated.job_type) == ("smoke", "evaluate")
    assert evaluated.id != trained.id
    assert evaluated.exit_code == 0
    (artifact,) = (a for a in trained.artifacts if a.type == "model")
    (file,) = artifact.manifest.contents
    assert Path(evaluated.config["inputs"]["checkpoint"]).resolve() == Path(file.local_path)
    assert len(evaluated.series("panels")) == 1
    assert not list(evaluated.folder.parents[1].glob("metrics.csv"))


def test_every_sequence_has_a_row(evaluated: Any) -> None:
    ((_, entry),) = evaluated.series("test/sequences")
    content = json.loads(evaluated.file(entry).read_text())
    rows = [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
    assert len(rows) == len({row["sequence"] for row in rows}) > 0
    assert {row["frames"] for row in rows} == {6}
    report = json.loads((evaluated.folder.parents[1] / "metrics.json").read_text())
    assert report["sequences"] == rows
    metrics = report["metrics"]["model"]
    for name in ("jitter_root_mm_frame2", "acceleration_error_pa_mm_frame2", "texture_sd"):
        mean = sum(row[name] for row in rows) / len(rows)
        assert mean == pytest.approx(metrics[name], rel=1e-5, abs=1e-9)
    assert [row["joint"] for row in report["joints"]] == list(JOINT_NAMES)


def test_a_sweep_of_three_makes_three_runs_of_which_one_failed(
    offline: None, tmp_path: Path
) -> None:
    arguments = ["experiment=smoke", "logger=wandb", f"paths.runs={tmp_path}", "study=three"]
    quick = ["trainer.max_steps=1", "callbacks.panels=null", "loss=[shape]"]
    assert run_command(train, "-m", *arguments, *quick, "loss.shape.weight=1,0,2") == 1
    found = runs(tmp_path)
    weights = {next(tag for tag in run.tags if "weight" in tag): run.exit_code for run in found}
    assert weights == {
        "loss.shape.weight=1": 0, "loss.shape.weight=0": 1, "loss.shape.weight=2": 0,
    }  # fmt: skip
    assert {run.group for run in found} == {"three"}
    assert len({run.id for run in found}) == len({run.name for run in found}) == 3
    assert wandb.run is None


def test_tensorboard_gets_scalars_and_the_panel(tmp_path: Path) -> None:
    board = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    arguments = ["experiment=smoke", "logger=tensorboard", f"paths.runs={tmp_path}"]
    quick = ["callbacks.panels.count=1", "loss=[shape]", "trainer.max_steps=1"]
    assert run_command(train, *arguments, *quick, "trainer.val_check_interval=1") == 0
    events = board.EventAccumulator(str(tmp_path / "smoke" / "run" / "tensorboard"))
    events.Reload()
    assert {"train/shape", "val/pa_mpjpe_mm", "gradient/norm"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["panels"]
    assert (tmp_path / "smoke" / "run" / "metrics.csv").is_file()


def test_no_logger_no_crash(trained: Any, tmp_path: Path) -> None:
    checkpoint = trained.folder.parents[1] / "checkpoints" / "last.ckpt"
    arguments = ["experiment=smoke", "logger=none", f"paths.runs={tmp_path}", "loss=[shape]"]
    quick = ["trainer.max_steps=1", "callbacks.panels=null", f"init_from={checkpoint}"]
    extra = "+callbacks.dashboard={_target_: s2hand.training.loggers.dashboard.Dashboard}"
    more = "+callbacks.telemetry={_target_: s2hand.training.loggers.telemetry.Telemetry}"
    assert run_command(train, *arguments, *quick, extra, more) == 0
    assert not list(tmp_path.rglob("metrics.csv"))


def test_artifacts_are_called_as_their_runs() -> None:
    assert artifact_name(Path("runs/study/lr=1e-3,seed=0/checkpoints/last.ckpt")) == (
        "study-lr-1e-3-seed-0"
    )
    assert artifact_name(Path("/data/models/hand.ckpt")) == "models-hand"


def test_rows_of_a_table_may_lack_cells() -> None:
    made = table([{"sequence": "a", "jitter": 1.0}, {"sequence": "b", "shape_sd": 2.0}])
    assert made.columns == ["sequence", "jitter", "shape_sd"]
    assert made.data == [["a", 1.0, None], ["b", None, 2.0]]


def test_what_is_no_run_file_is_refused(offline: None) -> None:
    with pytest.raises(ValueError, match="not a wandb run file"):
        list(importlib.import_module("offline_run").records(b"PK\x03\x04"))
    assert "offline_run" in sys.modules
