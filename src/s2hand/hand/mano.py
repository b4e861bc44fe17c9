"""The MANO head: a code (pose, shape, scale, rotation, translation) to a posed hand."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import smplx
import torch
from jaxtyping import Bool, Float
from smplx.utils import Struct
from torch import Tensor, nn

from s2hand.geometry.rotation import (
    axis_angle_to_quaternion,
    quaternion_multiply,
    quaternion_to_matrix,
)
from s2hand.geometry.skeleton import TO_COMMON, JointConvention, indices
from s2hand.hand.anatomy import angle_limits, joint_angles, joint_frames
from s2hand.hand.model_file import HandModel, load_hand_model
from s2hand.types import Hand, HandCode

HALF_TURN = (0.0, 1.0, 0.0, 0.0)
"""Quaternion of the constant root rotation: pi about x (P)."""


class ManoHead(nn.Module):
    """``M' = s M(beta, theta) R + T`` (S: S2HAND) on any MANO-shaped model.

    M is smplx's MANO without a wrist rotation. Points are columns here: ``x' = s R H x + T``, where
    H is the constant half turn about x (P). Scale and rotation are about the origin of the model
    file's coordinates, as in the equation, not about the wrist. The origin is at the base of the
    fingers (the wrist is about 0.1 m away along +x), so T is the middle of the hand in camera
    space.

    A zero code (with T in front of the camera) is the mean pose with the fingers to the image's
    left, the back of the hand up and the thumb towards the camera: H maps the model's y-up axes to
    the camera's y-down ones; without it the hand would be on its back.

    The head has no parameters, and its ``state_dict`` is empty: MANO's licence keeps the file's
    arrays out of checkpoints, which name the model by ``fingerprint`` instead.

    >>> head = ManoHead("open")
    >>> code = HandCode(
    ...     pose=torch.zeros(1, 30), shape=torch.zeros(1, 10), scale=torch.ones(1, 1),
    ...     rotation=torch.zeros(1, 3), translation=torch.tensor([[0, 0, 0.6]]),
    ...     texture=torch.zeros(1, 778, 3), light=torch.ones(1, 11),
    ... )
    >>> hand = head(code)  # metres, camera space
    >>> hand.vertices.shape, hand.joints.shape
    (torch.Size([1, 778, 3]), torch.Size([1, 21, 3]))
    """

    faces: Tensor
    albedo: Tensor | None
    natural_poses: Tensor | None
    angle_limits: Tensor
    skin_weights: Tensor
    _frames: Tensor
    _components: Tensor
    _components_inverse: Tensor
    _mean: Tensor
    _half_turn: Tensor

    def __init__(
        self,
        model: HandModel | str | Path = "open",
        num_pca: int = 30,
        convention: str | JointConvention = "freihand",
        flat_hand_mean: bool = False,
    ) -> None:
        """Read the model once.

        Args:
            model: A :class:`HandModel`, ``"open"``, or the path of an .npz or MANO .pkl.
            num_pca: Pose coefficients, 1 to 45.
            convention: Which 21 points are the joints unless a call names a convention: a preset
                (freihand, ho3d, manopth, smplx) or a :class:`JointConvention`.
            flat_hand_mean: Whether poses are relative to the flat rest hand, not the mean pose.
        """
        super().__init__()
        if not 1 <= num_pca <= 45:
            raise ValueError(f"num_pca={num_pca}: a hand has 1 to 45 pose coefficients")
        model = model if isinstance(model, HandModel) else load_hand_model(model)
        if isinstance(convention, str):
            convention = JointConvention.preset(convention)
        self.name, self.side, self.fingerprint = model.name, model.side, model.fingerprint
        self.num_pca, self.convention = num_pca, convention
        self.flat_hand_mean = flat_hand_mean
        self.parents = tuple(model.parents.tolist())
        self._mano = _smplx_mano(model)

        components = model.hands_components[:num_pca]
        mean = np.zeros(45) if flat_hand_mean else model.hands_mean
        inverse = np.linalg.pinv(components)
        poses = model.hands_coeffs
        if poses is not None:
            # The file's rows are relative to its mean pose, whatever this head's zero pose is.
            poses = poses[:, :num_pca] + (model.hands_mean - mean) @ inverse
        constants = {
            "faces": model.faces,
            "albedo": model.albedo,
            "natural_poses": poses,
            "angle_limits": angle_limits().numpy(),
            "skin_weights": model.weights,
            "_frames": joint_frames(model),
            "_components": components,
            "_components_inverse": inverse,
            "_mean": mean,
            "_half_turn": np.array(HALF_TURN),
        }
        for name, array in constants.items():
            tensor = None if array is None else torch.as_tensor(array.copy())
            if tensor is not None and tensor.is_floating_point():
                tensor = tensor.float()
            self.register_buffer(name, tensor, persistent=False)

    def forward(
        self,
        code: HandCode,
        convention: str | None = None,
        left: Bool[Tensor, " *n"] | None = None,
    ) -> Hand:
        """Pose, shape and place the hand; any leading dimensions, metres in camera space.

        ``convention`` names a preset for this call's joints in place of the head's. Hands that are
        ``left`` (mirrored) get the preset's ``left_tips`` if it has them.
        """
        points = self.convention if convention is None else JointConvention.preset(convention)
        lead, width = code.pose.shape[:-1], code.pose.shape[-1]
        if width != self.num_pca:
            raise ValueError(f"pose has {width} coefficients, this hand takes {self.num_pca}")
        # Mixed precision would move vertices by millimetres.
        with torch.autocast(code.pose.device.type, enabled=False):
            pose, shape, scale, rotation, translation = (
                x.to(self._mean).reshape(-1, x.shape[-1])
                for x in (code.pose, code.shape, code.scale, code.rotation, code.translation)
            )
            # Pose and shape in the model's coordinates.
            fingers = self.finger_rotations(pose)
            posed = self._mano(
                betas=shape, global_orient=torch.zeros_like(rotation), hand_pose=fingers
            )
            # Joints of the convention.
            inner = posed.joints
            if points.inner == "regressor":
                inner = self._mano.J_regressor @ posed.vertices
            joints = _gather(inner, posed.vertices, points.tips)
            if left is not None and points.left_tips is not None:
                others = _gather(inner, posed.vertices, points.left_tips)
                joints = torch.where(left.reshape(-1, 1, 1), others, joints)
            # Place the hand in camera space.
            root = quaternion_multiply(axis_angle_to_quaternion(rotation), self._half_turn)
            scaled = scale[..., None] * quaternion_to_matrix(root).transpose(-1, -2)
            local = axis_angle_to_quaternion(fingers.unflatten(-1, (15, 3)))
            return Hand(
                code=code,
                vertices=(posed.vertices @ scaled + translation[:, None]).reshape(*lead, -1, 3),
                joints=(joints @ scaled + translation[:, None]).reshape(*lead, -1, 3),
                quaternions=torch.cat([root[:, None], local], 1).reshape(*lead, 16, 4),
            )

    def native_joints(self, hand: Hand, convention: str | None) -> Float[Tensor, "*n 21 3"]:
        """The joints in the head's convention of a hand that was posed in a named one."""
        if convention is None or JointConvention.preset(convention) == self.convention:
            return hand.joints
        joints: Tensor = self(hand.code).joints
        return joints

    def rest(self, shape: Float[Tensor, " 10"]) -> tuple[Tensor, Tensor]:
        """The shaped hand before posing, for skinning in other programs.

        ``skin_weights`` [778, 16] and ``parents`` (16 ids, -1 at the wrist) pose it by linear blend
        skinning. That leaves out the pose correctives, which move vertices of a bent hand by
        millimetres.

        Returns:
            Vertices [778, 3] and the 16 chain joints [16, 3] in MANO order, metres, in the model
            file's axes: neither scaled nor rotated.
        """
        vertices = self._mano.v_template + self._mano.shapedirs @ shape.to(self._mean)
        return vertices, self._mano.J_regressor @ vertices

    def finger_rotations(self, pose: Float[Tensor, "*n p"]) -> Float[Tensor, "*n 45"]:
        """Absolute rotations (axis-angle, radians, MANO order) of pose coefficients."""
        return pose @ self._components + self._mean

    def pca_coefficients(self, axis_angle: Float[Tensor, "*n 45"]) -> Float[Tensor, "*n p"]:
        """Pose coefficients nearest to finger rotations (axis-angle, radians, MANO order).

        The rotations are absolute, as MANO poses the joints. FreiHAND's are relative to the mean
        pose, which must be added first.
        """
        return (axis_angle - self._mean) @ self._components_inverse

    def joint_angles(self, quaternions: Float[Tensor, "*n 16 4"]) -> Float[Tensor, "*n 15 3"]:
        """(twist, spread, bend) in radians of each finger joint in its own anatomical frame."""
        return joint_angles(quaternions[..., 1:, :], self._frames)


def _gather(inner: Tensor, vertices: Tensor, tips: tuple[int, ...]) -> Tensor:
    """16 inner joints in MANO order and the mesh's fingertips as 21 in the common order."""
    ids, order = (indices(tuple(ids), vertices.device) for ids in (tips, TO_COMMON["mano"]))
    joints = torch.cat([inner, vertices.index_select(-2, ids)], -2)
    return joints.index_select(-2, order)


def _smplx_mano(model: HandModel) -> smplx.MANO:
    """smplx's layer as a pure function: no parameters, no PCA, nothing in checkpoints.

    smplx would register default parameters of batch size 1 and an unused body pose, silently
    switch PCA off at 45 components (so the head does the PCA itself), and print on loading.
    """
    arrays = {
        "v_template": model.v_template,
        "f": model.faces,
        "weights": model.weights,
        "shapedirs": model.shapedirs,
        "posedirs": model.posedirs,
        "J_regressor": model.J_regressor,
        "kintree_table": np.stack([model.parents, np.arange(16)]),
        "hands_components": model.hands_components,
        "hands_mean": model.hands_mean,
    }
    parts = ("betas", "global_orient", "body_pose", "hand_pose", "transl")
    with contextlib.redirect_stdout(io.StringIO()):
        mano = smplx.MANO(
            model_path="",
            data_struct=Struct(**arrays),
            is_rhand=model.side == "right",
            use_pca=False,
            flat_hand_mean=True,
            **{f"create_{part}": False for part in parts},
        )
    for module in mano.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, buffer, persistent=False)
    # smplx reads the parents one by one: on a GPU each read would wait for the device.
    parents = mano.parents
    del mano.parents
    mano.parents = parents
    return mano
