"""Time per image of the renderer: ``python benchmarks/render.py`` from the repository's root.

A hand covers a quarter of a 224 x 224 image. Each time is the best of many calls, and CPU time is
shown beside elapsed time, to reduce the influence of other work on the machine. The torch oracle,
the tests' float64 reference with given visible faces, shows the cost of automatic differentiation.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from s2hand.geometry.camera import clip_positions
from s2hand.hand.mano import ManoHead
from s2hand.render import kernels
from s2hand.render.cpu import CpuRasterizer, _mesh
from s2hand.render.scene import HandRenderer
from s2hand.types import Camera, Hand, HandCode

SIDE = 224
COVERAGE = 0.25
ORACLE = Path(__file__).parents[1] / "tests" / "render" / "oracle.py"


def hands(count: int, head: ManoHead) -> tuple[Hand, Camera]:
    """``count`` open hands [count, 1, ...] seen from the back, covering a quarter of the image."""
    zeros = {name: torch.zeros(count, 1, size) for name, size in (("pose", 30), ("shape", 10))}
    code = HandCode(
        **zeros,
        scale=torch.ones(count, 1, 1),
        rotation=torch.tensor([0.5 * np.pi, 0, 0]).float().expand(count, 1, 3),
        translation=torch.zeros(count, 1, 3),
        texture=torch.full((count, 1, 778, 3), 0.7),
        light=torch.ones(count, 1, 11),
    )
    hand = head(code)
    centre = (hand.vertices.amax(2, keepdim=True) + hand.vertices.amin(2, keepdim=True)) / 2
    hand = replace(hand, vertices=hand.vertices - centre + torch.tensor([0, 0, 0.6]))
    camera = Camera(torch.eye(3).expand(count, 1, 3, 3), SIDE)
    nearer, farther = 100.0, 2000.0
    for _ in range(12):  # bisect the focal length
        focal = (nearer + farther) / 2
        K = torch.tensor([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1]])
        camera = Camera(K.expand(count, 1, 3, 3), SIDE)
        first = HandRenderer(SIDE, "cpu")(hand[:1], camera[:1], head.faces)
        covered = first.silhouette.mean().item()
        nearer, farther = (focal, farther) if covered < COVERAGE else (nearer, focal)
    return hand, camera


def best_ms(work: Callable[[], object], count: int, seconds: float) -> tuple[float, float]:
    """Milliseconds per image, elapsed and CPU, of the fastest call within a time budget."""
    work()  # compiles
    elapsed: list[float] = []
    busy: list[float] = []
    end = time.perf_counter() + seconds
    while len(elapsed) < 3 or time.perf_counter() < end:
        start, start_busy = time.perf_counter(), time.process_time()
        work()
        elapsed.append(time.perf_counter() - start)
        busy.append(time.process_time() - start_busy)
    return 1e3 * min(elapsed) / count, 1e3 * min(busy) / count


def load_oracle() -> ModuleType:
    """The tests' torch implementation."""
    spec = importlib.util.spec_from_file_location("oracle", ORACLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def visible_faces(positions: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Face + 1 and z/w of each pixel, from the kernels."""
    n, v = positions.shape[:2]
    ids, depth = np.empty((n, SIDE, SIDE), np.int32), np.empty((n, SIDE, SIDE), np.float32)
    mesh = _mesh(faces.numpy().tobytes(), faces.numpy().dtype.str, v)
    blank, image = np.zeros((n, v, 1), np.float32), np.zeros((n, 1, SIDE, SIDE), np.float32)
    kernels.draw(positions.double().numpy(), blank, mesh, ids, depth, image)
    return torch.from_numpy(ids).long(), torch.from_numpy(depth)


def rows(count: int, head: ManoHead, oracle: ModuleType) -> dict[str, Callable[[bool], object]]:
    """The timed functions by name; their argument is whether to run the backward pass."""
    hand, camera = hands(count, head)
    vertices = hand.vertices.detach().requires_grad_()
    texture = hand.code.texture.detach().clone().requires_grad_()
    hand = replace(hand, vertices=vertices, code=replace(hand.code, texture=texture))
    positions = clip_positions(vertices[:, 0], camera.intrinsics[:, 0], SIDE, SIDE).detach()
    attributes = torch.rand(count, 778, 5)
    weights = torch.rand(count, 5, SIDE, SIDE)
    pixels = weights.movedim(1, -1)
    ids, depth = visible_faces(positions, head.faces)
    render, draw = HandRenderer(SIDE, "cpu"), CpuRasterizer()
    inputs = [positions.requires_grad_(), attributes.requires_grad_()]
    doubles = [x.detach().double().requires_grad_() for x in inputs]

    def whole(backward: bool) -> None:
        with torch.set_grad_enabled(backward):
            result = render(hand, camera, head.faces)
        if backward:
            outputs = [result.image, result.depth, result.silhouette]
            grads = [part[:, None] for part in (weights[:, :3], weights[:, 3], weights[:, 4])]
            torch.autograd.grad(outputs, [vertices, texture], grads)

    def kernels_only(backward: bool) -> None:
        with torch.set_grad_enabled(backward):
            image = draw(positions, attributes, head.faces, SIDE, SIDE)
        if backward:
            torch.autograd.grad(image, inputs, pixels)

    def torch_only(backward: bool) -> None:
        with torch.set_grad_enabled(backward):
            image = oracle.paint(*doubles, head.faces, ids, depth)
        if backward:
            torch.autograd.grad(image, doubles, pixels.double())

    return {"HandRenderer": whole, "CpuRasterizer": kernels_only, "torch oracle": torch_only}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each number")
    seconds = parser.parse_args().seconds
    table = Table(title=f"ms per image, {SIDE} x {SIDE}, hand covers {COVERAGE:.0%}, best of many")
    for column in ("", "images", "threads", "forward", "forward + backward", "CPU time of both"):
        table.add_column(column, justify="right" if column else "left")
    head, oracle = ManoHead("open"), load_oracle()
    for count in (1, 32):
        for name, work in rows(count, head, oracle).items():
            for threads in (1, 2):
                torch.set_num_threads(threads)
                forward, _ = best_ms(partial(work, False), count, seconds)
                both = best_ms(partial(work, True), count, seconds)
                numbers = (f"{ms:.2f}" for ms in (forward, *both))
                table.add_row(name, str(count), str(threads), *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
