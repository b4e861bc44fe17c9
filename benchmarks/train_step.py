"""The time of a training step and its parts: ``python benchmarks/train_step.py``, from the root.

Three numbers for each configuration, measured in turns so that other work on the machine affects
all equally, each the best of several rounds:

* *whole*: frames per second of Lightning's loop with loader and logger;
* *encoder alone*: forward, backward and optimizer step of the encoder on the same images;
* *split*: one step by hand, cut between its parts; a part's backward is timed with its forward.

Memory is the size of the tensors that autograd keeps for the backward of one step, per frame.
"""

from __future__ import annotations

import argparse
import logging
import platform
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig, open_dict
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from s2hand.export.charts import save
from s2hand.files.json import read_json, write_json
from s2hand.geometry.camera import project
from s2hand.training.build import git_revision, make_data, make_module, make_trainer
from s2hand.training.module import S2Hand
from s2hand.types import HandBatch, Prediction, TensorTree

PARTS = ("data", "encoder", "heads and 2D branch", "hand", "render", "losses", "optimizer")
IMAGE = ["model=s2hand", "model.network.keypoint_net=light", "data.train.image_px=224"]
CLIP = [
    "experiment=video", "model=s2hand", "model.network.keypoint_net=light", "window=clip5",
    "data.train.image_px=224", "data.train.sequences=4", "render.resolution=224",
]  # fmt: skip
CONFIGURATIONS: dict[str, list[str]] = {
    "image, B=16": [*IMAGE, "data.batch_size=16"],
    "image, B=16, bf16": [*IMAGE, "data.batch_size=16", "trainer.precision=bf16-mixed"],
    "image, B=16, compiled encoder": [
        *IMAGE, "data.batch_size=16", "compile_encoder=true",
    ],
    "image, B=16, photometric losses at 64 px": [
        *IMAGE, "data.batch_size=16", "render.resolution=64",
    ],
    "image, B=16, hourglass": [*IMAGE[:1], IMAGE[2], "data.batch_size=16"],
    "clips of 5, B=3": [*CLIP, "data.batch_size=3"],
}  # fmt: skip
CURVES: dict[str, dict[str, list[str]]] = {
    "batch size": {
        str(n): [*IMAGE, f"data.batch_size={n}"] for n in (2, 4, 8, 16, 32)
    },
    "window length, 18 frames": {
        str(n): [*CLIP, f"window.frames={n}", f"data.batch_size={18 // n}"] for n in (3, 6, 9)
    },
    "loader processes": {
        str(n): [*IMAGE, "data.batch_size=16", f"data.num_workers={n}"] for n in (0, 1, 2)
    },
}  # fmt: skip


def configuration(overrides: Sequence[str], device: str) -> DictConfig:
    """``s2hand-train`` with these overrides; few rendered hands, kept on disk."""
    small = ["data.train.size=512"] if "window=clip5" not in overrides else []
    silent = [
        "~callbacks",
        "data.val=null",
        "+trainer.enable_progress_bar=false",
        "+trainer.enable_checkpointing=false",
    ]
    place = ["trainer=gpu", "trainer.precision=32-true"] if device == "cuda" else []
    with hydra.initialize_config_module("s2hand.conf", version_base="1.3"):
        cfg = hydra.compose("train", [*place, *small, *silent, *overrides])
    with open_dict(cfg):
        cfg.callbacks = {}
        cfg.paths.run = tempfile.mkdtemp(prefix="s2hand-bench-")
    return cfg


class Clock:
    """Seconds by name, waiting for the GPU at each boundary."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block."""
        self.wait()
        start = time.perf_counter()
        yield
        self.wait()
        self.seconds[name] += time.perf_counter() - start

    def timed(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """``call``, timed under a name, without waiting for the GPU."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = call(*args, **kwargs)
            self.seconds[name] += time.perf_counter() - start
            return result

        return wrapped

    def wait(self) -> None:
        """Wait until the GPU is idle."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Cut:
    """A boundary between two parts: the second gets leaves, whose gradients go to the first."""

    def __init__(self, tree: TensorTree) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self.tree: Any = tree.map(self._leaf)

    def _leaf(self, tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor
        leaf = tensor.detach().requires_grad_()
        self.pairs.append((tensor, leaf))
        return leaf

    def backward(self) -> None:
        """Backward of the part before the boundary, from the gradients of the leaves."""
        reached = [(tensor, leaf.grad) for tensor, leaf in self.pairs if leaf.grad is not None]
        torch.autograd.backward([t for t, _ in reached], [g for _, g in reached])


@dataclass(frozen=True)
class Several(TensorTree):
    """A tuple of tensors that is cut as one."""

    items: tuple[Tensor, ...]


class GivenMaps(nn.Module):
    """Replaces the encoder by maps that are already computed."""

    def __init__(self, maps: dict[int, Tensor]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, *_: Any) -> dict[int, Tensor]:
        """The maps."""
        return self.maps


class Steps:
    """One training step by hand, and the encoder alone, on the objects of a configuration."""

    def __init__(self, cfg: DictConfig, device: torch.device) -> None:
        self.module: S2Hand = make_module(cfg).to(device).train()
        if cfg.compile_encoder:
            self.module.reconstructor.network.encoder.compile()
        self.data = make_data(cfg, self.module)
        self.loader = self.data.train_dataloader()
        self.batches = self._endless()
        self.device = device
        self.optimizer = self.module.make_optimizer(
            [p for p in self.module.parameters() if p.requires_grad]
        )
        half = str(cfg.trainer.precision).startswith("bf16")
        self.autocast = lambda: torch.autocast(device.type, torch.bfloat16, enabled=half)

    def _endless(self) -> Iterator[HandBatch]:
        while True:
            yield from self.loader

    def encoder_alone(self) -> None:
        """Forward, backward and optimizer step on the images of the last batch."""
        encoder = self.module.reconstructor.network.encoder
        with self.autocast():
            maps = encoder(self.images)
        sum(m.float().mean() for m in maps.values()).backward()  # type: ignore[union-attr]
        self.optimizer.step()
        self.optimizer.zero_grad()

    def by_hand(self, clock: Clock) -> None:
        """A step whose parts are timed, with the graph cut at their boundaries."""
        with clock("data"):
            batch = next(self.batches).to(self.device)
        self.images = batch.image.flatten(0, 1)
        model, network = self.module.reconstructor, self.module.reconstructor.network
        encoder = network.encoder
        with clock("encoder"), self.autocast():
            maps = encoder(self.images)
        cut_maps = Cut(Several(tuple(maps.values())))
        network.encoder = GivenMaps(dict(zip(maps, cut_maps.tree.items, strict=True)))
        with clock("heads and 2D branch"), self.autocast():
            code, estimates = model.encode(batch)
        network.encoder = encoder
        cut_code, cut_estimates = Cut(code), Cut(Several(estimates))
        with clock("hand"):
            hand = model.hand(cut_code.tree)
            joints_2d = project(hand.joints, batch.camera.intrinsics)
        cut_hand = Cut(Prediction(hand, joints_2d))
        seen = cut_hand.tree
        with clock("render"):
            render = model.renderer(seen.hand, batch.camera, model.hand.faces)
        cut_render = Cut(render)
        prediction = replace(
            seen, estimated_joints_2d=cut_estimates.tree.items, render=cut_render.tree
        )
        with clock("losses"):
            self.module.objective(prediction, batch).total.backward()
        for name, cut in (
            ("render", cut_render), ("hand", cut_hand), ("heads and 2D branch", cut_code),
            ("heads and 2D branch", cut_estimates), ("encoder", cut_maps),
        ):  # fmt: skip
            with clock(name):
                cut.backward()
        with clock("optimizer"):
            self.optimizer.step()
            self.optimizer.zero_grad()

    def memory_mb(self) -> float:
        """Memory that autograd keeps for one step, MB per frame, without parameters."""
        parameters = {p.untyped_storage().data_ptr() for p in self.module.parameters()}
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if tensor.is_sparse:  # a constant of a loss
                return tensor
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        batch = next(self.batches).to(self.device)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            with self.autocast():
                prediction = self.module.reconstructor(batch)
            self.module.objective(prediction, batch)
        return sum(kept.values()) / batch.index.numel() / 1e6


class Stopwatch(pl.Callback):
    """End times of the steps of a run after the first ``skip``, and the time of its loggers."""

    def __init__(self, clock: Clock, skip: int) -> None:
        self.clock, self.skip = clock, skip
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Note the time; reset the clock after the warm-up."""
        if trainer.global_step >= self.skip:
            self.clock.wait()
            if not self.ends:
                self.clock.seconds.clear()
            self.ends.append(time.perf_counter())


def whole(cfg: DictConfig, steps: Steps, count: int) -> dict[str, float]:
    """Seconds of a step of Lightning's loop, and of its logging."""
    skip = 2
    with open_dict(cfg):
        cfg.trainer.max_steps = skip + count
    clock = Clock(steps.device)
    watch = Stopwatch(clock, skip)
    trainer = make_trainer(cfg)
    trainer.callbacks.append(watch)  # type: ignore[attr-defined]
    log, steps.module.log_dict = (
        steps.module.log_dict,
        clock.timed(steps.module.log_dict, "logging"),
    )
    for logger in trainer.loggers:
        logger.log_metrics = clock.timed(logger.log_metrics, "logging")  # type: ignore[method-assign]
    try:
        trainer.fit(steps.module, steps.data)
    finally:
        steps.module.log_dict = log  # type: ignore[method-assign]
        steps.module.to(steps.device)  # Lightning leaves it on the CPU
    return {
        "whole": (watch.ends[-1] - watch.ends[0]) / count,
        "logging": clock.seconds["logging"] / count,
    }


def measure(overrides: Sequence[str], device: str, count: int, rounds: int) -> dict[str, Any]:
    """Milliseconds per frame of all parts, frames per second, MB per frame; device and versions."""
    for name in ("pytorch_lightning", "lightning", "s2hand"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    cfg = configuration(overrides, device)
    steps = Steps(cfg, torch.device(device))
    frames = cfg.data.batch_size * cfg.window.frames
    steps.by_hand(Clock(steps.device))  # renders, compiles, tunes
    steps.encoder_alone()
    memory = steps.memory_mb()
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        clock = Clock(steps.device)
        for _ in range(count):
            steps.by_hand(clock)
            with clock("encoder alone"):
                steps.encoder_alone()
        seconds = {name: value / count for name, value in clock.seconds.items()}
        for name, value in (seconds | whole(cfg, steps, count)).items():
            found[name].append(1e3 * value / frames)
    best = {name: min(values) for name, values in found.items()}
    return best | {
        "frames_per_s": 1e3 / best["whole"],
        "of_encoder_alone": best["encoder alone"] / best["whole"],
        "memory_mb": memory,
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "revision": git_revision(),
    }


def main() -> None:
    """Measure, print, and write numbers and curves beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=5, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the best counts")
    parser.add_argument("--only", default="", help="measure names with this text")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder of results")
    args = parser.parse_args()
    console = Console()
    target = args.out / f"train_step_{args.device}.json"
    results: dict[str, dict[str, Any]] = read_json(target) if target.is_file() else {}
    for curve, points in {"": CONFIGURATIONS, **CURVES}.items():
        for name, overrides in points.items():
            if args.only not in f"{curve} {name}":
                continue
            values = in_new_process(overrides, args.device, args.steps, args.rounds)
            results.setdefault(curve, {})[name] = values
            write_json(target, results)
            console.print(f"{curve} {name}: {values['frames_per_s']:.2f} frames/s")
    console.print(table(results[""]))
    if all(curve in results for curve in CURVES):
        draw(results, target.with_suffix(".png"))


def in_new_process(*arguments: Any) -> dict[str, Any]:
    """:func:`measure` in a new process, without memory of previous measurements."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def table(results: dict[str, dict[str, float]]) -> Table:
    """One column per configuration."""
    shown = Table(title="ms per frame")
    for column in ("", *results):
        shown.add_column(column, justify="right" if column else "left")
    rows = {name: (name, ".1f") for name in (*PARTS, "logging", "encoder alone", "whole")}
    rows["frames_per_s"] = ("frames per second", ".1f")
    rows["of_encoder_alone"] = ("whole, of the encoder's speed", ".2f")
    rows["memory_mb"] = ("MB kept for the backward, per frame", ".0f")
    for name, (title, form) in rows.items():
        shown.add_row(title, *(format(values.get(name, 0.0), form) for values in results.values()))
    return shown


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Time per frame and memory over batch size, window length and loader processes."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    for axes, curve in zip(figure.subplots(1, len(CURVES)), CURVES, strict=True):
        points = results[curve]
        for name in ("whole", "encoder alone"):
            axes.plot(list(points), [v[name] for v in points.values()], "o-", label=name)
        axes.set(xlabel=curve, ylabel="ms per frame", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    save(figure, path)


if __name__ == "__main__":
    main()
