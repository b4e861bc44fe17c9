// One hand in 3D: the embedded GLB, to rotate and to zoom.

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const FOV = 30; // degrees
const canvas = document.getElementById("view");

async function drawHand() {
  const glb = atob(document.getElementById("mesh").textContent);
  const bytes = Uint8Array.from(glb, (letter) => letter.charCodeAt(0));
  const { scene: hand } = await new GLTFLoader().parseAsync(bytes.buffer, "");
  const { center, radius } = new THREE.Box3().setFromObject(hand).getBoundingSphere(new THREE.Sphere());

  const { clientWidth: width, clientHeight: height } = canvas;
  const renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
  renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
  renderer.setSize(width, height, false);

  // From the image's own camera, at the origin of glTF's axes, the hand is along -z.
  const camera = new THREE.PerspectiveCamera(FOV, width / height, radius / 20, radius * 100);
  const half = (Math.min(1, width / height) * FOV * Math.PI) / 360;
  camera.position.copy(center).addScaledVector(center.clone().normalize(), -radius / Math.sin(half));
  const light = new THREE.DirectionalLight(0xffffff, 1.7);
  light.position.set(-0.4, 0.7, 1); // over the viewer's left shoulder
  light.target.position.set(0, 0, -1);
  camera.add(light, light.target);
  const scene = new THREE.Scene();
  scene.add(hand, camera, new THREE.HemisphereLight(0xffffff, 0xd8cfc4, 2.2));

  const controls = new OrbitControls(camera, canvas);
  controls.target.copy(center);
  const draw = () => renderer.render(scene, camera);
  controls.addEventListener("change", draw);
  controls.update();
  draw();
}

drawHand()
  .catch((error) => canvas.replaceWith(`The hand cannot be shown here: ${error.message}`))
  .finally(() => document.body.classList.add("ready"));
