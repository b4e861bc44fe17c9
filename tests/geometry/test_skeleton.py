"""Joint orders, bones and conventions, against the published permutations."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2hand.geometry.skeleton import (
    BONES,
    FINGERS,
    JOINT_CONVENTIONS,
    JOINT_NAMES,
    MANO_FINGERS,
    MANO_PARENTS,
    PARENTS,
    TIPS,
    TO_COMMON,
    JointConvention,
    bone_lengths,
    bone_vectors,
    inverse_order,
)


@given(st.permutations(range(21)))
def test_an_order_is_undone_by_its_inverse(permutation: list[int]) -> None:
    source = [f"joint {i}" for i in range(21)]
    common = [source[i] for i in permutation]
    assert [common[i] for i in inverse_order(permutation)] == source


@pytest.mark.parametrize("name", TO_COMMON)
def test_every_order_is_a_permutation(name: str) -> None:
    assert sorted(TO_COMMON[name]) == list(range(21))


def test_the_way_back_to_ho3d_is_the_published_one() -> None:
    published = (0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20)
    assert inverse_order(TO_COMMON["ho3d"]) == published


def test_named_orders_put_every_joint_in_its_place() -> None:
    def fingers(order: str, per_finger: list[int]) -> list[str]:
        return [f"{finger}_{k}" for finger in order.split() for k in per_finger]

    outward, inward = [1, 2, 3, 4], [4, 3, 2, 1]
    sources = {
        "rhd": ["wrist", *fingers("thumb index middle ring little", inward)],
        "stb": ["wrist", *fingers("little ring middle index thumb", outward)],
        "interhand": [*fingers("thumb index middle ring little", inward), "wrist"],
        "mano": [
            "wrist",
            *fingers("index middle little ring thumb", [1, 2, 3]),
            *fingers("thumb index middle ring little", [4]),
        ],
    }
    sources["ho3d"] = sources["mano"]
    for name, source in sources.items():
        assert tuple(source[i] for i in TO_COMMON[name]) == JOINT_NAMES


def test_both_kinematic_trees_are_one() -> None:
    """A MANO joint's parent in MANO is its parent in the common order."""
    to_common = {mano: common for common, mano in enumerate(TO_COMMON["mano"])}
    for joint, parent in enumerate(MANO_PARENTS):
        if parent >= 0:
            assert PARENTS[to_common[joint]] == to_common[parent]
    assert set(MANO_FINGERS) == set(FINGERS)


def test_bones_lead_from_the_wrist_to_the_tips() -> None:
    assert len(BONES) == 20
    assert sorted(child for _, child in BONES) == list(range(1, 21))
    parents = {parent for parent, _ in BONES}
    assert [joint for joint in range(21) if joint not in parents] == list(TIPS)
    assert [JOINT_NAMES[tip] for tip in TIPS] == [f"{finger}_4" for finger in FINGERS]


def test_bone_vectors_add_up_to_the_tips() -> None:
    joints = torch.randn(2, 5, 21, 3, generator=torch.Generator().manual_seed(0))
    vectors = bone_vectors(joints)
    assert vectors.shape == (2, 5, 20, 3)
    for finger, tip in enumerate(TIPS):
        path = vectors[..., 4 * finger : 4 * finger + 4, :].sum(-2)
        torch.testing.assert_close(path, joints[..., tip, :] - joints[..., 0, :])
    torch.testing.assert_close(bone_lengths(joints), vectors.norm(dim=-1))
    assert bone_lengths(joints[..., :2]).shape == (2, 5, 20)


def test_conventions_by_name() -> None:
    assert JointConvention.preset("freihand").inner == "regressor"
    assert JointConvention.preset("ho3d").tips == (744, 333, 444, 555, 672)
    assert all(JointConvention.preset(name) is c for name, c in JOINT_CONVENTIONS.items())
    with pytest.raises(ValueError, match=r"'mano'; known: freihand, ho3d"):
        JointConvention.preset("mano")


def test_a_wrong_convention_is_refused() -> None:
    good = JointConvention.preset("freihand")
    with pytest.raises(ValueError, match=r"'rest'.*'chain' or 'regressor'"):
        dataclasses.replace(good, inner="rest")  # type: ignore[arg-type]
    for tips in ((1, 2, 3, 4), (1, 2, 3, 4, 778)):
        with pytest.raises(ValueError, match=r"five vertex ids in 0\.\.777"):
            dataclasses.replace(good, tips=tips)  # type: ignore[arg-type]
