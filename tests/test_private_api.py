"""Private attributes of other packages that this one reads: which release lost which.

Upper bounds in ``setup.cfg`` keep the next major releases out; these tests name what a minor one
took away.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import timm
from hydra.core.utils import JobReturn, JobStatus
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.layer_sync import LayerSync
from smplx.utils import Struct

from s2hand.hand.mano import ManoHead
from s2hand.training.distributed import SyncLayers


def check(package: str, owner: Any, name: str, reader: str) -> None:
    """Fail, naming the release, the attribute and who reads it, unless ``owner`` has it."""
    assert hasattr(owner, name), (
        f"{package} {version(package)} no longer has {name} (on {type(owner).__name__}): "
        f"{reader} needs it"
    )


def trainer() -> Any:
    return pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_steps=1)


def job_return() -> JobReturn:
    return JobReturn(status=JobStatus.FAILED)


def network(name: str) -> Any:
    return timm.create_model(name, features_only=True)


@pytest.mark.parametrize(
    ("package", "owner", "name", "reader"),
    [
        ("pytorch-lightning", lambda: trainer().fit_loop, "_data_fetcher", "LastCheckpoint"),
        ("pytorch-lightning", lambda: trainer().fit_loop.epoch_loop, "_should_check_val_fx",
         "LastCheckpoint"),
        ("pytorch-lightning", lambda: trainer().fit_loop.epoch_loop, "_batches_that_stepped",
         "LastCheckpoint"),
        ("pytorch-lightning", lambda: trainer().fit_loop.epoch_loop.batch_progress.total,
         "reset_on_restart", "LastCheckpoint"),
        ("pytorch-lightning", lambda: trainer().fit_loop.epoch_loop.batch_progress.current,
         "reset_on_restart", "LastCheckpoint"),
        ("pytorch-lightning", pl.LightningModule, "_trainer", "S2Hand.on_save_checkpoint"),
        ("hydra-core", job_return, "_return_value", "FailedJobs"),
        ("timm", lambda: network("mobilenetv3_small_050"), "_stage_out_idx", "Encoder"),
        ("timm", lambda: network("resnet10t"), "return_layers", "Encoder"),
    ],
)  # fmt: skip
def test_the_attribute_is_there(
    package: str, owner: Callable[[], Any], name: str, reader: str
) -> None:
    check(package, owner(), name, reader)


def test_a_lost_attribute_is_named_with_its_release_and_reader() -> None:
    gone = rf"smplx {version('smplx')} no longer has nothing_such \(on Struct\): ManoHead needs it"
    with pytest.raises(AssertionError, match=gone):
        check("smplx", Struct(), "nothing_such", "ManoHead")


def test_lightning_asks_for_a_validation_by_the_fetcher_alone() -> None:
    parameters = list(inspect.signature(_TrainingEpochLoop._should_check_val_fx).parameters)
    assert parameters == ["self", "data_fetcher"], version("pytorch-lightning")


def test_lightning_takes_the_layer_plugin_to_its_strategy() -> None:
    made = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", plugins=[SyncLayers()], logger=False,
        enable_checkpointing=False,
    )  # fmt: skip
    check("pytorch-lightning", made.strategy, "_layer_sync", "SyncLayers")
    assert isinstance(made.strategy._layer_sync, SyncLayers)
    assert LayerSync.__abstractmethods__ == {"apply", "revert"}


def test_smplx_takes_arrays_in_place_of_a_file() -> None:
    array = np.zeros(3)
    assert Struct(v_template=array).v_template is array, f"smplx {version('smplx')}: ManoHead"
    check("smplx", ManoHead("open")._mano, "parents", "ManoHead")
