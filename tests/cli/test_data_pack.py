"""``s2hand-data pack``: what it writes, refuses, and that a run cannot tell it from the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from fixtures.freihand import FreiHandTree
from fixtures.ho3d import Ho3dTree
from fixtures.runs import Interrupt, compose_config, fit, run_command
from s2hand.cli.data import main
from s2hand.cli.data_pack import packed_before
from s2hand.cli.train import main as train
from s2hand.data.recorded.freihand import FreiHandDataset
from s2hand.data.recorded.ho3d import Ho3dDataset
from s2hand.data.shards.packed import PackedDataset
from s2hand.data.shards.packing import pack
from s2hand.files import progress
from s2hand.training.checkpoints.reading import read_checkpoint
from s2hand.types import Labels

SMOKE = ["experiment=smoke"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three sets of the smoke experiment; read only."""
    folder = tmp_path_factory.mktemp("packed") / "shards"
    assert main(["pack", str(folder), *SMOKE]) == 0
    return folder


def packed_config(smoke: DictConfig, shards: Path) -> DictConfig:
    """The smoke run, told to read shards."""
    cfg = smoke.copy()
    paths = [f"dataset.{split}={shards / split}" for split in ("train", "val", "test")]
    packed = compose_config("train", "data=packed", *paths, "data.num_workers=0")
    packed.data.batch_size = cfg.data.batch_size
    OmegaConf.set_struct(cfg, False)
    cfg.update(dataset=packed.dataset, data=packed.data, name="packed")
    return cfg


def test_a_run_learns_from_shards_what_it_learns_from_files(
    smoke: DictConfig, shards: Path
) -> None:
    ours, theirs = fit(packed_config(smoke, shards)), fit(smoke)
    for name, value in theirs[0].state_dict().items():
        assert torch.equal(ours[0].state_dict()[name], value), name
    losses = [trainer.callback_metrics["train/loss"] for _, trainer in (ours, theirs)]
    assert losses[0] == losses[1]


def test_values_of_an_experiment_that_a_packed_set_does_not_take_are_told_with_the_remedy(
    smoke: DictConfig, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [f"dataset.{split}={shards / split}" for split in ("train", "val", "test")]
    command = [*SMOKE, "data=packed", *paths, f"paths.run={smoke.paths.run}_packed", "logger=none"]
    assert run_command(train, *command) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "these data take no data.train.size, data.train.image_px, data.train.renderer, " in said
    remedy = said.partition("append ")[2].split()
    assert len(remedy) == 9
    assert run_command(train, *command, *remedy, "data.num_workers=0") == 0


def test_an_argument_that_a_dataset_does_not_have_is_told_with_those_it_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(train, *SMOKE, "+data.val.colour=1") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "take no data.val.colour" in said
    assert "SyntheticHands takes hand, renderer" in said
    assert "append ~data.val.colour" in said


def test_video_is_trained_from_shards_as_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/datasets/packed.md has it: batches are those of the experiment by a word more."""
    monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))
    video = ["experiment=video"]
    small = ["sequences=1", "frames_per_sequence=9", "image_px=64", "renderer.resolution=64"]
    sets = [f"data.{split}.{text}" for split in ("train", "val", "test") for text in small]
    assert main(["pack", str(tmp_path), *video, *sets, "--split", "train", "val"]) == 0
    network = "model.network.encoder"
    rest = [
        f"{network}.name=mobilenetv3_small_050", f"{network}.weights=none",
        f"{network}.input_px=64", "render.resolution=32", "trainer.max_steps=1", "logger=none",
        "trainer.val_check_interval=1", "trainer.check_val_every_n_epoch=null",
        "callbacks.panels=null",
    ]  # fmt: skip
    packed = [f"dataset.{split}={tmp_path / split}" for split in ("train", "val")]
    packed += ["data=packed", "data.batch_size=8", "data.num_workers=0"]
    states = []
    for name, data in (("files", sets), ("shards", packed)):
        run = tmp_path / name
        assert run_command(train, *video, *data, *rest, f"paths.run={run}") == 0
        states.append(read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_run_from_shards_goes_on_where_it_was_stopped(smoke: DictConfig, shards: Path) -> None:
    cfg = packed_config(smoke, shards)
    whole, _ = fit(cfg)
    cfg.name = "stopped"
    with pytest.raises(SystemExit):
        fit(cfg, [Interrupt("on_train_batch_end", 1)])
    resumed, _ = fit(cfg)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_it_says_what_it_wrote_and_writes_nothing_twice(
    freihand: FreiHandTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shards"
    source = ["data=freihand", f"dataset.root={freihand.root}"]
    source += ["dataset.val_count=2"]
    source += [f"dataset.detections={freihand.training_detections}"]
    command = ["pack", str(out), *source, "+data.train.labels=true", "--split", "train", "val"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"{out}/train: 5 frames, 1 shards" in said
    assert f"{out}/val: 2 frames" in said
    assert "with labels" in said
    assert sorted(path.name for path in out.iterdir()) == ["train", "val"]
    assert PackedDataset(out / "train")[0].labels is not None
    before = (out / "train" / "index.json").stat().st_mtime_ns
    assert main(command) == 0
    assert f"{out}/train: packed before" in capsys.readouterr().out
    assert (out / "train" / "index.json").stat().st_mtime_ns == before
    for other in (["data.train.image_px=64"], ["--png"], ["data.train.labels=false"]):
        assert main([*command[:-3], *other, *command[-3:]]) == 1
        message = capsys.readouterr().err
        assert f"{out}/train holds another set (FreiHandDataset, 5 frames" in message
        assert "choose another folder" in message


@pytest.mark.parametrize("changed", ["protocol", "one label", "NaN"])
def test_a_set_whose_facts_or_labels_changed_is_not_the_same(
    changed: str, freihand: FreiHandTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_file = FreiHandDataset.labels_of

    def dataset() -> FreiHandDataset:
        detections = freihand.training_detections
        return FreiHandDataset(freihand.root, detections, val_count=2, labels=True)

    def one_is(value: float | None) -> None:
        """Of the last but one frame, one coordinate; None: as it was."""

        def labels_of(self: FreiHandDataset, index: int) -> Labels | None:
            labels = of_file(self, index)
            if value is not None and labels is not None and index == len(self) - 2:
                labels.vertices[0, 5, 1] = value
            return labels

        monkeypatch.setattr(FreiHandDataset, "labels_of", labels_of)

    one_is(0.0 if changed == "NaN" else None)
    pack(dataset(), tmp_path / "set")
    assert packed_before(dataset(), tmp_path / "set", raw=True)
    if changed == "protocol":
        monkeypatch.setattr(FreiHandDataset, "protocol", "ho3d")
    else:
        one_is(float("nan") if changed == "NaN" else 1.0)
    with pytest.raises(ValueError, match="holds another set"):
        packed_before(dataset(), tmp_path / "set", raw=True)


def test_labels_that_are_not_there_are_no_change(tmp_path: Path, ho3d: Ho3dTree) -> None:
    def dataset() -> Ho3dDataset:
        frames = Ho3dDataset(ho3d.root, ho3d.detections, labels=True)
        absent = frames.labels_of(0)
        assert absent is not None
        assert absent.vertices.isnan().all()
        return frames

    pack(dataset(), tmp_path / "set")
    assert packed_before(dataset(), tmp_path / "set", raw=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data=freihand", "dataset.root=x"], "dataset.detections is missing"),
        (["data=freihnd"], "data=freihnd: no such choice (nearest: freihand)"),
        (["experiment=smoke", "data.train.colour=1"], "colour"),
        (["experiment=own_video", "dataset.source=a", "dataset.detections=b", "--split", "val"],
         "no val set"),
        (["data=freihand", "dataset.root=none", "dataset.detections=d.json"], "none/training_K"),
    ],
)  # fmt: skip
def test_mistakes_are_one_message_and_leave_nothing(
    tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", str(tmp_path / "out"), *arguments]) == 1
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train").mkdir()
    assert main(["pack", str(tmp_path), *SMOKE, "--split", "train"]) == 1
    assert "train exists and does not hold a packed set" in capsys.readouterr().err


def test_check_finds_every_damaged_frame(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["check", "packed", str(shards / "val"), "--contact-sheet", str(sheet)]) == 0
    assert sheet.is_file()
    (copy := tmp_path / "copy").mkdir()
    for file in (shards / "val").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    offsets = json.loads((copy / "index.json").read_text())["offsets"]
    data = bytearray((copy / "frames-000000.tar").read_bytes())
    for frame in (3, 9):
        data[offsets[frame] + 100] ^= 1
    (copy / "frames-000000.tar").write_bytes(data)
    capsys.readouterr()
    assert main(["check", "packed", str(copy)]) == 1
    said = capsys.readouterr().out
    for name in ("val/000003", "val/000009"):
        assert f"frames-000000.tar: frame '{name}' is damaged (its checksum differs)" in said
    assert said.count("is damaged") == 2


def test_packing_and_checking_say_in_a_log_how_far_they_are(
    shards: Path, freihand: FreiHandTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    assert main(["check", "packed", str(shards / "val")]) == 0
    assert "reading: frame 15 of 16, about" in capsys.readouterr().err
    detections = ["--detections", str(freihand.training_detections)]
    assert main(["check", "freihand", str(freihand.root), *detections]) == 0
    assert "reading images: image 6 of 7, about" in capsys.readouterr().err
    pack(PackedDataset(shards / "val"), tmp_path / "again")
    assert "packing: frame 15 of 16, about" in capsys.readouterr().err
