"""What a training step does many times does not make CPU and GPU wait for each other."""

from __future__ import annotations

import warnings

import pytest
import torch

from fixtures.hands import open_hands
from s2hand.geometry.camera import project
from s2hand.hand.mano import ManoHead
from s2hand.loss.bones import BoneOrientation
from s2hand.types import HandBatch, Prediction

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]


@pytest.mark.parametrize("convention", ["freihand", "ho3d"])
def test_posing_and_comparing_bones_hardly_wait(convention: str) -> None:
    head = ManoHead("open", convention=convention).cuda()
    hand, camera = (x.to("cuda") for x in open_hands(2))
    image = torch.zeros(2, 1, 3, 8, 8, device="cuda")
    index = torch.zeros(2, 1, dtype=torch.long, device="cuda")
    seen = torch.ones(2, 1, 21, device="cuda")
    loss = BoneOrientation()

    def step() -> None:
        code = hand.code.map(lambda x: x.detach().requires_grad_())
        posed = head(code)
        joints = project(posed.joints, camera.intrinsics)
        batch = HandBatch(image, joints.detach() + 1, seen, camera, index)
        loss(Prediction(posed, joints), batch).backward()

    step()  # copies the constants
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    # smplx copies the list of parents, once forward and once back.
    assert len(waits) <= 2, [str(wait.message) for wait in waits]
