"""The stages of ``s2hand-video``, each of which knows what it depends on."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from s2hand import __version__
from s2hand.build import load, make_data
from s2hand.checkpoint import checkpoint_file
from s2hand.cli.adapt import adapt, check_choices, clip_options, predict_video
from s2hand.cli.app import quiet_libraries
from s2hand.cli.detection import detect
from s2hand.cli.stages import Stages, file_hash
from s2hand.cli.strip import write_strip
from s2hand.cli.summary import TrackSummary
from s2hand.data.checks import read_json
from s2hand.data.detection_files import TrackInfo, list_tracks
from s2hand.data.video import Pictures, file_key, open_source
from s2hand.files import write_json
from s2hand.view.page import write_viewer

STRIP = {"track.npz", "overlay.mp4"}
"""What the picture of the whole track is made of."""


class VideoJob:
    """Detection, adaptation, prediction and page of one video.

    Args:
        options: the command line of ``s2hand-video``.
        stages: runs them, or reuses what is there.
        console: for a person.
    """

    def __init__(self, options: argparse.Namespace, stages: Stages, console: Console) -> None:
        self.options, self.stages, self.console = options, stages, console
        self.out: Path = options.out
        self.source = open_source(options.source)

    def run(self) -> None:
        """All stages, then what came of them."""
        begin = time.monotonic()
        quiet_libraries()
        path: Path = self.options.source
        source = file_hash(path) if path.is_file() else self.source.key()
        detections, key = self._detected(source)
        track = self._chosen(detections)
        cfg = self._config(detections, track)
        inputs = {"source": source, "detections": key, "track": track.track, "side": track.side}
        inputs |= {"version": __version__, "checkpoint": self._checkpoint_key()}
        checkpoint, fitted = self._adapted(cfg, inputs)
        made = self._predicted(cfg, checkpoint, inputs | fitted)
        page = {"track": made, "title": self.options.source.name}
        shown = ["index.html", "strip.png"] if set(made) >= STRIP else ["index.html"]
        self.stages.run("page", page, shown, lambda: self._write_page(shown))
        self._report(time.monotonic() - begin)

    def _detected(self, source: Any) -> tuple[Path, Any]:
        """The file of 2D keypoints, and what tells it from others."""
        if self.options.detections is not None:
            return self.options.detections, detections_key(self.options.detections)
        path = self.out / "detections.json"

        def work() -> None:
            detect(self.options.source, path, model=self.options.model, sequence=True)

        made = self.stages.run("detect", {"source": source}, [path.name], work)
        return path, made[path.name]

    def _chosen(self, detections: Path) -> TrackInfo:
        """The hand to reconstruct: the one asked for, or the main one of that side, or of all."""
        tracks = list_tracks(detections)
        side, number = self.options.side, self.options.track
        fitting = [
            t for t in tracks
            if (side is None or t.side in (None, side)) and number in (None, t.track)
        ]  # fmt: skip
        if not fitting:
            raise ValueError(
                f"{detections} holds no such hand (side {side or 'any'}, track "
                f"{'any' if number is None else number}); it holds "
                + ("; ".join(map(str, tracks)) or "none")
            )
        for other in tracks:
            if other.track != fitting[0].track:
                side = f"--side {other.side} " if other.side else ""
                self.console.print(
                    f"not used: {other}; {side}--track {other.track} takes it instead"
                )
        return fitting[0]

    def _config(self, detections: Path, track: TrackInfo) -> DictConfig:
        """``conf/adapt.yaml`` for this video. Names are set, not parsed: they may hold anything."""
        with initialize_config_module("s2hand.conf", version_base="1.3"):
            cfg = compose("adapt", list(self.options.settings))
        cfg.source, cfg.detections = str(self.options.source), str(detections)
        cfg.side, cfg.track = track.side or self.options.side or "right", track.track
        cfg.horizontal_fov_deg = self.options.fov
        cfg.checkpoint = None if self.options.checkpoint == "none" else self.options.checkpoint
        cfg.out = str(self.out / "adapt")
        cfg.predict.smooth_sigma = self.options.smooth
        check_choices(cfg, self.options.settings)
        clip_options(cfg)  # refuse now what could not be written later
        if isinstance(self.source, Pictures):
            self._as_clip(cfg, self.source, detections)
        return cfg

    def _as_clip(self, cfg: DictConfig, pictures: Pictures, detections: Path) -> None:
        """Pictures follow each other; those that detection could not read are left out."""
        names = [file.name for file in pictures.files]
        seen = set(names)
        if self.options.detections is None:
            seen = set(read_json(detections)["frames"])
        skip = [name for name in names if name not in seen]
        self.source = open_source(self.options.source, skip)
        OmegaConf.update(cfg, "predict.fps", self.options.fps, force_add=True)
        for split in ("train", "test"):
            more = {"sequence": True, "skip": skip}
            OmegaConf.update(cfg, f"data.{split}", {**cfg.data[split], **more}, force_add=True)

    def _checkpoint_key(self) -> str:
        name = self.options.checkpoint
        return "none" if name == "none" else file_hash(checkpoint_file(name))

    def _adapted(self, cfg: DictConfig, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The checkpoint to predict with, and what tells it from others."""
        if self.options.no_adapt:
            return self.options.checkpoint, {"adapted": False}
        files = ["adapt/checkpoints/last.ckpt", "adapt/adapt.json"]
        settings = {"settings": self.options.settings, "fov": self.options.fov}
        made = self.stages.run("adapt", inputs | settings, files, lambda: _adapt(cfg, self.console))
        return str(self.out / files[0]), {"adapted": made[files[0]]}

    def _predicted(
        self, cfg: DictConfig, checkpoint: str, inputs: dict[str, Any]
    ) -> dict[str, str]:
        """The files of the track, and their hashes."""
        names = {"npz": "track.npz", "json": "track.json", "mp4": "overlay.mp4",
                 "preview": "preview.mp4", "glb": "hand.glb", "bvh": "hand.bvh"}  # fmt: skip
        outputs = [names[kind] for kind in cfg.predict.formats if kind in names]
        options = OmegaConf.to_container(cfg.predict, resolve=True)

        def work() -> None:
            module = load(checkpoint)
            summary = predict_video(cfg, module, make_data(cfg, module), self.out)
            assert summary is not None
            write_json(self.out / "summary.json", asdict(summary))

        inputs = inputs | {"options": options, "fov": self.options.fov}
        return self.stages.run("predict", inputs, [*outputs, "summary.json"], work)

    def _write_page(self, names: Sequence[str]) -> None:
        write_viewer(self.out / "index.html", self.out, self.options.source.name)
        if "strip.png" in names:
            write_strip(self.out / "strip.png", self.source, self.out)

    def _report(self, seconds: float) -> None:
        table = Table("stage", "seconds")
        table.columns[1].justify = "right"
        for stage, spent in self.stages.seconds().items():
            table.add_row(stage, f"{spent:.0f}")
        self.console.print(table)
        self.console.print(TrackSummary.read(self.out / "summary.json").table())
        page = escape(str(self.out / "index.html"))
        self.console.print(
            f"done in {seconds:.0f} s. Open [bold]{page}[/] in a browser, or run "
            f"`s2hand-view {escape(str(self.out))}`; every file is in docs/formats.md"
        )


def _adapt(cfg: DictConfig, console: Console) -> None:
    report = adapt(cfg).report
    before, after = report["residual_px"].values()
    console.print(f"2D residual {before:.2f} -> {after:.2f} px of the 224 crop")


def detections_key(path: Path) -> Any:
    """What changes when detections do: a file's hash, or the keys of an OpenPose folder's files."""
    if path.is_file():
        return file_hash(path)
    files = sorted(path.rglob("*.json"))
    return [[file.relative_to(path).as_posix(), *file_key(file)] for file in files]
