"use strict";
const token = location.pathname.split("/").pop();
const at = (id) => document.getElementById(id);
const videos = [at("left"), at("right")];
let pair = null; // what is shown
let loops = [0, 0];
let playing = true;
let lookedMs = 0; // while the page could be seen
let since = null;
let saving = false;

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const draftKey = () => `draft-${token}-${pair.position}`;

// What is not submitted survives a reload, in this tab only. A browser may forbid storage: then it does not.
const stored = {
  get(key) { try { return JSON.parse(sessionStorage.getItem(key)); } catch { return null; } },
  set(key, value) { try { sessionStorage.setItem(key, JSON.stringify(value)); } catch { /* forbidden */ } },
  drop(key) { try { sessionStorage.removeItem(key); } catch { /* forbidden */ } },
};

function say(text) {
  at("trouble").textContent = text;
  at("trouble").hidden = !text;
}

// Asks until there is an answer: a vote counts as given only when the server says that it is stored.
async function ask(path, body) {
  const options = body === undefined ? { cache: "no-store" }
    : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  for (let tries = 0; ; tries++) {
    try {
      const answer = await fetch(path, options);
      if (answer.status < 500) return { status: answer.status, json: await answer.json() };
    } catch { /* no connection: try again */ }
    say("No connection to the study. Please keep this page open: it tries again by itself, and nothing is lost.");
    await wait(Math.min(5000, 300 * 2 ** tries));
  }
}

function show(id) {
  for (const section of document.querySelectorAll("section")) section.hidden = section.id !== id;
}

async function next() {
  const { status, json } = await ask(`/api/${token}`);
  say("");
  if (status !== 200) return end("This link does not work", json.error);
  at("title").textContent = document.title = json.title;
  at("count").textContent = `${Math.min(json.done + 1, json.total)} of ${json.total}`;
  at("progress").max = json.total;
  at("progress").value = json.done;
  if (json.pair === null) {
    at("count").textContent = `${json.done} of ${json.total}`;
    if (json.done >= json.total) return end("Thank you!", "All your answers are stored. You can close this page.");
    return end("The study is closed", "It takes no more answers. Thank you for those that you have given.");
  }
  pair = json.pair;
  if (json.done === 0 && !stored.get(`started-${token}`) && at("pair").hidden) {
    at("total").textContent = json.total;
    at("minutes").textContent = json.minutes;
    at("seal").textContent = json.key_sha256;
    at("count").textContent = "";
    return show("welcome");
  }
  begin();
}

function end(title, text) {
  stop();
  for (const video of videos) video.removeAttribute("src");
  at("end-title").textContent = title;
  at("end-text").textContent = text;
  show("end");
}

function begin() {
  const draft = stored.get(draftKey()) ?? { answers: {}, ms: 0 };
  stored.set(`started-${token}`, true);
  loops = [0, 0];
  lookedMs = draft.ms;
  since = document.hidden ? null : performance.now();
  at("count").textContent = `${pair.position + 1} of ${at("progress").max}`;
  at("prompt").textContent = pair.prompt;
  at("camera").textContent = `Requested camera: ${pair.camera}`;
  at("camera").hidden = !pair.camera;
  at("questions").replaceChildren(...pair.questions.map(question));
  for (const input of at("form").querySelectorAll("input")) input.checked = draft.answers[input.name] === input.value;
  show("pair");
  window.scrollTo(0, 0);
  at("prompt").focus({ preventScroll: true }); // keyboards and screen readers go on at the new pair
  videos[0].src = pair.left;
  videos[1].src = pair.right;
  playing = true;
  apply();
  refresh();
}

function question({ name, text, note }) {
  const set = document.createElement("fieldset");
  const legend = set.appendChild(document.createElement("legend"));
  legend.textContent = text;
  if (note) {
    const more = set.appendChild(document.createElement("p"));
    more.className = "note";
    more.textContent = note;
  }
  const row = set.appendChild(document.createElement("div"));
  row.className = "choices";
  for (const choice of pair.choices) {
    const label = row.appendChild(document.createElement("label"));
    const input = label.appendChild(document.createElement("input"));
    Object.assign(input, { type: "radio", name, value: choice.name });
    label.append(choice.label);
  }
  return set;
}

// ------------------------------------------------------------------------------------------------- playing in step

function apply() {
  at("pause").textContent = playing ? "Pause" : "Play";
  for (const video of videos) {
    if (!playing || document.hidden) video.pause();
    else if (!video.ended) video.play().catch(() => { playing = false; at("pause").textContent = "Play"; });
  }
}

function stop() {
  playing = false;
  for (const video of videos) video.pause();
}

function rewind() {
  for (const video of videos) video.currentTime = 0;
  playing = true;
  apply();
}

videos.forEach((video, side) => {
  video.addEventListener("loadedmetadata", () => video.classList.toggle("small", video.videoWidth < 240));
  video.addEventListener("ended", () => {
    loops[side] += 1;
    refresh();
    if (videos.every((other) => other.ended)) setTimeout(() => { if (playing) rewind(); }, 250);
  });
  video.addEventListener("error", async () => { // a server that restarts: load it again
    if (!video.getAttribute("src")) return;
    await wait(1000);
    video.load();
    apply();
  });
});
at("pause").addEventListener("click", () => { playing = !playing; playing && videos.every((v) => v.ended) ? rewind() : apply(); });
at("again").addEventListener("click", rewind);
document.addEventListener("visibilitychange", () => {
  if (document.hidden && since !== null) {
    lookedMs += performance.now() - since;
    since = null;
  } else if (!document.hidden && since === null) since = performance.now();
  if (!at("pair").hidden) apply();
});

// ------------------------------------------------------------------------------------------------------- answering

const answers = () => Object.fromEntries([...at("form").querySelectorAll("input:checked")].map((input) => [input.name, input.value]));
const seen = () => loops.every((count) => count > 0);

function refresh() {
  const open = pair.questions.filter((question) => !(question.name in answers())).length;
  for (const input of at("form").querySelectorAll("input")) input.disabled = !seen() || saving;
  at("watch").textContent = seen() ? "" : "Please watch both videos to the end first.";
  at("missing").textContent = !seen() || saving ? "" : open === 0 ? "" : open === 1 ? "1 question is open." : `${open} questions are open.`;
  at("submit").disabled = !seen() || open > 0 || saving;
}

const looked = () => Math.round(lookedMs + (since === null ? 0 : performance.now() - since));
const keep = () => stored.set(draftKey(), { answers: answers(), ms: looked() });

window.addEventListener("pagehide", () => { if (!at("pair").hidden && !saving) keep(); });
at("form").addEventListener("change", () => { keep(); refresh(); });
at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (saving || at("submit").disabled) return;
  const given = answers();
  const ms = looked();
  saving = true;
  refresh();
  const { status, json } = await ask(`/api/${token}/${pair.position}`, { answers: given, ms, loops });
  saving = false;
  say("");
  if (status === 200 || status === 409 || status === 410) {
    stored.drop(draftKey());
    await next();
  } else {
    refresh();
    say(json.error);
  }
});
at("start").addEventListener("click", begin);
next();
