"""``s2hand-ablate``: one checkpoint under changes; what fails, what is done, what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console
from torch import nn

from fixtures.runs import compose_config, run_command
from s2hand.cli.ablate import main
from s2hand.metric.hands import HandMetrics
from s2hand.model.keypoint_net import Estimate
from s2hand.studies.ablation import running
from s2hand.studies.ablation.models import without_branch
from s2hand.studies.ablation.rows import Change, Finetune, changed_losses, read_changes
from s2hand.studies.ablation.table import ablation_table
from s2hand.studies.comparison import compare
from s2hand.training.build import load, make_data, make_module
from s2hand.training.checkpoints.reading import read_checkpoint
from s2hand.training.module import S2Hand
from s2hand.types import HandBatch

QUIET = ("callbacks.progress=null", "+trainer.enable_progress_bar=false", "logger=none")
SMALL = ("optim.schedule.warmup_steps=1", "ablation.finetune.finetune.steps=2")
ROWS = "rows=[full,no_2d_branch,noise_4px,refined,other_hand,finetune,finetune_no_pixels]"


def last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def call(checkpoint: Path | str, runs: Path, *arguments: str) -> int:
    return run_command(main, f"checkpoint={checkpoint}", f"paths.runs={runs}", *QUIET, *arguments)


def metrics(folder: Path) -> dict[str, float]:
    report = json.loads((folder / "metrics.json").read_text())
    found: dict[str, float] = report["metrics"]["model"]
    return found


@pytest.fixture(scope="module")
def other_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The open hand with its shapes in another order: the same arrays, other codes."""
    source = files("s2hand.hand.assets").joinpath("open_hand_right.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        content = dict(arrays)
    content["shapedirs"] = content["shapedirs"][..., ::-1].copy()
    path = tmp_path_factory.mktemp("hand") / "other.npz"
    np.savez(path, **content)
    return path


@pytest.fixture(scope="module")
def arguments(other_hand: Path) -> tuple[str, ...]:
    return (
        *SMALL, ROWS, f"ablation.other_hand.hand={other_hand}", "ablation.refined.refine_steps=6",
        "ablation.finetune_no_pixels.finetune.steps=2",
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(
    smoke_run: Path, arguments: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A study whose row ``other_hand`` fails; read only."""
    runs = tmp_path_factory.mktemp("ablations")
    assert call(last(smoke_run), runs, *arguments) == 1
    return runs / "ablate"


def test_as_it_is_means_what_an_evaluation_says(study: Path, smoke_run: Path) -> None:
    module = load(last(smoke_run))
    data = make_data(OmegaConf.create({"data": module.record["config"]["data"]}), module)
    metric = HandMetrics()
    with torch.no_grad():
        for batch in data.test_dataloader():
            metric.update(module(batch, render=False), batch)
    found = metrics(study / "full")
    assert set(found) == set(metric.compute())
    for name, value in metric.compute().items():
        assert found[name] == pytest.approx(float(value), rel=1e-4)


def test_a_failing_row_stops_no_other_and_says_why(study: Path) -> None:
    failed = json.loads((study / "other_hand" / "failed.json").read_text())
    assert "was trained on hand model 'open'" in failed["error"]
    assert "allow_other_hand: true" in failed["error"]
    assert not (study / "other_hand" / "metrics.json").exists()
    text = (study / "ablation.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| other_hand |")]
    assert "failed: HandModelMismatchError" in line
    lines = list(csv.DictReader((study / "ablation.csv").open()))
    assert [line["row"] for line in lines] == [
        "full", "no_2d_branch", "noise_4px", "refined", "other_hand", "finetune",
        "finetune_no_pixels",
    ]  # fmt: skip
    assert [bool(line["failed"]) for line in lines] == [
        line["row"] == "other_hand" for line in lines
    ]


def test_the_table_compares_with_the_first_row(study: Path) -> None:
    lines = {line["row"]: line for line in csv.DictReader((study / "ablation.csv").open())}
    full, refined = (metrics(study / name)["error_2d_px"] for name in ("full", "refined"))
    assert float(lines["refined"]["error_2d_px"]) == refined
    (line,) = [
        line
        for line in (study / "ablation.md").read_text().splitlines()
        if line.startswith("| refined |")
    ]
    assert f"({100 * (refined / full - 1):+.1f} %)" in line
    assert "refined, 6 steps" in line


def test_no_name_and_no_number_is_broken_on_the_console(study: Path) -> None:
    table = ablation_table(study, ["full", "no_2d_branch", "refined"])
    assert len(table.metrics) == 5
    error = table.cells()[1][1][2]  # "9.12 (+0.3 %)" of no_2d_branch
    log = Console(file=io.StringIO(), width=80)
    table.show(log)
    text = log.file.getvalue()  # type: ignore[attr-defined]
    for whole in (*table.metrics, "no_2d_branch", error):
        assert whole in text
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True, no_color=True)
    table.show(terminal)
    text = re.sub(r"\x1b\[[\d;]*m", "", terminal.file.getvalue())  # type: ignore[attr-defined]
    lines = text.splitlines()
    for whole in ("pa_mpjpe ", "no_2d_branch ", *error.split(" ", 1)):
        assert any(whole in line for line in lines), whole
    assert max(map(len, lines)) <= 80


def test_noise_reaches_the_2d_errors_and_nothing_else(study: Path) -> None:
    full, noisy = metrics(study / "full"), metrics(study / "noise_4px")
    assert noisy["error_2d_px"] != full["error_2d_px"]
    in_space = set(full) - {"error_2d_px", "error_2d_confident_px"}
    assert {name: noisy[name] for name in in_space} == {name: full[name] for name in in_space}


def test_refinement_brings_the_hand_to_the_detections(study: Path) -> None:
    assert metrics(study / "refined")["error_2d_px"] < metrics(study / "full")["error_2d_px"]


def test_a_fine_tune_is_a_training_from_the_checkpoint(study: Path, smoke_run: Path) -> None:
    report = json.loads((study / "finetune" / "train.json").read_text())
    assert report["steps"] == 2
    assert report["config"]["init_from"] == str(last(smoke_run))
    began, ended = (read_checkpoint(last(run)) for run in (smoke_run, study / "finetune"))
    assert ended["s2hand"]["config"]["loss"] == began["s2hand"]["config"]["loss"]
    name = "reconstructor.network.geometry.pose.2.weight"
    moved = (ended["state_dict"][name] - began["state_dict"][name]).abs()
    # Two steps of Adam move a weight by at most about two learning rates (5e-4).
    assert 0 < float(moved.max()) < 1.1e-3
    assert metrics(study / "finetune") != metrics(study / "full")


def test_a_fine_tune_leaves_out_the_losses_that_the_row_names(study: Path) -> None:
    kept, reference = (
        set(read_checkpoint(last(study / row))["s2hand"]["config"]["loss"])
        for row in ("finetune_no_pixels", "finetune")
    )
    assert reference - kept == {"photometric", "mean_colour", "ssim"}


def test_a_sweep_report_reads_the_study(study: Path) -> None:
    report = compare(study, ["error_2d_px"])
    assert report.keys() == ["row"]
    assert {row.label[0][1] for row in report.rows} == {
        "full", "no_2d_branch", "noise_4px", "refined", "finetune", "finetune_no_pixels",
    }  # fmt: skip
    assert ["other_hand" in line for line in report.remarks()["failed"]] == [True]


def test_the_same_command_does_only_what_is_missing(
    study: Path, smoke_run: Path, arguments: tuple[str, ...]
) -> None:
    done = {path: path.stat().st_mtime_ns for path in study.glob("*/metrics.json")}
    failed = (study / "other_hand" / "failed.json").stat().st_mtime_ns
    assert len(done) == 6
    assert call(last(smoke_run), study.parent, *arguments) == 1
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert (study / "other_hand" / "failed.json").stat().st_mtime_ns > failed, "tried again"


def test_what_does_not_belong_into_the_study_is_refused(
    study: Path, smoke_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, before = last(smoke_run), sorted(study.rglob("*.json"))
    other = last(study / "finetune")
    for path, told, said in (
        (other, (), f"is a study of another checkpoint ({checkpoint}"),
        (checkpoint, ("+data.test.size=8",), "data.test.size was 16, is now 8"),
        (checkpoint, ("seed=1",), "seed was 0, is now 1"),
        (checkpoint, ("ablation.full.noise_px=3",), "change.noise_px was 0.0, is now 3.0"),
        (checkpoint, ("rows=[finetune]", "ablation.finetune.finetune.steps=3"), "steps was 2"),
        (checkpoint, ("rows=[finetune]", *SMALL, "optim.optimizer.lr=1"), "lr was 0.0005"),
    ):
        told = tuple(f"+{text}" if text.startswith("ablation.full") else text for text in told)
        rows = () if any(text.startswith("rows") for text in told) else ("rows=[full]",)
        assert call(path, study.parent, *rows, *told) == 1
        message = capsys.readouterr().err
        assert said in message
        assert "choose another study=" in message
    assert sorted(study.rglob("*.json")) == before


def test_another_hand_is_measured_where_it_is_allowed(
    study: Path, smoke_run: Path, other_hand: Path, tmp_path: Path
) -> None:
    cache = Path(os.environ["S2HAND_CACHE"])
    rendered = set(cache.glob("synthetic-*"))
    told = [f"ablation.other_hand.hand={other_hand}", "ablation.other_hand.allow_other_hand=true"]
    assert call(last(smoke_run), tmp_path, "rows=[other_hand]", *told) == 0
    found = metrics(tmp_path / "ablate" / "other_hand")
    assert found["pa_mpjpe_mm"] != metrics(study / "full")["pa_mpjpe_mm"]
    assert set(cache.glob("synthetic-*")) == rendered, "the pictures are of the checkpoint's hand"


class Blind(nn.Module):
    """A 2D estimator that sees nothing."""

    def forward(self, image: torch.Tensor, maps: Any) -> list[Estimate]:
        """Every joint in the middle of the crop, without a peak."""
        n = len(image)
        return [Estimate(torch.full((n, 21, 2), 0.5), torch.zeros(n, 21))]


def estimating_module(**network: Any) -> S2Hand:
    """An untrained network whose heads are no longer near zero."""
    cfg = compose_config("train", "experiment=smoke", "loss=[joint_location,estimator_2d]")
    for key, value in network.items():
        cfg.model.network[key] = value
    torch.manual_seed(0)
    module = make_module(cfg).eval()
    with torch.no_grad():
        for parameter in module.reconstructor.network.geometry.parameters():
            parameter.normal_(0, 0.05)
    return module


def checkpoint_of(module: S2Hand) -> dict[str, Any]:
    content: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    return content


def bare_module(module: S2Hand) -> S2Hand:
    """What :func:`without_branch` makes of it."""
    loss = {"joint_location": module.record["config"]["loss"]["joint_location"]}
    bare = without_branch(checkpoint_of(module), "x.ckpt", loss)
    cfg = OmegaConf.create(bare["s2hand"]["config"])
    assert cfg.model.network.keypoint_net == "none"
    made = make_module(cfg)
    made.load_state_dict(bare["state_dict"])
    return made.eval()


@pytest.fixture(scope="module")
def batch(smoke_run: Path) -> HandBatch:
    """Four rendered hands, without cached features."""
    module = load(last(smoke_run))
    config = module.record["config"]["data"] | {"cache_features": False}
    dataset = make_data(OmegaConf.create({"data": config}), module).dataset("test")
    return HandBatch.stack([dataset[i] for i in range(4)])


@torch.no_grad()
def test_without_the_branch_the_compact_network_reads_zeros(batch: HandBatch) -> None:
    module = estimating_module()
    whole = module(batch, render=False).hand.vertices
    without = bare_module(module)(batch, render=False)
    assert without.estimated_joints_2d == ()
    module.reconstructor.network.keypoints = Blind()
    blind = module(batch, render=False).hand.vertices
    torch.testing.assert_close(without.hand.vertices, blind, atol=1e-6, rtol=1e-5)
    assert float((without.hand.vertices - whole).norm(dim=-1).mean()) > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("keypoint_net", ["light", "hourglass"])
def test_without_the_branch_the_papers_network_says_the_same(
    batch: HandBatch, keypoint_net: str
) -> None:
    target = "s2hand.model.networks.S2HandNetwork"
    module = estimating_module(_target_=target, keypoint_net=keypoint_net)
    without = bare_module(module)(batch, render=False)
    assert without.estimated_joints_2d == ()
    expected = module(batch, render=False).hand.vertices
    torch.testing.assert_close(without.hand.vertices, expected, atol=1e-6, rtol=1e-5)


def test_a_network_without_branch_has_none_to_lose() -> None:
    content = checkpoint_of(estimating_module())
    content["s2hand"]["config"]["model"]["network"]["keypoint_net"] = "none"
    with pytest.raises(ValueError, match=r"x\.ckpt has no 2D branch"):
        without_branch(content, "x.ckpt", {})


def test_a_branch_that_is_missing_is_not_trained_either(smoke_run: Path, tmp_path: Path) -> None:
    told = ["rows=[finetune_no_2d_branch]", "ablation.finetune_no_2d_branch.finetune.steps=2"]
    assert call(last(smoke_run), tmp_path, *told, "optim.schedule.warmup_steps=1") == 0
    row = tmp_path / "ablate" / "finetune_no_2d_branch"
    found = load(last(row))
    assert found.reconstructor.network.keypoints is None
    assert not found.objective.needs_estimate
    assert json.loads((row / "train.json").read_text())["config"]["init_from"].endswith(
        "start.ckpt"
    )


def test_worse_detections_are_those_of_the_training_too(smoke_run: Path, tmp_path: Path) -> None:
    told = ["rows=[finetune_noise_4px]", "ablation.finetune_noise_4px.finetune.steps=1"]
    assert call(last(smoke_run), tmp_path, *told, "optim.schedule.warmup_steps=1") == 0
    saved = read_checkpoint(last(tmp_path / "ablate" / "finetune_noise_4px"))
    for split in ("train", "test"):
        made = saved["s2hand"]["config"]["data"][split]
        assert made["_target_"].endswith("CorruptedDetections")
        assert (made["noise_px"], made["dataset"]["_target_"].rpartition(".")[2]) == (
            4,
            "SyntheticHands",
        )


def test_other_data_and_an_experiments(smoke_run: Path, study: Path, tmp_path: Path) -> None:
    narrow = 'ablation.other_data.data=["+data.test.view=narrow"]'
    assert call(last(smoke_run), tmp_path, "rows=[full,other_data]", narrow) == 0
    full, other = (metrics(tmp_path / "ablate" / row) for row in ("full", "other_data"))
    assert full == metrics(study / "full")
    assert other["pa_mpjpe_mm"] != full["pa_mpjpe_mm"]
    told = ["experiment=demo", "data.test.size=8", "+data.test.image_px=64", "study=of_demo"]
    assert call(last(smoke_run), tmp_path, "rows=[full]", *told) == 0
    said = json.loads((tmp_path / "of_demo" / "ablation.json").read_text())
    assert said["data"]["test"]["view"] == "narrow", "as conf/experiment/demo.yaml has it"
    assert "pose_prior" in said["loss"]
    assert json.loads((tmp_path / "of_demo" / "full" / "metrics.json").read_text())["frames"] == 8


def test_an_interrupted_study_goes_on(
    smoke_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def interrupted(trainer: Any, module: Any, data: Any) -> dict[str, dict[str, float]]:
        measured.append(module)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return {"model": {"error_2d_px": float(len(measured))}}

    monkeypatch.setattr(running, "measure", interrupted)
    assert call(last(smoke_run), tmp_path, "rows=[full,noise_4px]") == 130
    assert not (tmp_path / "ablate" / "noise_4px" / "failed.json").exists()
    assert call(last(smoke_run), tmp_path, "rows=[full,noise_4px]") == 0
    found = {row: metrics(tmp_path / "ablate" / row) for row in ("full", "noise_4px")}
    assert found == {"full": {"error_2d_px": 1.0}, "noise_4px": {"error_2d_px": 3.0}}
    assert call(last(smoke_run), tmp_path, "rows=[full]", "resume=never") == 0
    assert metrics(tmp_path / "ablate" / "full") == {"error_2d_px": 4.0}


def test_a_row_that_another_process_has_finished_is_left(
    smoke_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def run_row(study: Any, name: str) -> None:
        done.append(name)
        for row in ("full", "noise_4px"):  # the other process is faster
            report = {"metrics": {"model": {"error_2d_px": 1.0}}}
            (study.begin(row) / "metrics.json").write_text(json.dumps(report))

    monkeypatch.setattr(running, "run_row", run_row)
    assert call(last(smoke_run), tmp_path, "rows=[full,noise_4px]") == 0
    assert done == ["full"]


def test_seeds_are_averaged_by_the_sweep_report(smoke_run: Path, tmp_path: Path) -> None:
    told = ["rows=[full,noise_4px]", "seed=0,1", "hydra.sweep.subdir=s${seed}"]
    told += [f"checkpoint={last(smoke_run)}", f"paths.runs={tmp_path}", *QUIET]
    assert run_command(main, "-m", *told) == 0
    by_row = {dict(row.label)["row"]: row.values for row in compare(tmp_path / "ablate").rows}
    assert {name: len(values) for name, values in by_row.items()} == {"full": 2, "noise_4px": 2}
    one, two = (values["error_2d_px"] for values in by_row["noise_4px"])
    assert one != two, "another seed, other noise"


TERMS = {
    "shape": {"weight": 0.01, "fn": {"_target_": "s2hand.loss.shape.ShapePrior"}},
    "estimator_2d": {"weight": 0.1, "fn": {"_target_": "s2hand.loss.keypoints.Estimator2D"}},
}


def test_losses_are_left_out_weighted_and_added() -> None:
    told = {"estimator_2d": None, "shape": 3.0, "scale": 0.5}
    found = changed_losses(TERMS, Change(finetune=Finetune(loss=told)), 0.04)
    assert {name: term["weight"] for name, term in found.items()} == {"shape": 3.0, "scale": 0.5}
    assert found["scale"]["fn"]["target_m"] == 0.04
    assert TERMS["shape"]["weight"] == 0.01
    assert list(changed_losses(TERMS, Change(branch_2d=False), 0.04)) == ["shape"]
    with pytest.raises(ValueError, match=r"ssim=null: .* losses are shape, estimator_2d"):
        changed_losses(TERMS, Change(finetune=Finetune(loss={"ssim": None})), 0.04)
    with pytest.raises(ValueError, match="no loss named 'nope'; there are"):
        changed_losses(TERMS, Change(finetune=Finetune(loss={"nope": 1.0})), 0.04)


@pytest.mark.parametrize(
    ("rows", "known", "said"),
    [
        (["nope"], {"full": {}}, "no row named 'nope'; there are full"),
        (["full", "full"], {"full": {}}, "'full' is named twice"),
        (["../x"], {"../x": {}}, "not a folder name"),
        ([], {"full": {}}, "rows is empty"),
        (
            ["a"],
            {"a": {"noise": 3}},
            "ablation.a.noise: no such setting; there are branch_2d, hand",
        ),
        (
            ["a"],
            {"a": {"finetune": {"step": 3}}},
            "ablation.a.finetune.step: no such setting; there are steps, loss",
        ),
        (["a"], {"a": {"drop": "x"}}, "ablation.a: Value 'x' of type 'str'"),
        (["a"], {"a": {"refine_steps": -1}}, "refine_steps=-1: 0 or more"),
        (["a"], {"a": {"finetune": {"steps": 0}}}, "finetune.steps=0: 1 or more"),
        (["a"], {"a": {"hand": "x", "finetune": {}}}, "a fine-tune keeps the checkpoint's hand"),
    ],
)
def test_rows_that_are_none_are_refused(rows: list[str], known: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r"rows|ablation") as error:
        read_changes(rows, known)
    assert said in str(error.value)


def test_every_row_of_the_configuration_is_one() -> None:
    cfg = compose_config("ablate", "checkpoint=x")
    changes = read_changes(list(cfg.ablation), cfg.ablation)
    assert changes["full"] == Change()
    assert set(cfg.rows) <= set(changes)
    assert {name for name, change in changes.items() if change == Change()} == {
        "full", "other_hand", "other_data",
    }  # fmt: skip
    assert (
        changes["finetune_no_pixels"].words()
        == "200 more steps; no photometric; no mean_colour; no ssim"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["checkpoint=none.ckpt"], "no checkpoint none.ckpt"),
        (["checkpoint={real}", "hand.model=x.npz"], "calls it ablation.other_hand.hand"),
        (["checkpoint={real}", "model=s2hand"], "it comes with the checkpoint"),
        (["checkpoint={real}", "trainer=ddp_cpu"], "an ablation uses one"),
        (["checkpoint={real}", "rows=[full]", "metrics=[nope]"], "no row has nope; there are"),
    ],
)
def test_errors_are_one_message(
    arguments: list[str], said: str, smoke_run: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    filled = [argument.format(real=last(smoke_run)) for argument in arguments]
    assert run_command(main, f"paths.runs={tmp_path}", *filled) == 1
    message = capsys.readouterr().err
    assert message.count("error:") == 1
    assert said in message
