"use strict";
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const HATCH = [92, 148]; // grey levels, as the pictures' own stripes

// One clip: its videos, the error between them and its views show one frame, which button and slider rule.
class Card {
  constructor(element) {
    this.element = element;
    this.frames = Number(element.dataset.frames);
    this.rate = Number(element.dataset.fps);
    this.videos = [];
    this.rows = [];
    this.playing = this.visible = false;
    this.wanted = !calm; // what the reader asked for; it plays only while it is seen
    [this.button, this.slider, this.output] = [".play", "input", ".controls output"].map((name) => element.querySelector(name));
    this.button.addEventListener("click", () => { this.wanted = !this.wanted; this.apply(); });
    this.slider.addEventListener("input", () => { this.wanted = false; this.apply(); this.seek(Number(this.slider.value)); });
    const larger = element.querySelector(".larger");
    larger.addEventListener("click", () => larger.setAttribute("aria-pressed", String(element.classList.toggle("large"))));
    const turned = element.querySelector("[data-part=view]"); // would forget how the reader turned it
    new IntersectionObserver(([entry], watcher) => {
      if (entry.isIntersecting) this.load();
      else this.unload(); // a phone plays only so many videos of a page
      if (entry.isIntersecting && turned) watcher.disconnect();
    }, { rootMargin: "500px" }).observe(element);
    new IntersectionObserver(([entry]) => { // of a card taller than a phone no fixed share is ever seen
      this.visible = entry.isIntersecting;
      this.apply();
    }, { rootMargin: "-15% 0px" }).observe(element);
  }

  load() {
    if (this.loaded) return;
    this.loaded = true;
    const read = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "[]");
    const models = read(`${this.element.id}-data`);
    const orbit = new Orbit();
    for (const row of this.element.querySelectorAll(".model-row[data-place]")) {
      const data = row.dataset.source ? read(row.dataset.source) : models[Number(row.dataset.place)]; // cards may share it
      const part = (name) => row.querySelector(`[data-part=${name}]`);
      const [video, redrawn] = ["video", "redrawn"].map((name) => data[name] && this.video(part(name), data[name]));
      if (video && redrawn) this.rows.push(new ErrorMap(part("error"), video, redrawn, data.unseen, this.frames));
      const aspect = video ? part("video").clientWidth / part("video").clientHeight : 1.5;
      if (part("view")) this.rows.push(new SceneView(part("view"), data, aspect || 1.5, orbit));
    }
    const { videos } = this;
    Promise.all(videos.map((video) => new Promise((ready) => {
      video.addEventListener("loadeddata", ready, { once: true });
      video.addEventListener("error", ready, { once: true });
    }))).then(() => {
      if (videos !== this.videos) return; // unloaded in the meantime
      this.element.dataset.ready = "yes";
      this.seek(0);
      orbit.changed();
      this.apply();
    });
  }

  unload() {
    if (!this.loaded) return;
    this.loaded = this.playing = false;
    delete this.element.dataset.ready;
    for (const video of this.videos) {
      video.pause();
      URL.revokeObjectURL(video.src);
      video.removeAttribute("src");
      video.load();
      video.remove();
    }
    this.videos = [];
    this.rows = [];
  }

  video(screen, base64) {
    const video = document.createElement("video");
    Object.assign(video, { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
    video.src = URL.createObjectURL(new Blob([bytesOf(base64)], { type: "video/mp4" }));
    video.addEventListener("seeked", () => { if (!this.playing) this.show(Number(this.slider.value)); });
    screen.append(video);
    this.videos.push(video);
    return video;
  }

  get ready() { return this.element.dataset.ready === "yes"; }

  // Play or pause, as the reader wants it and as far as it can be seen.
  apply() {
    this.button.textContent = this.wanted ? "Pause" : "Play";
    const plays = this.wanted && this.visible && this.ready && !this.element.hidden;
    if (plays === this.playing) return;
    this.playing = plays;
    if (plays) this.start();
    else {
      for (const video of this.videos) video.pause();
      this.seek(Number(this.slider.value)); // at rest all show one frame exactly
    }
  }

  async start() {
    const [first] = this.videos;
    if (!first) { this.wanted = this.playing = false; this.button.textContent = "Play"; return; }
    const from = first.ended || first.currentTime >= first.duration - 0.5 / this.rate ? 0 : first.currentTime;
    for (const video of this.videos) if (Math.abs(video.currentTime - from) > 0.01) video.currentTime = from;
    try { await Promise.all(this.videos.map((video) => video.play())); } catch { /* paused again, or not allowed */ }
    if (this.playing) requestAnimationFrame(() => this.tick());
  }

  tick() {
    if (!this.playing) return;
    const [first, ...others] = this.videos;
    if (first.ended) { this.restart(); return; }
    for (const video of others) { // half a frame apart they may show different frames
      if (!video.seeking && !video.ended && Math.abs(video.currentTime - first.currentTime) > 0.5 / this.rate) video.currentTime = first.currentTime;
    }
    this.show(this.frameAt(first.currentTime));
    requestAnimationFrame(() => this.tick());
  }

  restart() {
    for (const video of this.videos) video.currentTime = 0;
    this.start();
  }

  frameAt(time) { return Math.min(this.frames - 1, Math.floor(time * this.rate + 1e-3)); }

  seek(frame) {
    for (const video of this.videos) video.currentTime = (frame + 0.5) / this.rate;
    this.show(frame);
  }

  show(frame) {
    if (Number(this.slider.value) !== frame) this.slider.value = String(frame);
    const said = `${frame + 1} of ${this.frames}`;
    if (this.output.textContent !== said) {
      this.output.textContent = said;
      this.slider.setAttribute("aria-valuetext", said);
    }
    for (const row of this.rows) row.show(frame);
  }
}

// Where a video and its re-render differ, in colours; striped where the re-render knows nothing.
class ErrorMap {
  constructor(canvas, video, redrawn, unseen, frames) {
    Object.assign(this, { canvas, video, redrawn, frames, sheet: null, times: "" });
    this.context = canvas.getContext("2d");
    this.scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    if (unseen) createImageBitmap(new Blob([bytesOf(unseen)], { type: "image/png" })).then((sheet) => {
      this.sheet = sheet;
      this.times = "";
    });
  }

  show(frame) {
    const { canvas, context, video, redrawn } = this;
    if (video.readyState < 2 || redrawn.readyState < 2) return;
    const times = `${video.currentTime} ${redrawn.currentTime}`;
    if (times === this.times) return;
    this.times = times;
    const scale = Math.min(1, 400 / video.videoWidth);
    const width = Math.round(video.videoWidth * scale), height = Math.round(video.videoHeight * scale);
    if (canvas.width !== width || canvas.height !== height) {
      for (const target of [canvas, this.scratch.canvas]) Object.assign(target, { width, height });
    }
    const [a, b] = [video, redrawn].map((source) => {
      this.scratch.drawImage(source, 0, 0, width, height);
      return this.scratch.getImageData(0, 0, width, height).data;
    });
    const unseen = this.unseen(frame, width, height);
    const image = context.createImageData(width, height);
    const pixels = image.data;
    for (let i = 0; i < pixels.length; i += 4) {
      const place = i / 4;
      if (unseen && unseen[i] > 127) {
        const stripe = ((place % width) + Math.floor(place / width)) >> 2;
        pixels[i] = pixels[i + 1] = pixels[i + 2] = HATCH[stripe % 2];
      } else {
        const error = (Math.abs(a[i] - b[i]) + Math.abs(a[i + 1] - b[i + 1]) + Math.abs(a[i + 2] - b[i + 2])) / 3;
        const colour = 3 * Math.min(255, Math.round((error / fullScale) * 255));
        for (let c = 0; c < 3; c++) pixels[i + c] = errorColours[colour + c];
      }
      pixels[i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  unseen(frame, width, height) {
    if (!this.sheet) return null;
    const columns = Math.ceil(Math.sqrt(this.frames));
    const rows = Math.ceil(this.frames / columns);
    const [w, h] = [this.sheet.width / columns, this.sheet.height / rows];
    this.scratch.imageSmoothingEnabled = false;
    this.scratch.drawImage(this.sheet, (frame % columns) * w, Math.floor(frame / columns) * h, w, h, 0, 0, width, height);
    return this.scratch.getImageData(0, 0, width, height).data;
  }
}

const legend = document.querySelector("[data-colours]");
const fullScale = legend ? Number(legend.dataset.fullScale) : 1;
const errorColours = legend ? Uint8Array.from(legend.dataset.colours.match(/../g), (hex) => parseInt(hex, 16)) : [];
const cards = [...document.querySelectorAll(".clip")].map((element) => new Card(element));

const filters = document.querySelector(".filters");
if (filters) {
  const fits = ({ dataset }, { name, value }) => {
    if (!value) return true;
    if (name === "token") return dataset.tokens.split(" ").includes(value);
    return dataset[name] === value;
  };
  filters.addEventListener("change", () => {
    const selects = [...filters.querySelectorAll("select")];
    for (const card of cards) {
      card.element.hidden = !selects.every((select) => fits(card.element, select));
      card.apply();
    }
    const num = cards.filter((card) => !card.element.hidden).length;
    filters.querySelector("output").textContent = `${num} of ${cards.length} clips`;
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
}

for (const chooser of document.querySelectorAll(".chooser")) {
  const select = chooser.querySelector("select");
  const apply = () => {
    for (const choice of chooser.querySelectorAll(".choice")) choice.hidden = choice.dataset.choice !== select.value;
  };
  select.addEventListener("change", apply);
  apply();
}

for (const button of document.querySelectorAll("button.download")) {
  button.addEventListener("click", () => {
    const text = document.getElementById("record").textContent;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = button.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}
