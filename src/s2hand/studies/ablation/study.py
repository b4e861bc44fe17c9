"""The folder of an ablation: the values that all rows share, and those of each row."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from s2hand.files.atomic import atomic_path
from s2hand.files.json import read_json_object, write_json
from s2hand.files.outputs import MANIFEST, Outputs, check_file, has_keys
from s2hand.studies.ablation.rows import Change, changed_losses, read_changes
from s2hand.studies.ablation.table import ROW_FILE
from s2hand.training.checkpoints.reading import checkpoint_file, read_checkpoint
from s2hand.training.checkpoints.renamed import current_names
from s2hand.training.checkpoints.writing import check_checkpoints
from s2hand.training.evaluation import data_config
from s2hand.training.run import described, flat

_log = logging.getLogger(__name__)

STUDY_FILE = "ablation.json"
_TRAINING = (
    "seed", "resume", "freeze_batch_norm", "paths", "augment", "optim", "trainer", "callbacks",
    "logger", "study",
)  # fmt: skip
"""Keys that a fine-tune takes from this command; the others are those of s2hand-train."""


class AblationStudy:
    """One checkpoint and the chosen rows.

    Args:
        cfg: ``conf/ablate.yaml``, composed by Hydra in this process.

    Raises:
        CheckpointError: ``cfg.checkpoint`` cannot be read.
        ValueError: a row is unknown or invalid.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg, self.folder = cfg, Path(cfg.paths.run)
        self.changes = read_changes(cfg.rows, cfg.ablation)
        self.checkpoint = read_checkpoint(cfg.checkpoint)
        recorded = self.checkpoint["s2hand"]["config"]
        self._loss = _plain(cfg.loss) if cfg.get("loss") else recorded["loss"]
        self._data = self._shared_data(recorded["data"])

    def losses(self, change: Change) -> dict[str, Any]:
        """The configuration of a row's losses."""
        return changed_losses(self._loss, change, self.cfg.scale_target_m)

    def data(self, change: Change) -> dict[str, Any]:
        """The configuration of a row's data; its training has the corrupted detections too."""
        data = dict(self._data)
        if change.data:
            given = compose("evaluate", overrides=["checkpoint=''", *change.data])
            data = _plain(data_config(given, data, training=change.finetune is not None))
        if change.noise_px or change.drop:
            for split in ("train", "test"):
                if data.get(split) is not None:
                    data[split] = {
                        "_target_": "s2hand.data.corrupted.CorruptedDetections",
                        "_partial_": True,
                        "dataset": data[split],
                        "noise_px": change.noise_px,
                        "drop": change.drop,
                        "seed": self.cfg.seed,
                    }
        return data

    def training(self, name: str, start: str, model: DictConfig) -> DictConfig:
        """The configuration of ``s2hand-train`` for a row that is fine-tuned from ``start``."""
        change = self.changes[name]
        assert change.finetune is not None
        cfg = compose("train")
        OmegaConf.set_struct(cfg, False)
        for key in _TRAINING:
            cfg[key] = self.cfg.get(key)
        cfg.name, cfg.paths.run = name, str(self.folder / name)
        cfg.init_from, cfg.model, cfg.loss = start, model, self.losses(change)
        cfg.data = self.data(change) | {"val": None}  # all rows are measured on the test set
        cfg.trainer.max_steps, cfg.trainer.max_epochs = change.finetune.steps, -1
        for key in ("hand", "render", "window"):  # already in the model and the data
            cfg.pop(key)
        return cfg

    def outputs(self, names: Sequence[str]) -> Outputs:
        """The planned files of the study itself, and a check of those of its rows.

        Raises:
            ValueError: one of them would replace a file of the user, such as the checkpoint.
        """
        inputs = [self.cfg.checkpoint, self.cfg.get("hand_file")]
        for name in self.changes:
            for file in ("start.ckpt", "metrics.json"):
                check_file(self.folder / name / file, inputs)
            check_checkpoints(self.folder / name, inputs)
        manifest = (self.folder / MANIFEST).exists()
        is_study = has_keys("checkpoint", "sha256")(self.folder / STUDY_FILE)
        # A study of an older version has no manifest.
        return Outputs(self.folder, "ablate", inputs).plan(
            names, lambda path: is_study and not manifest
        )

    def claim(self) -> None:
        """Record the values that all rows share.

        Raises:
            ValueError: the folder belongs to another study.
        """
        path, now = self.folder / STUDY_FILE, self._shared_record()
        if not path.is_file():
            write_json(path, now)
            return
        before = read_json_object(path)
        if before.get("sha256") != now["sha256"]:
            raise ValueError(
                f"{self.folder} is a study of another checkpoint ({before.get('checkpoint')}, "
                f"sha256 {str(before.get('sha256'))[:8]}; {now['checkpoint']} is "
                f"{now['sha256'][:8]}): choose another study="
            )
        ignored = {"checkpoint"}  # equal content under another name
        _refuse_changes(before, now, ignored, f"{self.folder} is a study with other values")

    def pending(self) -> list[str]:
        """The names of the unfinished rows.

        Raises:
            ValueError: a row was started with other values.
        """
        found = []
        for name in self.changes:
            folder = self.folder / name
            begun = [folder / part for part in ("metrics.json", "checkpoints")]
            if self.cfg.resume == "never" or not any(path.exists() for path in begun):
                found.append(name)
                continue
            if (folder / ROW_FILE).is_file():
                before, now = read_json_object(folder / ROW_FILE), self._row_record(name)
                _refuse_changes(before, now, {"words"}, f"{folder} has other values")
            if self.is_finished(name):
                _log.info("finished already: %s (resume=never starts over)", folder)
            else:
                found.append(name)
        return found

    def is_finished(self, name: str) -> bool:
        """Whether a row has its result and is not to be repeated."""
        has_result = (self.folder / name / "metrics.json").is_file()
        return has_result and self.cfg.resume != "never"

    def begin(self, name: str) -> Path:
        """Start a row: remove earlier results, record its values; return its folder."""
        folder = self.folder / name
        for old in ("failed.json", "metrics.json"):
            (folder / old).unlink(missing_ok=True)
        write_json(folder / ROW_FILE, self._row_record(name))
        with atomic_path(folder / ".hydra" / "overrides.yaml") as path:
            # Like a job of a sweep, so that s2hand-sweep-report finds the row and its seed.
            path.write_text(yaml.safe_dump([f"row={name}", f"seed={self.cfg.seed}"]))
        return folder

    def _shared_record(self) -> dict[str, Any]:
        content = checkpoint_file(self.cfg.checkpoint).read_bytes()
        return {
            "checkpoint": str(self.cfg.checkpoint),
            "sha256": hashlib.sha256(content).hexdigest(),
            "seed": self.cfg.seed,
            "loss": self._loss,
            "data": {"test": self._data["test"]},
        }

    def _row_record(self, name: str) -> dict[str, Any]:
        change = self.changes[name]
        record = {"row": name, "words": change.words(), "change": asdict(change)}
        if change.finetune is not None:
            record["training"] = described(self.training(name, str(self.cfg.checkpoint), _NO_MODEL))
        return record

    def _shared_data(self, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """The data of the checkpoint, the experiment or the command line, with its changes."""
        cfg, choices = self.cfg, HydraConfig.get().runtime.choices
        training = any(change.finetune is not None for change in self.changes.values())
        experiment = choices.get("experiment")
        if experiment and "_target_" not in (cfg.get("data") or {}):
            # The experiment's data are those of s2hand-train.
            overrides = [f"experiment={experiment}", f"seed={cfg.seed}"]
            recorded = _plain(compose("train", overrides=overrides))["data"]
        data = _plain(data_config(cfg, recorded, training))
        if choices.get("window") not in (None, "image"):
            data["window"] = _plain(cfg.window)
        return data | {"seed": cfg.seed}


_NO_MODEL = OmegaConf.create({})


def _plain(cfg: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _refuse_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], ignored: set[str], what: str
) -> None:
    """Raise ValueError with a differing value unless two records are equal."""
    old, new = (
        dict(flat({key: value for key, value in record.items() if key not in ignored}))
        for record in (current_names(before), now)
    )
    other = sorted(key for key in old | new if old.get(key) != new.get(key))
    if other:
        key = other[0]
        raise ValueError(
            f"{what} ({key} was {old.get(key)}, is now {new.get(key)}): choose another study=, or "
            "delete the folder"
        )
