"""The stages of ``s2hand-video``, each of which knows what it depends on."""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from s2hand import __version__
from s2hand.data.detections.files import TrackInfo, list_tracks
from s2hand.data.frames.sources import Pictures, file_key, open_source
from s2hand.detect.mediapipe import version
from s2hand.detect.model import find_model
from s2hand.detect.recordings import check_output, detect
from s2hand.files.json import read_json, write_json
from s2hand.files.outputs import MANIFEST, Input, Outputs, check_file, has_keys
from s2hand.fitting.adaptation import adapt
from s2hand.prediction.clip import FILES, FORMATS, WRITER, track_names
from s2hand.prediction.frames import frame_inputs
from s2hand.prediction.stages import Stages, file_hash
from s2hand.prediction.strip import write_strip
from s2hand.prediction.summary import TrackSummary
from s2hand.prediction.video import check_adapting, predict_video
from s2hand.prediction.video_settings import (
    adapting,
    predicting,
    rehearse,
    take_as_clip,
)
from s2hand.training.build import load, make_data
from s2hand.training.checkpoints.reading import checkpoint_file
from s2hand.view.page import write_viewer

STRIP = {"track.npz", "overlay.mp4"}
"""The files that the picture of the whole track is made of."""
SUMMARY = "summary.json"
PAGE = ("index.html", "strip.png")


@dataclass(frozen=True)
class VideoRequest:
    """A video and how to process it."""

    source: Path
    """A video file, or a folder of pictures that follow each other."""
    out: Path
    checkpoint: str
    """The model to start from; ``none``: new heads."""
    adapt: bool = True
    """False: predict with the checkpoint as it is."""
    side: str | None = None
    track: int | None = None
    detections: Path | None = None
    """2D keypoints made elsewhere."""
    model: Path | None = None
    """The detector's file, if it is not in the default place."""


class VideoJob:
    """Detection, adaptation, prediction and page of one video.

    Args:
        request: the video and how to process it.
        console: where progress is printed.
    """

    def __init__(self, request: VideoRequest, console: Console) -> None:
        self.request, self.console = request, console
        self.out = request.out
        self.detections = request.detections or self.out / "detections.json"
        """The file of keypoints, which may not exist yet."""
        self.source = open_source(request.source)
        given = [request.detections is None, request.adapt, True, True]
        names = ("detect", "adapt", "predict", "page")
        self.stages = Stages(
            self.out, [name for name, is_done in zip(names, given, strict=True) if is_done], console
        )

    def run(self, cfg: DictConfig) -> None:
        """Run all stages under ``cfg``, ``conf/adapt.yaml`` composed, and print the results.

        Raises:
            ValueError: an output would replace a file of the user, before any stage runs.
        """
        begin = time.monotonic()
        path, detections = self.request.source, self.detections
        self._check_outputs(cfg)
        source = file_hash(path) if path.is_file() else self.source.key()
        inputs = {"version": __version__, "source": source}
        inputs["detections"] = self._detected(cfg, detections, inputs)
        self._choose(cfg, detections)
        checkpoint, inputs["checkpoint"] = self._adapted(cfg, inputs)
        made = self._predicted(cfg, checkpoint, inputs)
        page = {"version": __version__, "source": source, "title": path.name, "track": made}
        shown = _page_names(made)
        self.stages.run(
            "page", f"writing {' and '.join(shown)}", page, shown,
            lambda: self._write_page(cfg, shown),
        )  # fmt: skip
        self._report(time.monotonic() - begin)

    def _check_outputs(self, cfg: DictConfig) -> None:
        """Raise ValueError if a file that the stages write would replace one of the user."""
        inputs = self._inputs(cfg)
        if self.request.detections is None:
            check_output(self.detections, inputs)
        if self.request.adapt:
            check_adapting(cfg)
        check_file(self.stages.path, inputs, has_keys("schema", "stages"))
        if not (self.out / MANIFEST).exists():
            self._adopt()
        outputs = Outputs(self.out, WRITER, inputs)
        track = track_names(cfg.predict.formats)
        names = [*track, SUMMARY, *_page_names(track)]
        changed = set(outputs.changed(names))  # their stage runs again and sets them aside
        outputs.plan(name for name in names if name not in changed)

    def _inputs(self, cfg: DictConfig) -> list[Input]:
        given = self.request
        frames = frame_inputs(given.source, given.detections)
        return [*frames, given.checkpoint, given.model, cfg.hand_file]

    def _adopt(self) -> None:
        """List what stages.json records, for folders of versions without manifests."""
        files = self.stages.unchanged()
        track = [f for f in files if f in FILES.values() or f.partition("/")[0] in FORMATS]
        for writer, names in ((WRITER, track), ("summary", [SUMMARY]), ("page", PAGE)):
            Outputs(self.out, writer).adopt(name for name in names if name in files)

    def _outputs(self, writer: str, cfg: DictConfig, names: Sequence[str]) -> Outputs:
        """The outputs of a stage; a changed file is renamed, not replaced."""
        outputs = Outputs(self.out, writer, self._inputs(cfg))
        for name in outputs.changed(names):
            kept = outputs.set_aside(name)
            self.console.print(f"{escape(str(self.out / name))} was changed: kept as {kept.name}")
        return outputs.plan(names)

    def _detected(self, cfg: DictConfig, path: Path, inputs: dict[str, Any]) -> Any:
        """The key of the 2D keypoints, which changes when they do."""
        if self.request.detections is not None:
            return detections_key(path)
        model = find_model(self.request.model)
        inputs = inputs | {"model": file_hash(model), "mediapipe": _mediapipe_version()}

        def work() -> None:
            rehearse(cfg, adapt=self.request.adapt)
            detect(self.request.source, path, model=model, sequence=True)

        doing = f"finding hands in {self.request.source.name}"
        return self.stages.run("detect", doing, inputs, [path.name], work)[path.name]

    def _choose(self, cfg: DictConfig, detections: Path) -> None:
        """Choose the hand: the one asked for, or else the one seen most, of that side if given."""
        tracks = list_tracks(detections)
        track = _fitting(tracks, self.request.side, self.request.track, detections)
        cfg.side, cfg.track = track.side or cfg.side, track.track
        for other in tracks:
            if other.track != track.track:
                side = f"--side {other.side} " if other.side else ""
                self.console.print(
                    f"not used: {other}; {side}--track {other.track} takes it instead"
                )
        if isinstance(self.source, Pictures):
            names = [file.name for file in self.source.files]
            seen = set(names)
            if self.request.detections is None:  # detection left out unreadable pictures
                seen = set(read_json(detections)["frames"])
            skip = [name for name in names if name not in seen]
            self.source = open_source(self.request.source, skip)
            take_as_clip(cfg, skip)

    def _adapted(self, cfg: DictConfig, inputs: dict[str, Any]) -> tuple[str, str]:
        """The checkpoint to predict with, and its key."""
        begun = self.request.checkpoint
        key = "none" if begun == "none" else file_hash(checkpoint_file(begun))
        if not self.request.adapt:
            return begun, key
        files = ["adapt/checkpoints/last.ckpt", "adapt/adapt.json"]
        inputs = inputs | {"checkpoint": key, "settings": adapting(cfg)}
        doing = f"fitting the model to {self.request.source.name}"
        made = self.stages.run("adapt", doing, inputs, files, lambda: _adapt(cfg, self.console))
        return str(self.out / files[0]), made[files[0]]

    def _predicted(
        self, cfg: DictConfig, checkpoint: str, inputs: dict[str, Any]
    ) -> dict[str, str]:
        """The files of the track, and their hashes."""
        outputs = [FILES.get(kind, kind) for kind in cfg.predict.formats]

        def work() -> None:
            self._outputs(WRITER, cfg, track_names(cfg.predict.formats))
            module = load(checkpoint, hand=cfg.hand_file)
            summary = predict_video(cfg, module, make_data(cfg, module), self.out)
            assert summary is not None
            with self._outputs("summary", cfg, [SUMMARY]):
                write_json(self.out / SUMMARY, asdict(summary))

        doing = f"one hand for all frames: {', '.join(outputs)}"
        inputs = inputs | {"settings": predicting(cfg)}
        return self.stages.run("predict", doing, inputs, [*outputs, SUMMARY], work)

    def _write_page(self, cfg: DictConfig, names: Sequence[str]) -> None:
        with self._outputs("page", cfg, names):
            write_viewer(self.out / "index.html", self.out, self.request.source.name)
            if "strip.png" in names:
                write_strip(self.out / "strip.png", self.source, self.out)

    def _report(self, seconds: float) -> None:
        table = Table("stage", "seconds")
        table.columns[1].justify = "right"
        for stage, spent in self.stages.seconds.items():
            table.add_row(stage, "reused" if spent is None else f"{spent:.0f}")
        self.console.print(table)
        self.console.print(TrackSummary.read(self.out / SUMMARY).table())
        self.console.print(
            f"done in {seconds:.0f} s. Open [bold]{escape(str(self.out / 'index.html'))}[/] in a "
            f"browser, or run\n  s2hand-view {escape(shlex.quote(str(self.out)))}\n"
            "s2hand-video --help describes each file"
        )


def _page_names(track: Collection[str]) -> list[str]:
    """The files of the page, made from these files of the track."""
    return list(PAGE if set(track) >= STRIP else PAGE[:1])


def _fitting(
    tracks: Sequence[TrackInfo], side: str | None, number: int | None, detections: Path
) -> TrackInfo:
    fitting = (
        t for t in tracks if (side is None or t.side in (None, side)) and number in (None, t.track)
    )
    track = next(fitting, None)
    if track is None:
        raise ValueError(
            f"{detections} holds no such hand (side {side or 'any'}, track "
            f"{'any' if number is None else number}); it holds "
            + ("; ".join(map(str, tracks)) or "none")
        )
    return track


def _adapt(cfg: DictConfig, console: Console) -> None:
    report = adapt(cfg).report
    before, after = report["residual_px"].values()
    console.print(f"2D residual {before:.2f} -> {after:.2f} px of the 224 crop")


def _mediapipe_version() -> str | None:
    try:
        return version()
    except PackageNotFoundError:  # detection reports what to install
        return None


def detections_key(path: Path) -> Any:
    """The key of detections: a file's hash, or the keys of an OpenPose folder's files."""
    if path.is_file():
        return file_hash(path)
    files = sorted(path.rglob("*.json"))
    return [[file.relative_to(path).as_posix(), *file_key(file)] for file in files]
