"""The hand of a track in viser: textured, as a wireframe, or transparent around its joints."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from s2hand.export.codes import Record
from s2hand.export.mesh_files import OPENCV_TO_GLTF, glb_mesh
from s2hand.export.overlay import JOINT_COLORS
from s2hand.geometry.skeleton import BONES

_READING_SECONDS = 0.04  # time a browser needs for a new GLB, which it does not show meanwhile
_SKELETON_OPACITY = 0.45  # of the hand around its joints
_SPAN = 0.4  # metres from the first camera to the hand, whose length is 0.2
_COLORS = np.array(JOINT_COLORS, np.uint8)
_BONES = np.array(BONES)


class HandScene:
    """Hand and skeleton in glTF's axes: the video's camera is at the origin, y up.

    Args:
        server: a ``viser.ViserServer``.
        track: ``s2hand.track/1`` with vertices.
        row: row of the track that the camera looks at first.
    """

    def __init__(self, server: Any, track: Record, row: int) -> None:
        self._server, self._track = server, track
        self._texture = np.clip(track["texture"], 0, 1)
        self._first = track["joints"][row].mean(0) * OPENCV_TO_GLTF
        self._look_at(self._first)
        scene, faces = server.scene, track["faces"]
        scene.set_up_direction("+y")
        scene.configure_default_lights(cast_shadow=False)  # slow on small machines
        self._place = scene.add_frame("/hand", show_axes=False)
        zeros = np.zeros((778, 3), np.float32)
        # Two skins: one is loaded while the other is visible, see _READING_SECONDS.
        empty = glb_mesh(zeros, faces, self._texture)
        self._skins = [scene.add_glb(f"/hand/skin {i}", empty, visible=False) for i in range(2)]
        color = tuple((255 * self._texture.mean(0)).round().astype(int).tolist())
        self._plain = scene.add_mesh_simple(
            "/hand/plain", zeros, faces, color=color, side="double", visible=False
        )
        self._joints = scene.add_point_cloud(
            "/hand/joints", zeros[:21], _COLORS, point_size=0.005, point_shape="circle",
            precision="float32", visible=False,
        )  # fmt: skip
        self._bones = scene.add_line_segments(
            "/hand/bones", zeros[_BONES], _COLORS[_BONES[:, [1, 1]]], thickness=0.002, visible=False
        )

    def _look_at(self, middle: np.ndarray) -> None:
        """Look along the video camera's line of sight at first."""
        depth = max(float(np.linalg.norm(middle)), 1e-6)
        camera = self._server.initial_camera
        camera.position, camera.look_at = tuple((1 - _SPAN / depth) * middle), tuple(middle)
        camera.up, camera.fov, camera.near = (0.0, 1.0, 0.0), 0.7, 0.005

    def show(self, row: int, *, wireframe: bool, skeleton: bool, follow: bool) -> None:
        """Show the hand of a row of the track; -1 hides it.

        ``follow`` keeps the centre of the hand where the camera looked at first.
        """
        seen, plain = row >= 0, wireframe or skeleton
        if seen:
            vertices = self._track["vertices"][row]
            joints = (self._track["joints"][row] * OPENCV_TO_GLTF).astype(np.float32)
            self._joints.points, self._bones.points = joints, joints[_BONES]
            if plain:
                self._plain.vertices = (vertices * OPENCV_TO_GLTF).astype(np.float32)
                self._plain.wireframe = wireframe
                self._plain.opacity = None if wireframe else _SKELETON_OPACITY
            else:
                self._skins.reverse()
                self._skins[0].glb_data = glb_mesh(vertices, self._track["faces"], self._texture)
                self._server.flush()
                time.sleep(_READING_SECONDS)
        with self._server.atomic():
            if seen:
                self._place.position = self._first - joints.mean(0) if follow else np.zeros(3)
            self._skins[0].visible, self._skins[1].visible = seen and not plain, False
            self._plain.visible = seen and plain
            self._joints.visible = self._bones.visible = seen and skeleton
