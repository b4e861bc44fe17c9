// The hand in 3D: the animated GLB, its joints, a free camera and the camera of the video.

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const JOINT_RADIUS = 0.0034; // metres
const BONE_RADIUS = 0.0016;
const FREE_FOV = 30; // degrees

export class Stage {
  /** `glb`: ArrayBuffer; `joints`: Float32Array [n * 21 * 3] in OpenCV's camera axes, metres. */
  static async create(canvas, glb, joints, data) {
    const gltf = await new GLTFLoader().parseAsync(glb, "");
    return new Stage(canvas, gltf, joints, data);
  }

  constructor(canvas, gltf, joints, data) {
    Object.assign(this, { canvas, data, row: 0, shown: -1, joints: false, follow: true, drawPending: false });
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.scene = new THREE.Scene();
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0xd8cfc4, 2.2));
    this.addHand(gltf);
    this.points = toGltf(joints);
    this.skeleton = new Skeleton(data.bones, data.colors);
    this.scene.add(this.skeleton);
    this.addCameras();
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
  }

  addHand(gltf) {
    this.hand = gltf.scene;
    this.hand.traverse((node) => {
      if (!node.isMesh) return;
      node.frustumCulled = false; // its bounds are those of the rest pose
      this.material = node.material;
    });
    this.scene.add(this.hand);
    this.mixer = new THREE.AnimationMixer(this.hand);
    this.action = this.mixer.clipAction(gltf.animations[0]).play();
  }

  addCameras() {
    this.centres = [];
    let radius = 0;
    for (let start = 0; start < this.points.length; start += 63) {
      const hand = this.points.subarray(start, start + 63);
      const centre = new THREE.Vector3();
      for (let i = 0; i < 63; i += 3) centre.add(new THREE.Vector3().fromArray(hand, i));
      this.centres.push(centre.divideScalar(21));
      for (let i = 0; i < 63; i += 3) {
        radius = Math.max(radius, new THREE.Vector3().fromArray(hand, i).distanceTo(centre));
      }
    }
    this.radius = radius;
    this.eye = new THREE.PerspectiveCamera(this.data.camera.fovY, 1, 0.01, 100); // at the origin
    this.orbit = new THREE.PerspectiveCamera(FREE_FOV, 1, 0.005, 100);
    for (const camera of [this.eye, this.orbit]) {
      const light = new THREE.DirectionalLight(0xffffff, 1.7);
      light.position.set(-0.4, 0.7, 1); // over the viewer's left shoulder
      camera.add(light, light.target);
      light.target.position.set(0, 0, -1);
      this.scene.add(camera);
    }
    this.controls = new OrbitControls(this.orbit, this.canvas);
    this.controls.addEventListener("change", () => this.render());
    this.resetView();
    this.setView("free");
  }

  /** Put the free camera on the line from the video's camera to the hand, which fills its view. */
  resetView() {
    const centre = this.centres[this.row];
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    const half = (Math.min(1, width / Math.max(height, 1)) * FREE_FOV * Math.PI) / 360;
    const distance = (1.05 * this.radius) / Math.sin(half);
    this.controls.target.copy(centre);
    this.orbit.position.copy(centre).addScaledVector(centre.clone().normalize(), -distance);
    this.controls.update();
  }

  setView(view) {
    this.controls.enabled = view === "free";
    this.camera = view === "free" ? this.orbit : this.eye;
    for (const camera of [this.eye, this.orbit]) camera.children[0].visible = camera === this.camera;
    this.resize();
  }

  setWireframe(on) {
    this.material.wireframe = on;
    this.render();
  }

  setJoints(on) {
    this.joints = on;
    this.show(this.shown);
  }

  /** Pose the hand as in a row of the track; -1: no hand was seen. */
  show(row) {
    this.shown = row;
    this.hand.visible = row >= 0;
    this.skeleton.visible = this.joints && row >= 0;
    if (row >= 0) {
      // Not the mixer's setTime, which wraps a looping action to its start at its last time.
      this.action.time = this.data.times[row];
      this.mixer.update(0);
      if (this.skeleton.visible) this.skeleton.pose(this.points.subarray(63 * row, 63 * row + 63));
      if (this.follow) {
        const step = this.centres[row].clone().sub(this.centres[this.row]);
        this.orbit.position.add(step);
        this.controls.target.add(step);
      }
      this.row = row;
      this.controls.update();
    }
    this.render();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    if (!width || !height) return;
    this.renderer.setSize(width, height, false);
    this.orbit.aspect = this.eye.aspect = width / height;
    // The whole image of the video's camera is visible in any shape of window.
    const { fovY, aspect } = this.data.camera;
    const tall = Math.tan((fovY * Math.PI) / 360) * Math.max(1, aspect / this.eye.aspect);
    this.eye.fov = (Math.atan(tall) * 360) / Math.PI;
    for (const camera of [this.eye, this.orbit]) camera.updateProjectionMatrix();
    this.draw();
  }

  /** Draw once before the next screen refresh. */
  render() {
    if (this.drawPending) return;
    this.drawPending = true;
    requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.drawPending = false;
    this.renderer.render(this.scene, this.camera);
  }
}

/** Dots and bones, visible through the hand. */
class Skeleton extends THREE.Group {
  constructor(bones, colors) {
    super();
    this.bones = bones;
    const material = () => new THREE.MeshBasicMaterial({ depthTest: false, transparent: true });
    const ball = new THREE.SphereGeometry(JOINT_RADIUS, 16, 12);
    const rod = new THREE.CylinderGeometry(BONE_RADIUS, BONE_RADIUS, 1, 10).rotateX(Math.PI / 2);
    this.rods = new THREE.InstancedMesh(rod, material(), bones.length);
    this.balls = new THREE.InstancedMesh(ball, material(), colors.length);
    const color = (rgb) => new THREE.Color().setRGB(...rgb.map((c) => c / 255), THREE.SRGBColorSpace);
    colors.forEach((rgb, i) => this.balls.setColorAt(i, color(rgb)));
    bones.forEach(([, child], i) => this.rods.setColorAt(i, color(colors[child])));
    for (const [order, part] of [this.rods, this.balls].entries()) {
      part.renderOrder = order + 1;
      part.frustumCulled = false;
      this.add(part);
    }
  }
  pose(points) {
    const at = (joint) => new THREE.Vector3().fromArray(points, 3 * joint);
    const place = new THREE.Object3D();
    for (let joint = 0; joint < points.length / 3; joint++) {
      this.balls.setMatrixAt(joint, new THREE.Matrix4().setPosition(at(joint)));
    }
    this.bones.forEach(([parent, child], i) => {
      place.position.copy(at(parent)).lerp(at(child), 0.5);
      place.lookAt(at(child));
      place.scale.set(1, 1, at(parent).distanceTo(at(child)));
      place.updateMatrix();
      this.rods.setMatrixAt(i, place.matrix);
    });
    this.balls.instanceMatrix.needsUpdate = this.rods.instanceMatrix.needsUpdate = true;
  }
}

/** OpenCV's axes to glTF's: (x, -y, -z). */
function toGltf(joints) {
  return joints.map((value, i) => (i % 3 ? -value : value));
}
