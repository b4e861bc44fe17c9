"""``s2hand-train``: runs, and how they are interrupted, resumed, swept and refused."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from fixtures.runs import (
    Interrupt,
    compose_config,
    constant_rate,
    fit,
    last_checkpoint,
    run_command,
)
from s2hand.cli.train import main
from s2hand.training.build import initialise, make_module
from s2hand.training.checkpoints.reading import (
    DamagedCheckpointError,
    HandModelMismatchError,
    read_checkpoint,
)
from s2hand.training.run import finished_before, resume_path

STEPS = 6
"""Of the runs to interrupt: an epoch and a half, with a validation after every third step."""


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Lightning switches Ctrl-C off when it is pressed; the tests want it back."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def weights(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = read_checkpoint(path)["state_dict"]
    return state


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert found.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert different == []


def test_a_run_leaves_what_it_promises(smoke_run: Path) -> None:
    files = {path.relative_to(smoke_run).as_posix() for path in smoke_run.rglob("*.*")}
    assert files >= {
        "checkpoints/last.ckpt", "panels/latest.png", "panels/step_0000004.png", "metrics.csv",
        "train.json", ".hydra/config.yaml",
    }  # fmt: skip
    report = json.loads((smoke_run / "train.json").read_text())
    assert report["steps"] == 4
    assert {"val/pa_mpjpe_mm", "val/error_2d_px", "train/loss"} <= set(report["metrics"])
    assert all(math.isfinite(value) for value in report["metrics"].values())
    header, *rows = (smoke_run / "metrics.csv").read_text().splitlines()
    assert {f"train/{name}" for name in compose_config("train").loss} <= set(header.split(","))
    assert len(rows) == 5  # four steps and a validation
    saved = read_checkpoint(smoke_run / "checkpoints" / "last.ckpt")["s2hand"]
    assert set(saved["config"]) == {"model", "loss", "optim", "data"}
    assert saved["metrics"]["val/pa_mpjpe_mm"] == report["metrics"]["val/pa_mpjpe_mm"]


class Reference:
    """A run that was never interrupted: its checkpoint after every step, and its weights."""

    def __init__(self, base: DictConfig, folder: Path, augment: bool = False) -> None:
        self.cfg = base.copy()
        self.cfg.paths.runs = str(folder / "runs")
        self.cfg.trainer.update(max_steps=STEPS, val_check_interval=3)
        if augment:
            value = {"_target_": "s2hand.data.augment.Augment", "colour": 0.2, "centre_px": 5}
            OmegaConf.update(self.cfg, "augment", value, force_add=True)
        self.saved: dict[int, Path] = {}
        module, _ = fit(self.cfg, [self._keep(folder)])
        self.weights = {name: value.clone() for name, value in module.state_dict().items()}

    def _keep(self, folder: Path) -> pl.Callback:
        class Keep(pl.Callback):
            """As the configured callback saves, when the step is done."""

            def on_train_batch_end(_, trainer: pl.Trainer, *rest: Any) -> None:  # noqa: N805
                path = folder / f"{trainer.global_step}.ckpt"
                trainer.save_checkpoint(path, weights_only=False)
                self.saved[trainer.global_step] = path

        return Keep()

    def again(self, folder: Path) -> DictConfig:
        """Its configuration in another folder."""
        cfg = self.cfg.copy()
        cfg.paths.runs = str(folder / "runs")
        return cfg


@pytest.fixture(scope="module")
def plain(smoke_base: DictConfig, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference(smoke_base, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def augmented(smoke_base: DictConfig, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference(smoke_base, tmp_path_factory.mktemp("augmented"), augment=True)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize(
    ("name", "step"),
    [*(("plain", s) for s in range(1, STEPS + 1)), ("augmented", 1), ("augmented", 4)],
)
def test_a_run_killed_after_any_step_ends_as_if_it_had_not_been(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, step: int
) -> None:
    reference: Reference = request.getfixturevalue(name)
    cfg = reference.again(tmp_path)
    last_checkpoint(cfg).parent.mkdir(parents=True)
    shutil.copy(reference.saved[step], last_checkpoint(cfg))
    module, trainer = fit(cfg)
    assert trainer.global_step == STEPS
    assert_equal(module.state_dict(), reference.weights)


@pytest.mark.parametrize(
    ("hook", "nth"),
    [
        ("on_train_batch_start", 4),
        ("on_train_batch_end", 3),  # the last of an epoch
        ("on_validation_end", 0),
        ("on_train_epoch_end", 0),
        ("on_train_end", 0),
    ],
)
def test_ctrl_c_anywhere_between_steps_can_be_resumed_exactly(
    plain: Reference, tmp_path: Path, hook: str, nth: int
) -> None:
    cfg = plain.again(tmp_path)
    with pytest.raises(SystemExit) as end:
        fit(cfg, [Interrupt(hook, nth)])
    assert end.value.code == 1
    assert 0 < read_checkpoint(last_checkpoint(cfg))["global_step"] <= STEPS
    module, _ = fit(cfg)
    assert_equal(module.state_dict(), plain.weights)


def test_ctrl_c_within_a_step_and_twice_keeps_the_weights(plain: Reference, tmp_path: Path) -> None:
    cfg = plain.again(tmp_path)
    for _ in range(2):
        with pytest.raises(SystemExit):
            fit(cfg, [Interrupt("on_before_optimizer_step", 2)])
    module, _ = fit(cfg)
    # Only batch norm's running statistics have seen the interrupted batches twice.
    learned = dict(module.named_parameters())
    assert_equal(learned, {name: plain.weights[name] for name in learned})


def test_a_longer_run_goes_on_with_the_samples_it_had_not_seen(smoke: DictConfig) -> None:
    smoke.optim.schedule = constant_rate()

    def train(steps: int, name: str) -> dict[str, Tensor]:
        smoke.update(name=name)
        smoke.trainer.max_steps = steps
        return dict(fit(smoke)[0].state_dict())

    expected = train(7, "whole")
    train(3, "parts")
    train(5, "parts")
    assert_equal(train(7, "parts"), expected)


def test_a_finished_run_is_left_as_it_is(smoke: DictConfig) -> None:
    smoke.trainer.max_steps = 2
    fit(smoke)
    before = weights(last_checkpoint(smoke))
    _, trainer = fit(smoke)
    assert trainer.global_step == 2
    assert_equal(weights(last_checkpoint(smoke)), before)


def test_which_checkpoint_a_run_goes_on_from(
    smoke: DictConfig, smoke_run: Path, tmp_path: Path
) -> None:
    assert resume_path(smoke) is None
    last_checkpoint(smoke).parent.mkdir(parents=True)
    shutil.copy(smoke_run / "checkpoints" / "last.ckpt", last_checkpoint(smoke))
    assert resume_path(smoke) == last_checkpoint(smoke)
    smoke.resume = "never"
    assert resume_path(smoke) is None
    smoke.resume = str(tmp_path / "other.ckpt")
    with pytest.raises(FileNotFoundError, match=r"resume=.*other\.ckpt"):
        resume_path(smoke)
    (tmp_path / "other.ckpt").touch()
    assert resume_path(smoke) == tmp_path / "other.ckpt"


@pytest.mark.parametrize(
    ("hook", "nth", "lost"),
    [
        ("on_train_batch_end", 4, "1,4,"),  # stopped before the step was logged
        ("on_train_batch_start", 3, None),
        ("on_train_batch_start", 4, None),  # right after the validation
        ("on_before_optimizer_step", 5, None),
    ],
)
def test_the_log_and_the_metrics_of_a_run_go_on(
    tmp_path: Path, hook: str, nth: int, lost: str | None
) -> None:
    """Stopped before or after the one validation; the last steps have none."""
    common = [
        "experiment=smoke", "trainer.max_steps=6", "trainer.val_check_interval=4",
        "callbacks.panels=null", "loss=[joint_location]",
    ]  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_command(main, *common, f"paths.run={whole}") == 0
    stop = f"+callbacks.stop={{_target_: fixtures.runs.Interrupt, hook: {hook}, nth: {nth}, "
    assert run_command(main, *common, f"paths.run={parts}", stop + "how: RuntimeError}") == 1
    assert run_command(main, *common, f"paths.run={parts}") == 0
    lines, found = ((run / "metrics.csv").read_text().splitlines() for run in (whole, parts))
    assert len(lines) == 8, "a header, six steps and a validation"
    assert found == [line for line in lines if lost is None or not line.startswith(lost)]
    reports = [json.loads((run / "train.json").read_text()) for run in (whole, parts)]
    assert reports[0]["metrics"] == reports[1]["metrics"]
    assert "val/pa_mpjpe_mm" in reports[1]["metrics"]


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_whose_last_checkpoint_is_damaged_goes_on_from_the_previous(
    plain: Reference, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = plain.again(tmp_path)
    last = last_checkpoint(cfg)
    last.parent.mkdir(parents=True)
    last.write_bytes(plain.saved[5].read_bytes()[:-1000])
    with pytest.raises(DamagedCheckpointError, match=rf"^{last}: damaged.*resume=never"):
        fit(cfg)
    shutil.copy(plain.saved[3], last.with_name("previous.ckpt"))
    module, trainer = fit(cfg)
    assert f"{last} is damaged, renamed to last.ckpt.damaged" in caplog.text
    assert trainer.global_step == STEPS
    assert_equal(module.state_dict(), plain.weights)
    files = {path.name: path for path in last.parent.iterdir()}
    assert set(files) == {"last.ckpt", "previous.ckpt", "last.ckpt.damaged"}
    assert read_checkpoint(files["previous.ckpt"])["global_step"] == 3


def test_resuming_with_another_hand_is_refused(smoke: DictConfig, smoke_run: Path) -> None:
    checkpoint = read_checkpoint(smoke_run / "checkpoints" / "last.ckpt")
    checkpoint["s2hand"]["hand"] = {"name": "MANO_RIGHT", "fingerprint": "feed"}
    last_checkpoint(smoke).parent.mkdir(parents=True)
    torch.save(checkpoint, last_checkpoint(smoke))
    with pytest.raises(HandModelMismatchError, match=r"'MANO_RIGHT'.*'open'"):
        fit(smoke)


def test_weights_can_start_from_another_run(
    smoke: DictConfig, smoke_run: Path, tmp_path: Path
) -> None:
    path = smoke_run / "checkpoints" / "last.ckpt"
    module = make_module(smoke)
    initialise(module, str(path))
    assert_equal(dict(module.state_dict()), weights(path))
    checkpoint = read_checkpoint(path)
    checkpoint["s2hand"]["hand"]["fingerprint"] = "feed"
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(HandModelMismatchError):
        initialise(module, str(tmp_path / "other.ckpt"))


def test_a_killed_process_leaves_a_checkpoint_to_go_on_from(
    tmp_path: Path, smoke_run: Path
) -> None:
    arguments = ["experiment=smoke", f"paths.runs={tmp_path}"]
    arguments.append("callbacks.checkpoint.every_n_train_steps=1")
    kill = "+callbacks.kill={_target_: fixtures.runs.Interrupt, hook: on_train_batch_start, "
    command = [sys.executable, "-m", "s2hand.cli.train", *arguments]
    done = subprocess.run(
        [*command, kill + "nth: 2, how: SIGKILL}"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    path = tmp_path / "smoke" / "run" / "checkpoints" / "last.ckpt"
    assert read_checkpoint(path)["global_step"] == 2
    assert run_command(main, *arguments) == 0
    assert_equal(weights(path), weights(smoke_run / "checkpoints" / "last.ckpt"))


def test_a_finished_run_is_done_and_one_of_another_configuration_refused(
    smoke: DictConfig, smoke_run: Path
) -> None:
    cfg = compose_config("train", "experiment=smoke")
    cfg.paths.run = str(smoke_run)
    report = json.loads((smoke_run / "train.json").read_text())
    assert finished_before(cfg) == report["metrics"]
    cfg.trainer.max_steps += 1
    assert finished_before(cfg) is None, "more steps are something to do"
    cfg.loss.shape.weight = 0.5
    with pytest.raises(ValueError, match=r"loss\.shape\.weight was 0\.01, is now 0\.5"):
        finished_before(cfg)
    cfg.resume = "never"
    assert finished_before(cfg) is None
    cfg.update(resume="auto", study="elsewhere", name="else")
    cfg.merge_with(compose_config("train", "experiment=smoke", "logger=none"))
    cfg.paths.run = str(smoke_run)
    assert finished_before(cfg) is not None, "names, places and logs do not make another run"


def test_a_finished_run_keeps_its_report(
    smoke_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "smoke" / "run"
    shutil.copytree(smoke_run, run)
    caplog.set_level("INFO")
    before = (run / "train.json").read_text()
    assert run_command(main, "experiment=smoke", f"paths.runs={tmp_path}") == 0
    assert (run / "train.json").read_text() == before
    assert "finished already" in caplog.text


def test_a_sweep_gives_every_job_its_own_folder(tmp_path: Path) -> None:
    arguments = ["experiment=smoke", f"paths.runs={tmp_path}", "trainer.max_steps=2"]
    quick = ["callbacks.panels=null", "loss=[joint_location]"]
    assert run_command(main, "-m", *arguments, *quick, "seed=0,1") == 0
    folders = sorted(path for path in (tmp_path / "smoke").iterdir() if path.is_dir())
    assert len(folders) == 2
    for seed, folder in enumerate(folders):
        assert f"seed={seed}" in folder.name
        assert "trainer.max_steps=2" in folder.name
        assert str(tmp_path) not in folder.name
    first, second = (weights(folder / "checkpoints" / "last.ckpt") for folder in folders)
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_a_sweep_of_jobs_of_several_processes_is_refused(tmp_path: Path) -> None:
    arguments = ["experiment=smoke", f"paths.runs={tmp_path}", "logger=none", "trainer=ddp_cpu"]
    assert run_command(main, "-m", *arguments, "seed=0,1") == 1
    reasons = [json.loads(path.read_text()) for path in tmp_path.rglob("failed.json")]
    assert len(reasons) == 2
    for reason in reasons:
        assert "-m with 2 processes per job" in str(reason)
        assert "trainer=gpu or trainer=cpu" in str(reason)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_sweep_minimises_a_metric_and_never_the_loss(smoke_run: Path) -> None:
    cfg = compose_config("train")
    assert cfg.sweep_metric == "val/pa_mpjpe_mm"
    assert cfg.sweep_metric in json.loads((smoke_run / "train.json").read_text())["metrics"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["loss=[]"], "the `loss` list is empty: name at least one, e.g. loss=[joint_location]"),
        (["loss=[shape,nope]"], "no loss named 'nope'; there are bone_orientation, "),
        (["resume=none.ckpt"], "resume=none.ckpt: no such checkpoint"),
        (["init_from=none.ckpt"], "no checkpoint none.ckpt"),
        (["allow_missing=[a.b]"], "allow_missing=['a.b'] applies to init_from"),
        (["hand=mano", "hand.model=none.pkl"], "no hand model at none.pkl"),
        (["+model.network.foo=1"], "unexpected keyword argument 'foo'"),
        (["loss.shape.weight=0"], "weight=0 of ShapePrior"),
        (["window=clip3"], "a window of 3 frames"),
        (
            ["data=frames"],
            "these data take no data.train.size, data.train.renderer, data.test.size",
        ),
        (["data.batch_size=???"], "data.batch_size is missing: give it on the command line"),
    ],
)
def test_errors_are_one_message(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, "experiment=smoke", f"paths.runs={tmp_path}", *arguments) == 1
    message = capsys.readouterr().err
    assert message.count("error:") == 1
    assert said in message
    assert "Traceback" not in message


def test_wandb_stays_offline_without_a_key_and_closes_with_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.netrc
    monkeypatch.setenv("WANDB_SILENT", "true")
    finish, codes = wandb.finish, []

    def record(exit_code: int | None = None, **options: Any) -> None:
        codes.append(exit_code)
        finish(exit_code=exit_code, **options)

    monkeypatch.setattr(wandb, "finish", record)
    arguments = [
        "experiment=smoke", "logger=wandb", "callbacks.panels=null", "loss=[joint_location]",
        "trainer.max_steps=1", f"paths.runs={tmp_path}",
    ]  # fmt: skip
    crash = "+callbacks.crash={_target_: fixtures.runs.Interrupt, hook: on_train_end, nth: 0, "
    assert run_command(main, *arguments) == 0
    assert run_command(main, *arguments, "name=broken", crash + "how: RuntimeError}") == 1
    assert codes == [0, 1]
    assert wandb.run is None
    runs = sorted(tmp_path.glob("smoke/*/wandb/offline-run-*"))
    assert [run.parents[1].name for run in runs] == ["broken", "run"]
    assert len({run.name.rpartition("-")[2] for run in runs}) == 2, "a fresh id per run"
