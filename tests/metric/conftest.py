"""The clouds of the golden table: closed forms, so anyone can recompute the official scores."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor


@dataclass(frozen=True)
class Golden:
    """True and predicted joints and vertices, metres, float64."""

    joints: Tensor
    predicted_joints: Tensor
    vertices: Tensor
    predicted_vertices: Tensor


def _wave(k: Tensor, amplitude: float, linear: float, square: float, phase: float) -> Tensor:
    return amplitude * torch.sin(linear * k + square * k**2 + phase)


def _steps(points: int) -> Tensor:
    return torch.arange(5 * points * 3, dtype=torch.float64).reshape(5, points, 3)


@pytest.fixture
def golden() -> Golden:
    k, kv = _steps(21), _steps(778)
    depth = torch.tensor([0, 0, 0.6], dtype=torch.float64)
    joints = _wave(k, 0.05, 1.7, 0.013, 0.3) + depth
    vertices = _wave(kv, 0.05, 0.37, 0.013, 0.3) + depth
    return Golden(
        joints,
        1.1 * joints
        + 0.03 * torch.cos(2.3 * k + 0.007 * k**2)
        + torch.tensor([0.02, -0.01, 0.05], dtype=torch.float64),
        vertices,
        vertices
        + 0.012 * torch.cos(1.9 * kv + 0.007 * kv**2)
        + torch.tensor([0.001, 0, -0.002], dtype=torch.float64),
    )
