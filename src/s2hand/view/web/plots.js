// Values over the timeline, as lines that break where no hand was seen.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** Runs of frames for which `test` holds: [first, end). */
export function runs(rows, test) {
  const found = [];
  for (let frame = 0; frame < rows.length; frame++) {
    if (!test(rows[frame])) continue;
    if (found.length && found[found.length - 1][1] === frame) found[found.length - 1][1]++;
    else found.push([frame, frame + 1]);
  }
  return found;
}

/** A round number, at least 1, to end an axis that holds `value`. */
function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * unit).find((end) => end >= value);
}

/** Draw `values` of the track's rows into `box`, from 0 to `top` or to their maximum. */
export function plot(box, rows, values, { top, unit = "" }) {
  const end = top ?? roundUp(values.reduce((a, b) => Math.max(a, b), 1));
  const svg = element("svg", {
    viewBox: `0 0 ${rows.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true",
  });
  for (const [first, last] of runs(rows, (row) => row < 0)) {
    svg.append(element("rect", { class: "gap", x: first, y: 0, width: last - first, height: 1 }));
  }
  for (const [first, last] of runs(rows, (row) => row >= 0)) {
    const points = [];
    for (let frame = first; frame < last; frame++) {
      const y = 1 - Math.min(values[rows[frame]] / end, 1);
      if (last - first === 1) points.push(`${frame},${y}`, `${frame + 1},${y}`);
      else points.push(`${frame + 0.5},${y}`);
    }
    svg.append(element("polyline", { points: points.join(" ") }));
  }
  box.append(svg);
  for (const [side, text] of [["top", `${end}${unit}`], ["bottom", "0"]]) {
    const label = document.createElement("small");
    label.className = side;
    label.textContent = text;
    box.append(label);
  }
}
