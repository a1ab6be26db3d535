"use strict";
// A cloud of points with camera paths in it, on a plain 2D canvas: pages show dozens, and browsers allow few WebGL ones.
// Axes as everywhere here: x right, y down, z forward from the first camera; lengths in depth units.
const FIELD_OF_VIEW = 0.7;
const START = { yaw: -0.6, pitch: 0.5, zoom: 1 };
const FRUSTUM = 0.09; // depth units
const HALF_WIDTH = 0.5 / 1.2; // of a picture at depth 1: fx = 1.2 W

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

class Orbit {
  // The direction from which all views of a card look.
  constructor() {
    this.views = [];
    this.reset();
  }

  reset() {
    Object.assign(this, START);
    this.changed();
  }

  turn(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.max(-1.55, Math.min(1.55, this.pitch + pitch));
    this.changed();
  }

  scale(factor) {
    this.zoom = Math.max(0.25, Math.min(8, this.zoom * factor));
    this.changed();
  }

  changed() {
    for (const view of this.views) view.ask();
  }
}

class SceneView {
  constructor(canvas, data, aspect, orbit) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.aspect = aspect;
    this.orbit = orbit;
    this.frame = 0;
    this.asked = false;
    this.paths = ["requested", "recovered"].filter((name) => data[name]).map((name) => ({ name, poses: data[name] }));
    this.read(data.points);
    this.frameContent();
    orbit.views.push(this);
    this.listen();
    new ResizeObserver(() => this.ask()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.ask());
  }

  read(points) {
    this.places = new Float32Array(0);
    this.colours = new Uint8Array(0);
    if (!points || !points.places) return;
    const { buffer } = bytesOf(points.places);
    const raw = new Uint16Array(buffer);
    this.places = Float32Array.from(raw, (value, i) => points.low[i % 3] + points.step[i % 3] * value);
    this.colours = bytesOf(points.colours);
  }

  // All cameras and everything but the farthest twentieths of the scene shall be seen at the start.
  frameContent() {
    const cameras = [[0, 0, 0], ...this.paths.flatMap(({ poses }) => poses)];
    const end = (axis, share, most) => {
      const scene = this.places.filter((_, i) => i % 3 === axis);
      return most(...cameras.map((place) => place[axis]), ...(scene.length ? [quantile(scene, share)] : []));
    };
    const low = [0, 1, 2].map((axis) => end(axis, 0.05, Math.min));
    const high = [0, 1, 2].map((axis) => end(axis, 0.95, Math.max));
    this.target = low.map((value, axis) => (value + high[axis]) / 2);
    this.radius = Math.max(0.4, Math.hypot(...low.map((value, axis) => high[axis] - value)) / 2);
    // its corners and the cameras, and some of the scene between
    this.framed = cameras.slice();
    for (let i = 0; i < this.places.length; i += 3 * 37) {
      const place = this.places.subarray(i, i + 3);
      if (place.every((value, axis) => value >= low[axis] && value <= high[axis])) this.framed.push(place);
    }
    this.away = null;
  }

  listen() {
    const { canvas, orbit } = this;
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      last = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      orbit.turn((event.clientX - last[0]) * 0.01, (event.clientY - last[1]) * 0.01);
      last = [event.clientX, event.clientY];
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== canvas) return; // or nobody could scroll past
      event.preventDefault();
      orbit.scale(Math.exp(-event.deltaY * 0.002));
    }, { passive: false });
    const keys = {
      ArrowLeft: () => orbit.turn(0.12, 0), ArrowRight: () => orbit.turn(-0.12, 0),
      ArrowUp: () => orbit.turn(0, 0.12), ArrowDown: () => orbit.turn(0, -0.12),
      "+": () => orbit.scale(1.2), "=": () => orbit.scale(1.2), "-": () => orbit.scale(1 / 1.2),
      Home: () => orbit.reset(),
    };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
    canvas.addEventListener("dblclick", () => orbit.reset());
  }

  show(frame) {
    if (frame === this.frame) return;
    this.frame = frame;
    this.ask();
  }

  ask() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => { this.asked = false; this.draw(); });
  }

  aim({ yaw, pitch }, distance, width, height) {
    const forward = [-Math.sin(yaw) * Math.cos(pitch), Math.sin(pitch), Math.cos(yaw) * Math.cos(pitch)];
    const right = normalised([forward[2], 0, -forward[0]]);
    const down = cross(forward, right);
    const focal = (0.5 * Math.min(width, height)) / Math.tan(FIELD_OF_VIEW / 2);
    const eye = this.target.map((value, axis) => value - distance * forward[axis]);
    this.camera = { eye, right, down, forward, focal, width, height };
  }

  // Looking from the start's direction, what shall be seen fills nine tenths of the canvas.
  fit(width, height) {
    this.away = 4 * this.radius;
    for (let round = 0; round < 6; round++) {
      this.aim(START, this.away, width, height);
      const seen = this.framed.map((place) => this.project(place)).filter(Boolean);
      const [left, right] = [Math.min, Math.max].map((most) => most(...seen.map((at) => at[0])));
      const [top, bottom] = [Math.min, Math.max].map((most) => most(...seen.map((at) => at[1])));
      const { right: across, down, focal } = this.camera;
      const shift = [(left + right - width) / 2, (top + bottom - height) / 2].map((pixels) => (pixels * this.away) / focal);
      this.target = this.target.map((value, axis) => value + shift[0] * across[axis] + shift[1] * down[axis]);
      this.away *= Math.min(1.6, Math.max(0.6, (right - left) / (0.9 * width), (bottom - top) / (0.9 * height)));
    }
  }

  draw() {
    const { canvas, context, orbit } = this;
    const density = Math.min(2, devicePixelRatio || 1);
    const width = Math.round(canvas.clientWidth * density);
    const height = Math.round(canvas.clientHeight * density);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    if (!this.away) this.fit(width, height);
    this.aim(orbit, this.away / orbit.zoom, width, height);
    this.drawPoints();
    const style = getComputedStyle(canvas);
    for (const path of this.paths) this.drawPath(path, style.getPropertyValue(`--${path.name}`), density);
  }

  drawPoints() {
    const { eye, right, down, forward, focal, width, height } = this.camera;
    const { places, colours, context } = this;
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const depths = new Float32Array(width * height).fill(Infinity);
    const size = (2.4 * this.radius) / Math.sqrt(places.length / 3 + 1);
    for (let i = 0; i < places.length; i += 3) {
      const x = places[i] - eye[0], y = places[i + 1] - eye[1], z = places[i + 2] - eye[2];
      const depth = x * forward[0] + y * forward[1] + z * forward[2];
      if (depth < 0.05) continue;
      const column = width / 2 + (focal * (x * right[0] + y * right[1] + z * right[2])) / depth;
      const row = height / 2 + (focal * (x * down[0] + y * down[1] + z * down[2])) / depth;
      const half = Math.min(9, Math.max(0.5, (focal * size) / depth / 2));
      const colour = (255 << 24) | (colours[i + 2] << 16) | (colours[i + 1] << 8) | colours[i];
      const lastRow = Math.min(height - 1, Math.round(row + half) - 1), lastColumn = Math.min(width - 1, Math.round(column + half) - 1);
      for (let r = Math.max(0, Math.round(row - half)); r <= lastRow; r++) {
        for (let c = Math.max(0, Math.round(column - half)); c <= lastColumn; c++) {
          const place = r * width + c;
          if (depth < depths[place]) { depths[place] = depth; pixels[place] = colour; }
        }
      }
    }
    context.putImageData(image, 0, 0);
  }

  drawPath({ name, poses }, colour, density) {
    const { context } = this;
    const wide = name === "requested" ? 2 : 1; // both are seen where they lie on each other
    const trace = (places, width, alpha) => {
      context.beginPath();
      let pen = false;
      for (const place of places) {
        const at = this.project(place);
        if (!at) { pen = false; continue; }
        pen ? context.lineTo(...at) : context.moveTo(...at);
        pen = true;
      }
      context.globalAlpha = alpha;
      context.lineWidth = width * density;
      context.stroke();
    };
    context.strokeStyle = context.fillStyle = colour;
    context.lineJoin = context.lineCap = "round";
    trace(poses, 2.2 * wide, name === "requested" ? 0.75 : 1);
    const now = Math.min(this.frame, poses.length - 1);
    const every = Math.max(1, Math.round((poses.length - 1) / 4));
    poses.forEach((pose, i) => {
      if (i !== now && i % every) return;
      const [apex, ...corners] = this.frustum(pose, i === now ? 1.7 : 1);
      const [width, alpha] = i === now ? [1.9 * wide, 1] : [0.9 * wide, 0.65];
      trace([...corners, corners[0]], width, alpha);
      for (const corner of corners) trace([apex, corner], width * 0.7, alpha);
    });
    context.globalAlpha = 1;
  }

  frustum([x, y, z, yawDeg], scale) {
    const yaw = (yawDeg * Math.PI) / 180, far = FRUSTUM * scale * Math.max(1, this.radius);
    const half = far * HALF_WIDTH, tall = half / this.aspect;
    const corner = (across, below) => [
      x + across * Math.cos(yaw) + far * Math.sin(yaw), y + below, z - across * Math.sin(yaw) + far * Math.cos(yaw),
    ];
    return [[x, y, z], corner(-half, -tall), corner(half, -tall), corner(half, tall), corner(-half, tall)];
  }

  project(place) {
    const { eye, right, down, forward, focal, width, height } = this.camera;
    const away = [0, 1, 2].map((axis) => place[axis] - eye[axis]);
    const depth = dot(away, forward);
    return depth < 0.05 ? null : [width / 2 + (focal * dot(away, right)) / depth, height / 2 + (focal * dot(away, down)) / depth];
  }
}

function dot(a, b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
function cross(a, b) { return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]; }
function normalised(a) { const length = Math.hypot(...a) || 1; return a.map((value) => value / length); }
function quantile(values, share) { return values.sort((a, b) => a - b)[Math.round(share * (values.length - 1))]; }
