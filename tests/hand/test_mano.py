from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import smplx
import torch
from scipy.spatial.transform import Rotation
from smplx.utils import Struct

from fixtures.mano_pickles import write_mano_pickle
from s2hand.geometry.camera import project
from s2hand.geometry.skeleton import (
    JOINT_CONVENTIONS,
    JOINT_NAMES,
    MANO_PARENTS,
    TIPS,
    TO_COMMON,
    JointConvention,
)
from s2hand.hand.mano import ManoHead
from s2hand.hand.model_file import HandModel, load_hand_model
from s2hand.types import HandCode


def _code(*lead: int, num_pca: int = 30, seed: int = 0) -> HandCode:
    generator = torch.Generator().manual_seed(seed)

    def normal(size: int, spread: float = 1.0) -> torch.Tensor:
        return spread * torch.randn(*lead, size, generator=generator)

    return HandCode(
        pose=normal(num_pca),
        shape=normal(10),
        scale=1 + 0.1 * normal(1),
        rotation=normal(3),
        translation=normal(3, 0.1) + torch.tensor([0, 0, 0.65]),
        texture=torch.zeros(*lead, 778, 3),
        light=torch.zeros(*lead, 11),
    )


def _zero_code(*lead: int, num_pca: int = 30) -> HandCode:
    code = _code(*lead, num_pca=num_pca).map(torch.zeros_like)
    return replace(
        code,
        scale=torch.ones(*lead, 1),
        translation=torch.tensor([0, 0, 0.65]).expand(*lead, 3),
    )


@pytest.fixture(scope="module")
def model():
    return load_hand_model()


@pytest.fixture(scope="module")
def head(model):
    return ManoHead(model)


def _smplx(model, **options) -> smplx.MANO:
    arrays = {
        "f": model.faces,
        "kintree_table": np.stack([model.parents, np.arange(16)]),
        **{
            key: getattr(model, key)
            for key in ("v_template", "weights", "shapedirs", "posedirs", "J_regressor")
        },
        "hands_components": model.hands_components,
        "hands_mean": model.hands_mean,
    }
    return smplx.MANO("", data_struct=Struct(**arrays), **options)


def _model_space(model, code: HandCode) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and 16 chain joints by smplx's own PCA route, wrist unturned."""
    plain = _smplx(model, use_pca=True, num_pca_comps=code.pose.shape[-1])
    zero = torch.zeros(len(code.pose), 3)
    out = plain(betas=code.shape, global_orient=zero, hand_pose=code.pose, transl=zero)
    return out.vertices.detach().numpy(), out.joints.detach().numpy()


def _placed(points: np.ndarray, code: HandCode) -> np.ndarray:
    """s R H x + T with scipy's rotations."""
    turn = Rotation.from_rotvec(code.rotation.numpy()) * Rotation.from_rotvec([np.pi, 0, 0])
    rotated = np.einsum("nab,npb->npa", turn.as_matrix(), points)
    return code.scale.numpy()[:, None] * rotated + code.translation.numpy()[:, None]


@pytest.mark.parametrize("name", ["ho3d", "smplx", "manopth"])
def test_chain_conventions_are_smplx_placed_by_the_papers_equation(model, name):
    code = _code(4)
    hand = ManoHead(model, convention=name)(code)
    vertices, joints = _model_space(model, code)
    np.testing.assert_allclose(hand.vertices.numpy(), _placed(vertices, code), atol=2e-6)
    tips = vertices[:, list(JOINT_CONVENTIONS[name].tips)]
    common = np.concatenate([joints, tips], 1)[:, list(TO_COMMON["mano"])]
    np.testing.assert_allclose(hand.joints.numpy(), _placed(common, code), atol=2e-6)


def test_freihand_takes_the_regressors_joints_of_the_posed_mesh(model, head):
    hand = head(_code(4))
    inner = np.einsum("jv,nvc->njc", model.J_regressor, hand.vertices.numpy())
    tips = hand.vertices[:, [744, 320, 443, 555, 672]].numpy()
    common = np.concatenate([inner, tips], 1)[:, list(TO_COMMON["mano"])]
    np.testing.assert_allclose(hand.joints.numpy(), common, atol=2e-6)
    chain = ManoHead(model, convention="ho3d")(_code(4)).joints
    apart = (chain - hand.joints).norm(dim=-1)
    assert apart.max() > 1e-3  # the conventions are millimetres apart, and not interchangeable


def test_joints_come_in_the_common_order(head):
    joints = dict(zip(JOINT_NAMES, head(_zero_code(1)).joints[0], strict=True))
    for finger in ("thumb", "index", "middle", "ring", "little"):
        reach = [(joints[f"{finger}_{k}"] - joints["wrist"]).norm() for k in (1, 2, 3)]
        assert reach == sorted(reach)
    across = [joints[f"{f}_1"][2] for f in ("thumb", "index", "middle", "ring", "little")]
    assert across[1:] == sorted(across[1:])  # the half turn brings the thumb's side to the camera


def test_a_convention_may_be_given_by_value_and_must_exist(model):
    own = JointConvention("chain", (1, 2, 3, 4, 5))
    hand = ManoHead(model, convention=own)(_code(1))
    torch.testing.assert_close(hand.joints[0, list(TIPS)], hand.vertices[0, 1:6])
    with pytest.raises(ValueError, match="no joint convention 'mediapipe'; known: freihand"):
        ManoHead(model, convention="mediapipe")


def test_a_zero_code_is_a_hand_lying_to_the_left_back_up_thumb_to_the_camera(head):
    hand = head(_zero_code(1, 1))
    K = torch.tensor([[480.0, 0, 112], [0, 480, 112], [0, 0, 1]]).expand(1, 1, 3, 3)
    pixels = dict(zip(JOINT_NAMES, project(hand.joints, K)[0, 0], strict=True))
    assert all(((p >= 0) & (p < 224)).all() for p in pixels.values())
    assert pixels["middle_1"][0] < pixels["wrist"][0] - 50  # fingers to the left
    assert pixels["middle_4"][1] > pixels["middle_1"][1] + 10  # they curl down: the back is up
    depth = dict(zip(JOINT_NAMES, hand.joints[0, 0, :, 2], strict=True))
    assert depth["thumb_4"] < depth["index_1"] < depth["little_1"]
    torch.testing.assert_close(
        hand.quaternions[0, 0, 0], torch.tensor([0.0, 1.0, 0.0, 0.0]), atol=1e-7, rtol=0
    )


def test_without_the_half_turn_the_hand_would_lie_on_its_back(head):
    undo = replace(_zero_code(1), rotation=torch.tensor([[torch.pi, 0, 0]]))
    joints = head(undo).joints[0]
    assert joints[12, 1] < joints[9, 1] - 0.01


def test_quaternions_rebuild_the_chain_with_the_mean_pose_in_them(model):
    code = _code(3)
    hand = ManoHead(model, convention="smplx")(code)
    assert hand.quaternions.shape == (3, 16, 4)
    turns = Rotation.from_quat(hand.quaternions.reshape(-1, 4).numpy(), scalar_first=True)
    local = turns.as_matrix().reshape(3, 16, 3, 3)
    shaped = model.v_template + np.einsum("nk,vck->nvc", code.shape.numpy(), model.shapedirs)
    rest = np.einsum("jv,nvc->njc", model.J_regressor, shaped)
    common = [TO_COMMON["mano"].index(j) for j in range(16)]
    joints = hand.joints[:, common].numpy()
    for n in range(3):
        world = [local[n, 0]]
        for j, parent in enumerate(MANO_PARENTS[1:], start=1):
            bone = code.scale[n].numpy() * (world[parent] @ (rest[n, j] - rest[n, parent]))
            np.testing.assert_allclose(joints[n, j] - joints[n, parent], bone, atol=2e-6)
            world.append(world[parent] @ local[n, j])


def test_the_origin_of_scale_and_rotation_is_the_files_origin(model, head):
    np.testing.assert_allclose(model.v_template.mean(0), 0, atol=1e-6)
    base, other = _zero_code(1), _zero_code(1)
    other = replace(other, rotation=torch.tensor([[0.3, -0.8, 0.5]]), scale=torch.tensor([[1.4]]))
    before = head(base).vertices[0] - base.translation
    after = head(other).vertices[0] - other.translation
    torch.testing.assert_close(after.norm(dim=-1), 1.4 * before.norm(dim=-1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (1, 2, 2)])
def test_any_leading_dimensions_mean_the_same(head, lead):
    code = _code(*lead)
    hand = head(code)
    assert hand.vertices.shape == (*lead, 778, 3)
    assert hand.joints.shape == (*lead, 21, 3)
    assert hand.quaternions.shape == (*lead, 16, 4)
    assert hand.code is code
    flat = head(code.map(lambda x: x.reshape(-1, *x.shape[len(lead) :])))
    torch.testing.assert_close(hand.vertices.reshape(-1, 778, 3), flat.vertices)


def test_flat_hand_mean_poses_from_the_rest_hand(model):
    flat = ManoHead(model, flat_hand_mean=True)(_zero_code(1))
    rest = model.v_template * [1, -1, -1] + [0, 0, 0.65]
    np.testing.assert_allclose(flat.vertices[0].numpy(), rest, atol=2e-6)


# What smplx does silently, and the head must not.


def test_45_components_are_still_components(model):
    code = _code(2, num_pca=45)
    assert not _smplx(model, use_pca=True, num_pca_comps=45).use_pca  # the trap is still there
    full = ManoHead(model, num_pca=45)(code)
    pose = code.pose.double().numpy() @ model.hands_components + model.hands_mean
    plain = _smplx(model, use_pca=False, flat_hand_mean=True)
    zero = torch.zeros(2, 3)
    out = plain(
        betas=code.shape,
        global_orient=zero,
        hand_pose=torch.from_numpy(pose).float(),
        transl=zero,
    )
    expected = _placed(out.vertices.detach().numpy(), code)
    np.testing.assert_allclose(full.vertices.detach().numpy(), expected, atol=5e-6)


def test_nothing_can_be_trained(model, head):
    assert len(list(_smplx(model).parameters())) > 0  # smplx registers pose, betas, body pose
    assert list(head.parameters()) == []


def test_checkpoints_hold_nothing_of_the_hand_and_load_strictly(head):
    assert head.state_dict() == {}
    parent = torch.nn.ModuleDict({"hand": head, "other": torch.nn.Linear(1, 1)})
    assert set(parent.state_dict()) == {"other.weight", "other.bias"}
    assert parent.load_state_dict(parent.state_dict(), strict=True)


def test_loading_prints_nothing(model, capsys):
    _smplx(model)
    assert "shape coefficients" in capsys.readouterr().out  # the trap is still there
    ManoHead(model)
    assert capsys.readouterr() == ("", "")


def test_buffers_follow_the_module(model):
    double = ManoHead(model).double()
    code = _code(2)
    hand = double(code)
    assert hand.vertices.dtype == torch.float64
    torch.testing.assert_close(hand.vertices.float(), ManoHead(model)(code).vertices)


def test_mixed_precision_does_not_move_the_hand(head):
    code = _code(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hand = head(replace(code, pose=code.pose.to(torch.bfloat16)))
    exact = head(replace(code, pose=code.pose.to(torch.bfloat16).float()))
    assert hand.vertices.dtype == torch.float32
    torch.testing.assert_close(hand.vertices, exact.vertices)


@pytest.mark.parametrize("flat", [True, False])
def test_gradients_are_finite_at_a_zero_code(model, flat):
    code = _zero_code(2, 2).map(lambda x: x.clone().requires_grad_())
    hand = ManoHead(model, flat_hand_mean=flat)(code)
    total = hand.vertices.square().sum() + hand.joints.sum() + hand.quaternions.square().sum()
    (total + hand.quaternions[..., 1].sum()).backward()
    for name in ("pose", "shape", "scale", "rotation", "translation"):
        gradient = getattr(code, name).grad
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().sum() > 0, name


def test_gradients_agree_with_differences(model):
    head = ManoHead(model, num_pca=3, convention="ho3d").double()
    code = _code(1, num_pca=3).to(torch.float64)

    def sample(pose, shape, scale, rotation):
        varied = replace(code, pose=pose, shape=shape, scale=scale, rotation=rotation)
        return head(varied).vertices[0, ::97]

    inputs = [
        x.clone().requires_grad_() for x in (code.pose, code.shape, code.scale, code.rotation)
    ]
    assert torch.autograd.gradcheck(sample, inputs, atol=1e-6)


def test_pca_coefficients_undo_the_pose(model, head):
    code = _code(6)
    fingers = code.pose.double().numpy() @ model.hands_components[:30] + model.hands_mean
    found = head.pca_coefficients(torch.from_numpy(fingers).float())
    torch.testing.assert_close(found, code.pose, atol=1e-4, rtol=0)
    flat = ManoHead(model, flat_hand_mean=True)
    torch.testing.assert_close(flat.pca_coefficients(torch.zeros(45)), torch.zeros(30))


def test_natural_poses_are_the_files_own(model, head, tmp_path):
    np.testing.assert_allclose(head.natural_poses.numpy(), model.hands_coeffs[:, :30], atol=1e-6)
    assert head.albedo.shape == (778, 3)
    bare = ManoHead(replace(model, hands_coeffs=None, albedo=None))
    assert bare.natural_poses is None
    assert bare.albedo is None


def test_a_path_and_the_models_name_travel_along(model, tmp_path):
    head = ManoHead(write_mano_pickle(model, tmp_path / "MANO_RIGHT.pkl"))
    assert (head.name, head.side) == ("MANO_RIGHT", "right")
    assert head.fingerprint == model.fingerprint
    assert head.faces.dtype == torch.int64


def test_wrong_widths_are_named(model, head):
    with pytest.raises(ValueError, match="pose has 45 coefficients, this hand takes 30"):
        head(_code(1, num_pca=45))
    with pytest.raises(ValueError, match="num_pca=46"):
        ManoHead(model, num_pca=46)


def test_natural_poses_are_the_same_hands_with_a_flat_zero() -> None:
    mean, flat = ManoHead(num_pca=45), ManoHead(num_pca=45, flat_hand_mean=True)
    assert mean.natural_poses is not None
    assert flat.natural_poses is not None
    rows = [0, 700]
    posed = [
        head(replace(_code(len(rows), num_pca=45), pose=head.natural_poses[rows])).vertices
        for head in (mean, flat)
    ]
    torch.testing.assert_close(posed[0], posed[1], atol=1e-5, rtol=0)


def test_the_rest_hand_is_shaped_but_not_placed(model: HandModel, head: ManoHead) -> None:
    shape = torch.linspace(-2, 2, 10)
    vertices, joints = head.rest(shape)
    expected = model.v_template + model.shapedirs @ shape.double().numpy()
    np.testing.assert_allclose(vertices.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(joints.numpy(), model.J_regressor @ expected, atol=1e-6)
    flat = ManoHead(model, convention="smplx", flat_hand_mean=True)
    turned_back = replace(
        _zero_code(1), rotation=torch.tensor([[-torch.pi, 0, 0]]), shape=shape[None]
    )
    posed = flat(turned_back)
    inner = [TO_COMMON["mano"].index(joint) for joint in range(16)]
    away = turned_back.translation
    torch.testing.assert_close(posed.vertices[0] - away, vertices, atol=2e-6, rtol=0)
    torch.testing.assert_close(posed.joints[0, inner] - away, joints, atol=2e-6, rtol=0)
    np.testing.assert_allclose(head.skin_weights.numpy(), model.weights, atol=1e-7)
    assert head.parents == MANO_PARENTS
