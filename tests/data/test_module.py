"""The datamodule: the samples of its batches, and their order."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from fixtures.frames import PlainFrames
from s2hand.data import module
from s2hand.data.module import HandDataModule
from s2hand.data.synthetic.images import SyntheticHands
from s2hand.hand.mano import ManoHead
from s2hand.render.scene import HandRenderer
from s2hand.types import HandBatch
from s2hand.window import Window


def indices(loader) -> list[list[int]]:
    return [batch.index[:, 0].tolist() for batch in loader]


def test_training_is_shuffled_and_leaves_out_an_incomplete_batch() -> None:
    data = HandDataModule(train=PlainFrames, batch_size=4)
    seen = indices(data.train_dataloader())
    assert [len(batch) for batch in seen] == [4, 4]
    flat = [index for batch in seen for index in batch]
    assert len(set(flat)) == 8
    assert flat != sorted(flat)
    assert indices(HandDataModule(train=PlainFrames, batch_size=4).train_dataloader()) == seen
    other = HandDataModule(train=PlainFrames, batch_size=4, seed=1)
    assert indices(other.train_dataloader()) != seen


def test_evaluation_is_in_order_and_complete() -> None:
    data = HandDataModule(val=lambda: PlainFrames(5), test=lambda: PlainFrames(3), batch_size=2)
    assert indices(data.val_dataloader()) == [[0, 1], [2, 3], [4]]
    assert indices(data.test_dataloader()) == [[0, 1], [2]]


def test_datasets_are_made_and_prepared_once_and_only_on_demand() -> None:
    made: list[PlainFrames] = []

    def make() -> PlainFrames:
        made.append(PlainFrames())
        return made[-1]

    data = HandDataModule(train=make)
    assert made == []
    assert data.val_dataloader() == []
    data.train_dataloader()
    data.train_dataloader()
    assert [frames.prepared for frames in made] == [1]
    with pytest.raises(ValueError, match=r"no test set: set data\.test"):
        data.test_dataloader()


def test_fewer_samples_than_a_batch_are_used_with_a_warning(caplog) -> None:
    data = HandDataModule(train=lambda: PlainFrames(3), batch_size=4)
    with caplog.at_level(logging.WARNING):
        seen = indices(data.train_dataloader())
    assert sorted(seen[0]) == [0, 1, 2]
    assert "3 samples are fewer than one batch of 4" in caplog.text


def test_a_window_makes_clips_of_frames_in_order() -> None:
    data = HandDataModule(train=PlainFrames, window=Window(3, 2), batch_size=2)
    batch: HandBatch = next(iter(data.train_dataloader()))
    assert batch.image.shape == (2, 3, 3, 16, 16)
    assert (batch.index.diff(dim=1) == 2).all()


def test_evaluation_goes_frame_by_frame_whatever_the_window() -> None:
    data = HandDataModule(test=lambda: PlainFrames(7), window=Window(3), batch_size=2)
    assert indices(data.test_dataloader()) == [[0, 1, 2, 3, 4, 5], [6]]
    assert {batch.image.shape[1] for batch in data.test_dataloader()} == {1}


class TwoRecordings(PlainFrames):
    """A long recording and a short one."""

    @property
    def names(self) -> Sequence[str]:
        return [f"{'long' if i < 30 else 'short'}/{i}" for i in range(self.count)]

    def segments(self) -> list[Sequence[int]]:
        return [range(30), range(30, self.count)]


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_are_drawn_evenly_over_recordings_on_any_worker_count(workers: int) -> None:
    data = HandDataModule(
        train=lambda: TwoRecordings(36), window=Window(3), batch_size=4, num_workers=workers
    )
    seen = indices(data.train_dataloader())
    alone = HandDataModule(train=lambda: TwoRecordings(36), window=Window(3), batch_size=4)
    assert seen == indices(alone.train_dataloader())
    short = sum(index >= 30 for batch in seen for index in batch)
    assert short == pytest.approx(16, abs=1)


def test_features_are_served_beside_the_pixels_of_every_split() -> None:
    data = HandDataModule(train=PlainFrames, val=PlainFrames, window=Window(2), batch_size=2)
    data.use_features(lambda image: (image[:, :, ::4, ::4] * 2,), "doubled")
    for loader in (data.train_dataloader(), data.val_dataloader()):
        batch: HandBatch = next(iter(loader))
        assert batch.features is not None
        expected = 2 * batch.image[..., ::4, ::4]
        torch.testing.assert_close(batch.features[0].float(), expected, atol=1e-3, rtol=0)


def test_workers_load_the_same_batches(caches) -> None:
    def first(workers: int) -> HandBatch:
        data = HandDataModule(train=PlainFrames, batch_size=4, num_workers=workers)
        data.use_features(lambda image: (image[:, :1],), "first channel")
        return next(iter(data.train_dataloader()))

    torch.testing.assert_close(first(1).features, first(0).features)
    assert first(1).index.tolist() == first(0).index.tolist()


def test_a_restored_run_resumes_after_the_last_batch() -> None:
    whole = HandDataModule(train=PlainFrames, batch_size=3)
    assert whole.state_dict() == {"seen": 0}
    expected = indices(whole.train_dataloader())
    resumed = HandDataModule(train=PlainFrames, batch_size=3)
    resumed.load_state_dict({"seen": 2})
    assert indices(resumed.train_dataloader()) == expected[2:]
    assert resumed.state_dict() == {"seen": 2}


def test_without_a_number_there_are_as_many_workers_as_cores_and_no_warning(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    assert HandDataModule(num_workers=7).num_workers == 7
    for number, workers in ((1, 1), (2, 2), (64, 4)):
        monkeypatch.setattr(module, "cores", lambda number=number: number)
        assert HandDataModule(num_workers=None).num_workers == workers
    monkeypatch.undo()
    data = HandDataModule(train=PlainFrames, batch_size=4, num_workers=None)
    data.train_dataloader()
    assert not [w for w in recwarn if "worker processes" in str(w.message)]


def test_memory_is_pinned_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    data = HandDataModule(train=PlainFrames, test=PlainFrames, batch_size=4)
    for gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert data.train_dataloader().pin_memory == gpu
        assert data.test_dataloader().pin_memory == gpu


@pytest.mark.parametrize("stage", [("fit", ["train", "val"]), ("test", ["test"])])
def test_the_first_process_prepares_what_the_stage_reads(stage: tuple[str, list[str]]) -> None:
    made: list[str] = []

    def maker(split: str):
        return lambda: made.append(split) or PlainFrames()

    data = HandDataModule(maker("train"), maker("val"), maker("test"))
    fn, expected = stage
    data.trainer = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn(fn)), limit_val_batches=1.0)
    data.prepare_data()
    assert made == expected


def test_other_processes_render_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def data() -> HandDataModule:
        hands = partial(
            SyntheticHands, ManoHead("open"), HandRenderer(32, backend="cpu"), "val", size=2,
            image_px=32, cache=tmp_path,
        )  # fmt: skip
        module = HandDataModule(train=hands, batch_size=2)
        fit = SimpleNamespace(fn=TrainerFn.FITTING)
        module.trainer = SimpleNamespace(
            state=fit, limit_val_batches=1.0, world_size=2, global_rank=1
        )
        return module

    data().prepare_data()
    monkeypatch.setattr(SyntheticHands, "render", lambda *_: pytest.fail("rendered again"))
    assert data().dataset("train")[1].image.shape == (1, 3, 32, 32)
