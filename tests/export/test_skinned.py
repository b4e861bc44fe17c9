"""The animated hand, read back and posed by a player of its own, against the hand layer's."""

from __future__ import annotations

import logging
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from fixtures.gltf import Glb
from fixtures.hands import varied_code
from s2hand.export.mirror import mirror_faces, mirror_hand
from s2hand.export.motion import Motion
from s2hand.export.skinned import write_animation
from s2hand.geometry.skeleton import TO_COMMON
from s2hand.hand.mano import ManoHead
from s2hand.hand.model_file import load_hand_model
from s2hand.types import Hand

FRAMES = 7
TIMES = np.array([0.0, 0.033, 0.071, 0.1, 0.5, 0.52, 0.6])
TO_GLTF = np.array([1.0, -1.0, -1.0])
INNER = [TO_COMMON["mano"].index(joint) for joint in range(16)]
TOLERANCE = 1e-4  # metres
MOTION = {field.name for field in fields(Motion)}


@pytest.fixture(scope="module")
def head() -> ManoHead:
    """The open hand without its pose correctives: linear blend skinning and nothing else."""
    model = load_hand_model()
    return ManoHead(replace(model, posedirs=0 * model.posedirs), convention="smplx")


@pytest.fixture(scope="module")
def hand(head: ManoHead) -> Hand:
    texture = torch.rand(1, 1, 778, 3, generator=torch.Generator().manual_seed(1))
    return head(replace(varied_code(FRAMES), texture=texture.expand(1, FRAMES, 778, 3)))


@pytest.fixture
def arguments(head: ManoHead, hand: Hand) -> dict[str, Any]:
    vertices, joints = head.rest(hand.code.shape[0, 0])
    motion = Motion(
        joints.numpy(), head.parents, TIMES, hand.quaternions[0].numpy(),
        hand.code.translation[0].numpy(), 1.13,
    )  # fmt: skip
    return {
        "motion": motion,
        "vertices": vertices.numpy(),
        "weights": head.skin_weights.numpy(),
        "faces": head.faces.numpy(),
        "colors": hand.code.texture[0, 0].numpy(),
    }


@pytest.fixture
def glb(tmp_path: Path, arguments: dict[str, Any]) -> Glb:
    write_animation(tmp_path / "hand.glb", **arguments)
    return Glb(tmp_path / "hand.glb")


def test_it_is_posed_as_the_hand_layer_poses_it(glb: Glb, hand: Hand) -> None:
    vertices, joints = hand.vertices[0].numpy(), hand.joints[0, :, INNER].numpy()
    for k, time in enumerate(TIMES):
        np.testing.assert_allclose(glb.vertices(time), vertices[k] * TO_GLTF, atol=TOLERANCE)
        np.testing.assert_allclose(glb.joints(time), joints[k] * TO_GLTF, atol=TOLERANCE)
    np.testing.assert_allclose(glb.vertices(None), vertices[0] * TO_GLTF, atol=TOLERANCE)
    assert np.abs(glb.vertices(TIMES[0]) - glb.vertices(TIMES[1])).max() > 0.05


def test_pose_correctives_are_what_it_leaves_out(glb: Glb, hand: Hand) -> None:
    full = ManoHead(convention="smplx")(hand.code).vertices[0, 0].numpy() * TO_GLTF
    assert np.abs(glb.vertices(TIMES[0]) - full).max() > 10 * TOLERANCE


def test_a_left_hand_is_what_is_mirrored(
    tmp_path: Path, arguments: dict[str, Any], hand: Hand, head: ManoHead
) -> None:
    mirrored, flip = mirror_hand(hand), np.array([-1.0, 1.0, 1.0])
    left = {
        "motion": replace(
            arguments["motion"],
            joints=arguments["motion"].joints * flip,
            quaternions=mirrored.quaternions[0].numpy(),
            translations=mirrored.code.translation[0].numpy(),
        ),
        "vertices": arguments["vertices"] * flip,
        "faces": mirror_faces(head.faces).numpy(),
    }
    write_animation(tmp_path / "left.glb", **{**arguments, **left})
    write_animation(tmp_path / "right.glb", **arguments)
    glb, right = Glb(tmp_path / "left.glb"), Glb(tmp_path / "right.glb")
    for k, time in enumerate(TIMES):
        expected = mirrored.vertices[0, k].numpy() * TO_GLTF
        np.testing.assert_allclose(glb.vertices(time), expected, atol=TOLERANCE)
    for file in (glb, right):
        faces = file.array(file.primitive["indices"]).reshape(-1, 3)
        assert trimesh.Trimesh(file.vertices(0.0), faces, process=False).volume > 0
        assert (file.attribute("NORMAL") * file.attribute("POSITION")).sum() > 0
    np.testing.assert_allclose(glb.attribute("NORMAL"), right.attribute("NORMAL") * flip, atol=1e-6)


def test_between_keys_it_takes_the_shorter_turn(tmp_path: Path, arguments: dict[str, Any]) -> None:
    """Signs of quaternions mean nothing, but a viewer that blends four numbers sees them."""
    signs = np.where(np.random.default_rng(0).random((FRAMES, 16, 1)) < 0.5, -1.0, 1.0)
    write_animation(tmp_path / "a.glb", **arguments)
    motion = arguments["motion"]
    other = replace(motion, quaternions=signs * motion.quaternions)
    write_animation(tmp_path / "b.glb", **{**arguments, "motion": other})
    a, b = Glb(tmp_path / "a.glb"), Glb(tmp_path / "b.glb")
    (animation,) = b.tree["animations"]
    turns = [c for c in animation["channels"] if c["target"]["path"] == "rotation"]
    assert len(turns) == 16
    for channel in turns:
        q = b.array(animation["samplers"][channel["sampler"]]["output"])
        assert ((q[1:] * q[:-1]).sum(-1) >= 0).all()
        np.testing.assert_allclose(np.linalg.norm(q, axis=-1), 1, atol=1e-6)
    for time in (0.0, 0.05, 0.3, 0.6):
        np.testing.assert_allclose(a.vertices(time), b.vertices(time), atol=1e-6)


def test_one_frame_is_enough(tmp_path: Path, arguments: dict[str, Any], hand: Hand) -> None:
    keys = ("times", "quaternions", "translations")
    one = {key: getattr(arguments["motion"], key)[3:4] for key in keys}
    write_animation(
        tmp_path / "one.glb", **{**arguments, "motion": replace(arguments["motion"], **one)}
    )
    vertices = Glb(tmp_path / "one.glb").vertices(0.1)
    np.testing.assert_allclose(vertices, hand.vertices[0, 3].numpy() * TO_GLTF, atol=TOLERANCE)


class TestFormat:
    """What the glTF 2.0 text asks of a file, as viewers rely on it."""

    def test_numbers_are_aligned_and_fill_the_buffer(self, glb: Glb) -> None:
        (buffer,) = glb.tree["buffers"]
        assert "uri" not in buffer
        assert 0 <= len(glb.binary) - buffer["byteLength"] <= 3
        end = 0
        for view in glb.tree["bufferViews"]:
            assert view["byteOffset"] % 4 == 0
            assert end <= view["byteOffset"] <= end + 3
            end = view["byteOffset"] + view["byteLength"]
        assert end <= buffer["byteLength"]
        for i in range(len(glb.tree["accessors"])):
            assert glb.array(i).size

    def test_buffer_views_say_what_they_are_for(self, glb: Glb) -> None:
        def targets(accessors: list[int]) -> set[int | None]:
            views = [glb.tree["accessors"][a]["bufferView"] for a in accessors]
            return {glb.tree["bufferViews"][view].get("target") for view in views}

        (skin,), (animation,) = glb.tree["skins"], glb.tree["animations"]
        attributes = list(glb.primitive["attributes"].values())
        assert targets(attributes) == {34962}  # ARRAY_BUFFER
        assert targets([glb.primitive["indices"]]) == {34963}  # ELEMENT_ARRAY_BUFFER
        keys = [s[end] for s in animation["samplers"] for end in ("input", "output")]
        assert targets([*keys, skin["inverseBindMatrices"]]) == {None}
        for accessor in attributes:  # rows of vertices begin at multiples of 4 bytes
            assert glb.array(accessor).strides[0] % 4 == 0

    def test_bounds_are_stated_and_true(self, glb: Glb) -> None:
        (animation,) = glb.tree["animations"]
        position = glb.primitive["attributes"]["POSITION"]
        for accessor in {position, *(s["input"] for s in animation["samplers"])}:
            values = glb.array(accessor).reshape(-1, 3 if accessor == position else 1)
            about = glb.tree["accessors"][accessor]
            assert about["min"] == values.min(0).tolist()
            assert about["max"] == values.max(0).tolist()
        np.testing.assert_array_equal(
            glb.array(animation["samplers"][0]["input"]), TIMES.astype(np.float32)
        )

    def test_types_are_those_of_the_text(self, glb: Glb) -> None:
        def kind(accessor: int) -> tuple[int, str, bool]:
            about = glb.tree["accessors"][accessor]
            return about["componentType"], about["type"], about.get("normalized", False)

        found = {name: kind(a) for name, a in glb.primitive["attributes"].items()}
        assert found == {
            "POSITION": (5126, "VEC3", False),
            "NORMAL": (5126, "VEC3", False),
            "COLOR_0": (5121, "VEC4", True),
            "JOINTS_0": (5121, "VEC4", False),
            "WEIGHTS_0": (5126, "VEC4", False),
        }
        assert kind(glb.primitive["indices"]) == (5123, "SCALAR", False)
        (animation,) = glb.tree["animations"]
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            widths = {"rotation": "VEC4", "translation": "VEC3"}
            assert kind(sampler["output"]) == (5126, widths[channel["target"]["path"]], False)
            assert kind(sampler["input"]) == (5126, "SCALAR", False)
            assert len(glb.array(sampler["output"])) == FRAMES
        targets = [tuple(c["target"].values()) for c in animation["channels"]]
        assert len(set(targets)) == len(targets) == 17

    def test_weights_sum_to_one_and_unused_joints_are_zero(
        self, glb: Glb, arguments: dict[str, Any]
    ) -> None:
        ids, weights = glb.attribute("JOINTS_0"), glb.attribute("WEIGHTS_0")
        # The tolerance of Khronos' validator, for each influence.
        assert (np.abs(weights.astype(np.float64).sum(1) - 1) <= 2e-7).all()
        assert (ids[weights == 0] == 0).all()
        full = np.zeros((778, 16))
        np.add.at(full, (np.arange(778)[:, None], ids), weights)
        np.testing.assert_allclose(full, arguments["weights"], atol=1e-6)

    def test_the_tree_has_one_skeleton_and_the_mesh_beside_it(self, glb: Glb) -> None:
        nodes, (skin,) = glb.tree["nodes"], glb.tree["skins"]
        (scene,) = glb.tree["scenes"]
        children = [child for node in nodes for child in node.get("children", ())]
        assert sorted([*children, *scene["nodes"]]) == list(range(len(nodes)))
        (mesh,) = (i for i, node in enumerate(nodes) if "mesh" in node)
        assert mesh in scene["nodes"]
        assert nodes[mesh]["skin"] == 0
        assert len(set(skin["joints"])) == 16
        assert len({node["name"] for node in nodes}) == len(nodes)
        binds = glb.array(skin["inverseBindMatrices"])
        np.testing.assert_array_equal(binds[:, [3, 7, 11, 15]], np.tile([0, 0, 0, 1], (16, 1)))

    def test_colours_are_linear_light_on_skin(self, glb: Glb, arguments: dict[str, Any]) -> None:
        colors = glb.attribute("COLOR_0") / 255
        # The power law is within a hundredth of sRGB's curve.
        np.testing.assert_allclose(colors[:, :3], arguments["colors"] ** 2.2, atol=0.012)
        assert (colors[:, 3] == 1).all()
        material = glb.tree["materials"][glb.primitive["material"]]
        assert material["pbrMetallicRoughness"]["metallicFactor"] == 0

    def test_without_colours_it_is_grey(self, tmp_path: Path, arguments: dict[str, Any]) -> None:
        write_animation(tmp_path / "grey.glb", **{**arguments, "colors": None})
        assert len(np.unique(Glb(tmp_path / "grey.glb").attribute("COLOR_0")[:, :3])) == 1

    def test_trimesh_reads_it(self, tmp_path: Path, arguments: dict[str, Any]) -> None:
        write_animation(tmp_path / "hand.glb", **arguments)
        (mesh,) = trimesh.load(tmp_path / "hand.glb", process=False).geometry.values()
        np.testing.assert_allclose(mesh.vertices, 1.13 * arguments["vertices"], atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, arguments["faces"])


def test_it_says_what_it_is(tmp_path: Path, arguments: dict[str, Any]) -> None:
    write_animation(tmp_path / "a.glb", **arguments, about={"side": "left", "crop_px": 224})
    extras = Glb(tmp_path / "a.glb").tree["asset"]["extras"]
    assert extras["axes"].startswith("x right, y up, z backward")
    assert (extras["side"], extras["crop_px"]) == ("left", 224)


def test_a_vertex_on_many_joints_keeps_the_four_largest(
    tmp_path: Path, arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    weights = arguments["weights"].copy()
    weights[5] = 0
    weights[5, [1, 4, 7, 10, 13]] = [0.3, 0.25, 0.2, 0.15, 0.1]
    with caplog.at_level(logging.WARNING):
        write_animation(tmp_path / "a.glb", **{**arguments, "weights": weights})
    assert "1 of 778 vertices depend on more than 4 joints" in caplog.text
    glb = Glb(tmp_path / "a.glb")
    found = dict(zip(glb.attribute("JOINTS_0")[5], glb.attribute("WEIGHTS_0")[5], strict=True))
    assert found == pytest.approx({1: 0.3 / 0.9, 4: 0.25 / 0.9, 7: 0.2 / 0.9, 10: 0.15 / 0.9})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"times": TIMES[::-1]}, "times must increase"),
        ({"times": TIMES - 1}, "times must increase from 0"),
        ({"times": TIMES[:3]}, r"3 times, quaternions \(7, 16, 4\)"),
        ({"translations": np.full((FRAMES, 3), np.nan)}, "not finite"),
        ({"quaternions": np.zeros((FRAMES, 16, 4))}, "not a rotation"),
        ({"scale": 0.0}, r"scale=0\.0"),
        ({"weights": np.full((778, 16), np.nan)}, "weight is not finite"),
        ({"colors": np.zeros((5, 3))}, "5 colours for 778 vertices"),
        ({"faces": np.array([[0, 1, 778]])}, r"faces refer to vertices 0\.\.778"),
    ],
)
def test_errors_leave_no_file(
    tmp_path: Path, arguments: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    moved = {key: changed.pop(key) for key in MOTION & changed.keys()}
    arguments["motion"] = replace(arguments["motion"], **moved)
    with pytest.raises(ValueError, match=message):
        write_animation(tmp_path / "hand.glb", **{**arguments, **changed})
    with pytest.raises(ValueError, match=r"hand\.gltf: an animation is a \.glb"):
        write_animation(tmp_path / "hand.gltf", **arguments)
    assert os.listdir(tmp_path) == []
