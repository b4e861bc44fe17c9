// The page: reads the embedded data and keeps hand, film, plots and slider in step.

import { Clock, Film } from "s2hand/film.js";
import { plot } from "s2hand/plots.js";
import { Stage } from "s2hand/stage.js";

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const last = data.rows.length - 1;
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const url = (part, type) => URL.createObjectURL(new Blob([part], { type }));

let stage = null;
let clock = new Clock(data.rows.length, data.fps);
let shown = 0;
let view = "free";

/** Show one frame everywhere. */
function show(frame) {
  const row = data.rows[frame];
  byId("frame").value = frame;
  const seconds = (frame / data.fps).toFixed(2);
  byId("frame-label").textContent = `frame ${data.numbers[frame]} · ${seconds} s`;
  byId("frame").setAttribute("aria-valuetext", `frame ${data.numbers[frame]}, ${seconds} seconds`);
  document.body.style.setProperty("--at", (frame + 0.5) / data.rows.length);
  byId("confidence-value").textContent = row < 0 ? "–" : data.confidence[row].toFixed(2);
  byId("error-value").textContent = row < 0 ? "–" : `${data.error[row].toFixed(1)} px`;
  note(row < 0 ? "no hand seen" : "");
  stage?.show(row);
  shown = frame;
}

function note(text) {
  byId("note").textContent = text;
  byId("note").hidden = !text;
}

function seek(frame) {
  const to = Math.min(Math.max(frame, 0), last);
  clock.seek(to);
  show(to);
}

const playing = () => document.body.classList.contains("playing");

function setPlaying(on) {
  if (on === playing()) return;
  if (on) clock.play();
  else clock.pause();
  document.body.classList.toggle("playing", on);
  byId("play").setAttribute("aria-label", on ? "pause" : "play");
  if (on) requestAnimationFrame(tick);
  else show(clock.frame);
}

function tick() {
  if (!playing()) return;
  const { frame } = clock;
  if (clock instanceof Film) clock.draw();
  if (frame !== shown) show(frame);
  requestAnimationFrame(tick);
}

// Controls

byId("frame").max = last;
byId("frame").addEventListener("input", (event) => {
  const frame = Number(event.target.value); // pausing sets the slider
  setPlaying(false);
  seek(frame);
});
byId("play").addEventListener("click", () => setPlaying(!playing()));
byId("speed").addEventListener("change", (event) => clock.setSpeed(Number(event.target.value)));
byId("wireframe").addEventListener("change", (event) => stage?.setWireframe(event.target.checked));
byId("joints").addEventListener("change", (event) => stage?.setJoints(event.target.checked));
byId("follow").addEventListener("change", (event) => { if (stage) stage.follow = event.target.checked; });

function setView(name) {
  view = name;
  for (const choice of ["free", "camera"]) byId(choice).setAttribute("aria-pressed", choice === view);
  byId("picture").hidden = view !== "camera" || !(clock instanceof Film) || data.halves < 2;
  stage?.setView(view);
}
for (const name of ["free", "camera"]) byId(name).addEventListener("click", () => setView(name));
byId("scene").addEventListener("dblclick", () => stage?.resetView());

const keys = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
  if (event.key === " " && !event.target.closest("button, a, input[type=checkbox]")) {
    setPlaying(!playing());
  } else if (event.key in keys) {
    setPlaying(false);
    seek(shown + keys[event.key] * (event.shiftKey ? 10 : 1));
  } else return;
  event.preventDefault();
});
// After a mouse click the space bar plays and pauses again.
document.addEventListener("click", (event) => {
  if (event.detail > 0) event.target.closest("button, input[type=checkbox]")?.blur();
});

plot(byId("confidence"), data.rows, data.confidence, { top: 1 });
plot(byId("error"), data.rows, data.error, { unit: " px" });
for (const box of document.querySelectorAll(".plot")) {
  const jump = (event) => {
    if (event.buttons !== 1) return;
    const { left, width } = box.getBoundingClientRect();
    setPlaying(false);
    seek(Math.floor(((event.clientX - left) / width) * data.rows.length));
  };
  box.addEventListener("pointerdown", (event) => { box.setPointerCapture(event.pointerId); jump(event); });
  box.addEventListener("pointermove", jump);
}

// Files

async function unpacked({ data: text, gzip }) {
  if (!gzip) return bytes(text);
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).blob();
}

for (const [name, file] of Object.entries(data.files)) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "download";
  const size = file.bytes < 1e6 ? `${Math.ceil(file.bytes / 1e3)} kB` : `${(file.bytes / 1e6).toFixed(1)} MB`;
  const description = document.createElement("small");
  description.textContent = `${file.description}, ${size}`;
  button.append(name, description);
  button.addEventListener("click", async () => {
    const link = document.createElement("a");
    link.href = url(await unpacked(file), "application/octet-stream");
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
  byId("downloads").append(button);
}

// Address: #frame=200&view=camera

/** Go to the frame in the address, or to the first frame with a hand. */
function arrive() {
  const asked = new URLSearchParams(location.hash.slice(1));
  setView(asked.get("view") === "camera" ? "camera" : "free");
  const first = data.numbers.indexOf(Number(asked.get("frame") ?? -1));
  seek(first >= 0 ? first : data.rows.findIndex((row) => row >= 0));
  stage?.resetView();
}

async function openFilm() {
  const [input, picture, overlay] = ["input", "picture", "overlay"].map(byId);
  const shows = data.halves < 2
    ? [{ canvas: overlay, half: 0 }]
    : [{ canvas: input, half: 0 }, { canvas: picture, half: 0 }, { canvas: overlay, half: 1 }];
  const source = url(bytes(data.files[data.film].data), "video/mp4");
  const film = await Film.open(source, data.halves, data.rows.length, data.fps, shows);
  if (!film) return;
  setPlaying(false);
  clock = film;
  const section = document.querySelector(".film");
  section.hidden = false;
  section.classList.toggle("tall", film.height > film.width);
  input.parentElement.hidden = data.halves < 2;
  document.body.classList.add("with-film");
  setView(view);
  seek(shown);
  stage?.resetView(); // its shape has changed
}

async function start() {
  show(0);
  try {
    const joints = new Float32Array(bytes(data.joints).buffer);
    const glb = bytes(data.files["hand.glb"].data).buffer;
    stage = await Stage.create(byId("scene"), glb, joints, data);
  } catch (error) {
    note(`The hand cannot be shown here: ${error.message}`);
  }
  arrive();
  if (data.film) await openFilm(); // some browsers load a film only when it plays
  window.addEventListener("hashchange", arrive);
  document.body.classList.add("ready");
}
start();
