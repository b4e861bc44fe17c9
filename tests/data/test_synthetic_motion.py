import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2hand.data.synthetic_motion import moving_scene, smooth_path
from s2hand.data.synthetic_scene import SceneSampler


def path(seed: int, frames: int = 200, duration: tuple[int, int] = (8, 24)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return smooth_path(rng, frames, lambda: rng.uniform(-1, 1, 3), duration)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    frames=st.integers(1, 80),
    shortest=st.integers(3, 12),
    extra=st.integers(0, 30),
)
def test_paths_are_smooth_and_stay_among_their_points(seed, frames, shortest, extra):
    motion = path(seed, frames, (shortest, shortest + extra))
    assert motion.shape == (frames, 3)
    assert np.abs(motion).max() <= 1
    # A corner between speeds of at most 2 / shortest, spread by a Gaussian of width shortest / 4.
    bound = 4 / shortest / (np.sqrt(2 * np.pi) * shortest / 4)
    assert np.abs(np.diff(motion, 2, axis=0)).max(initial=0) < 1.6 * bound


def test_paths_move_pause_and_repeat():
    motions = np.stack([path(seed) for seed in range(20)])
    speed = np.linalg.norm(np.diff(motions, axis=1), axis=-1)
    assert 0.02 < np.median(speed) < 0.15
    assert 0.02 < (speed < 3e-3).mean() < 0.3
    assert np.quantile(speed, 0.95) > 2 * np.median(speed)
    np.testing.assert_array_equal(motions[4], path(4))


@pytest.fixture(scope="module")
def samplers(hand):
    return {view: SceneSampler(hand, "val", view) for view in ("wide", "narrow")}


def test_what_is_one_persons_stays(samplers):
    scenes = moving_scene(np.random.default_rng(2), samplers["wide"], 20)
    for name in ("shape", "skin", "focal", "forearm", "sleeve"):
        value = getattr(scenes, name)
        assert (value == value[:1]).all(), name
    for name in ("pose", "view", "fill", "centre", "wrist_bend"):
        value = getattr(scenes, name)
        assert (value[1:] != value[:-1]).any(), name


def test_light_drifts_in_some_sequences(samplers):
    spreads = [
        moving_scene(np.random.default_rng(i), samplers["wide"], 60).light.std(0).max()
        for i in range(12)
    ]
    assert min(spreads) == pytest.approx(0, abs=1e-6)
    assert max(spreads) > 0.02


def test_narrow_sequences_stay_within_60_degrees(samplers):
    for seed in range(10):
        view = moving_scene(np.random.default_rng(seed), samplers["narrow"], 60).view
        traces = view.diagonal(dim1=1, dim2=2).sum(-1)
        assert torch.rad2deg(torch.arccos((traces.double() - 1) / 2)).max() < 60.01


def test_the_view_turns_smoothly(samplers):
    view = moving_scene(np.random.default_rng(1), samplers["wide"], 100).view.double()
    relative = view[1:] @ view[:-1].transpose(1, 2)
    traces = relative.diagonal(dim1=1, dim2=2).sum(-1)
    step = torch.rad2deg(torch.arccos(((traces - 1) / 2).clamp(-1, 1)))
    assert step.max() < 10
    assert step.median() > 0.2
