"""``s2hand-data pack``: the datasets that a configuration describes, as shards."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from s2hand.data.base import HandDataset
from s2hand.data.shards.format import INDEX
from s2hand.data.shards.packed import PackedDataset
from s2hand.data.shards.packing import SHARD_BYTES, describe, pack
from s2hand.files.cores import cores
from s2hand.files.errors import message
from s2hand.files.outputs import Outputs

SPLITS = ("train", "val", "test")


def add_pack(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pack``."""
    parser.add_argument("output", type=Path, help="folder; each set becomes a folder in it")
    parser.add_argument(
        "overrides",
        nargs="+",
        metavar="KEY=VALUE",
        help="the data of s2hand-train: data=freihand dataset.root=... dataset.detections=...",
    )
    parser.add_argument(
        "--split", nargs="+", choices=SPLITS, help="which sets; default: all that data has"
    )
    parser.add_argument("--png", action="store_true", help="smaller shards, slower to read")
    parser.add_argument(
        "--shard-mb", type=int, default=SHARD_BYTES // 2**20, metavar="N", help="size of a shard"
    )
    workers = min(cores(), 8)
    parser.add_argument("--workers", type=int, default=workers, metavar="N", help="processes")
    parser.set_defaults(run=run_pack)


def run_pack(options: argparse.Namespace, console: Console) -> int:
    """Pack the sets of a configuration of ``s2hand-train``."""
    from s2hand.training.build import make_frames  # loads Lightning, which --help does not need

    try:
        cfg = compose_data(options.overrides)
        if "parts" in cfg.data:
            raise ValueError(
                "data=mixed is several sets: pack each by itself, then mix data=packed"
            )
        data = make_frames(cfg, hydra.utils.instantiate(cfg.model.hand, _convert_="all"))
        splits = options.split or [split for split in SPLITS if data.makers[split] is not None]
        for split in splits:
            if data.makers[split] is None:
                raise ValueError(f"this data configuration has no {split} set")
            OmegaConf.to_container(cfg.data[split], resolve=True, throw_on_missing=True)
        # Every folder is checked before the first set is written.
        Outputs(options.output, "pack").plan([])
        sets = {options.output / split: data.dataset(split) for split in splits}
        done = {folder: packed_before(s, folder, not options.png) for folder, s in sets.items()}
        for folder, dataset in sets.items():
            if done[folder]:
                console.print(f"{folder}: packed before", highlight=False, soft_wrap=True)
            else:
                _pack_set(options, console, dataset, folder)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(message(error)) from error
    return 0


def compose_data(overrides: list[str]) -> DictConfig:
    """The configuration of ``s2hand-train`` with these overrides."""
    import s2hand.cli.common.app  # noqa: F401  (registers what the configuration resolves)
    from s2hand.cli.common.composing import composed
    from s2hand.cli.common.overrides import check_dataset_arguments, check_dataset_keys

    cfg = composed("train", overrides)
    check_dataset_keys(cfg, overrides)
    check_dataset_arguments(cfg)
    return cfg


def packed_before(dataset: HandDataset, folder: Path, raw: bool) -> bool:
    """Whether the folder holds this dataset; False if it does not exist.

    Raises:
        ValueError: if the folder holds anything else.
    """
    if not folder.exists():
        return False
    if not (folder / INDEX).is_file():
        raise ValueError(f"{folder} exists and does not hold a packed set: choose another folder")
    found = PackedDataset(folder)
    found.prepare()
    described = replace(found.index, shards=[], offsets=[], lengths=[], crc32=[])
    if described != describe(dataset, raw):
        raise ValueError(
            f"{folder} holds another set ({found.index.dataset}, {len(found)} frames, other "
            "content, pixels or labels): choose another folder, or delete this one"
        )
    return True


def _pack_set(
    options: argparse.Namespace, console: Console, dataset: HandDataset, folder: Path
) -> None:
    index = pack(dataset, folder, not options.png, options.shard_mb * 2**20, options.workers)
    console.print(
        f"{folder}: {len(index.names)} frames, {len(index.shards)} shards, "
        f"{index.bytes / 1e6:.1f} MB ({index.bytes / len(index.names) / 1e3:.1f} kB each), "
        f"{'with' if index.labels else 'without'} labels",
        highlight=False,
        soft_wrap=True,
    )
