from collections import Counter

import numpy as np
import pytest
import torch

from fixtures.meshes import boundary_edges
from s2hand.data.synthetic.forearm import Forearm, open_loop
from s2hand.data.synthetic.scene import Scene, SceneSampler, zero_code


@pytest.fixture(scope="module")
def forearm(hand):
    return Forearm(hand.faces.numpy(), 778)


@pytest.fixture(scope="module")
def scenes(hand):
    sampler = SceneSampler(hand, "train", "wide")
    scenes = Scene.stack([sampler.sample(np.random.default_rng(i)) for i in range(4)])
    scenes.forearm[:] = torch.tensor(
        [[0.35, 1.0, 1.2], [0.0, 1.0, 1.2], [0.35, 0.3, 1.2], [0.0, 0.3, 1.2]]
    )
    return scenes


def extended(hand, forearm, scenes):
    posed = hand(zero_code(hand.num_pca))
    vertices = posed.vertices.expand(4, -1, -1)
    return posed, *forearm.extend(vertices, posed.joints.expand(4, -1, -1), scenes)


def areas(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    corners = vertices[faces]
    return (
        torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(
            dim=-1
        )
        / 2
    )


def test_the_loop_runs_round_the_wrist_along_its_faces(hand):
    loop = open_loop(hand.faces.numpy())
    expected = {tuple(edge) for edge in boundary_edges(hand.faces.numpy())}
    assert {tuple(sorted(edge)) for edge in zip(loop, np.roll(loop, -1), strict=True)} == expected
    assert len(loop) == 16


def test_meshes_without_one_opening_are_refused():
    closed = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    with pytest.raises(ValueError, match="0 open edges"):
        open_loop(closed)
    with pytest.raises(ValueError, match="6 open edges"):
        open_loop(np.array([[0, 1, 2], [3, 4, 5]]))


def test_hand_and_arm_are_one_closed_oriented_surface(hand, forearm):
    around, cloth = len(forearm.loop), 2 * 5 * len(forearm.loop)
    skin = forearm.faces[: len(forearm.faces) - cloth]
    assert len(skin) == len(hand.faces) + 2 * 6 * around + around
    edges = torch.cat([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]]).tolist()
    directed = Counter(map(tuple, edges))
    assert set(directed.values()) == {1}
    assert all((b, a) in directed for a, b in directed)


def test_the_arm_leaves_the_wrist_away_from_the_hand(hand, forearm, scenes):
    posed, vertices, colours = extended(hand, forearm, scenes)
    assert vertices.shape == colours.shape
    torch.testing.assert_close(vertices[:, :778], posed.vertices.expand(4, -1, -1))
    middle, wrist = posed.joints[0, 9], posed.vertices[0, forearm.loop].mean(0)
    end = vertices[0, 778:][-17 - 96 : -96].mean(0)
    assert (end - wrist).norm() == pytest.approx(0.35, rel=0.2)
    assert (end - wrist) @ (wrist - middle) > 0.15 * (wrist - middle).norm()
    corners = vertices[0][forearm.faces[len(hand.faces) :][:192]]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = (
        wrist
        + ((corners.mean(1) - wrist) @ (end - wrist))[:, None]
        * (end - wrist)
        / (end - wrist).square().sum()
    )
    assert ((normals * (corners.mean(1) - axis)).sum(-1) > 0).float().mean() > 0.9


def test_what_a_scene_lacks_has_no_area(hand, forearm, scenes):
    _, vertices, _ = extended(hand, forearm, scenes)
    size = [areas(v, forearm.faces) for v in vertices]
    hand_faces, arm_faces = len(hand.faces), 2 * 6 * 16
    arm = [s[hand_faces : hand_faces + arm_faces].sum() for s in size]
    cap = [s[hand_faces + arm_faces : hand_faces + arm_faces + 16].sum() for s in size]
    sleeve = [s[hand_faces + arm_faces + 16 :].sum() for s in size]
    assert arm[0] > 0.03
    assert arm[1] < 1e-6
    assert min(cap) > 1e-3
    assert sleeve[0] < 1e-6
    assert sleeve[1] < 1e-6
    assert sleeve[2] > 0.03
    assert sleeve[3] < 1e-6
    arm_end, sleeve_end = vertices[2, 778 + 5 * 16 : 778 + 6 * 16], vertices[2, -16:]
    centre = arm_end.mean(0)
    torch.testing.assert_close(sleeve_end - centre, 1.2 * (arm_end - centre), atol=1e-5, rtol=0)


def test_arm_and_sleeve_have_their_colours(hand, forearm, scenes):
    _, _, colours = extended(hand, forearm, scenes)
    torch.testing.assert_close(colours[:, :778], scenes.skin)
    expected = scenes.skin[:, forearm.loop].mean(1)
    torch.testing.assert_close(colours[:, 778], expected)
    torch.testing.assert_close(colours[:, -1], scenes.sleeve)


def test_the_wrist_bends(hand, forearm, scenes):
    straight, bent = scenes.map(torch.clone), scenes.map(torch.clone)
    straight.wrist_bend[:] = 0
    bent.wrist_bend[:] = torch.tensor([0.7, 0.0])
    _, a, _ = extended(hand, forearm, straight)
    posed, b, _ = extended(hand, forearm, bent)
    wrist = posed.vertices[0, forearm.loop].mean(0)
    ends = [v[0, 778 + 96] - wrist for v in (a, b)]
    angle = torch.arccos(torch.nn.functional.cosine_similarity(*ends, dim=0))
    assert 0.5 < angle < 0.7
