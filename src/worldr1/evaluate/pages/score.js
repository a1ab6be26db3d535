"use strict";
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

// A player's panels show the same frame of sheets that were cut alike, so they cannot run apart.
function start(player) {
  const panels = [...player.querySelectorAll("figure")].map((figure) => ({
    context: figure.querySelector("canvas").getContext("2d"),
    sheet: figure.querySelector("img"),
  }));
  const [button, slider, output] = ["button", "input", "output"].map((name) => player.querySelector(name));
  const times = player.dataset.times.split(",");
  const columns = Number(player.dataset.columns);
  let playing = !calm;
  let visible = false;
  let timer = 0;

  function show() {
    const frame = Number(slider.value);
    for (const { context, sheet } of panels) {
      const { width, height } = context.canvas;
      const left = (frame % columns) * width;
      const top = Math.floor(frame / columns) * height;
      context.drawImage(sheet, left, top, width, height, 0, 0, width, height);
    }
    const said = `${frame + 1} of ${times.length}, at ${times[frame]} s`;
    output.textContent = said;
    slider.setAttribute("aria-valuetext", said);
  }

  function step() {
    slider.value = String((Number(slider.value) + 1) % times.length);
    show();
  }

  // Only what can be seen plays: a page of players would keep a small machine busy.
  function apply() {
    clearInterval(timer);
    if (playing && visible) timer = setInterval(step, 1000 / Number(player.dataset.rate));
    button.textContent = playing ? "Pause" : "Play";
  }

  button.addEventListener("click", () => { playing = !playing; apply(); });
  slider.addEventListener("input", () => { playing = false; apply(); show(); });
  new IntersectionObserver(([entry]) => { visible = entry.isIntersecting; apply(); }).observe(player);
  Promise.all(panels.map(({ sheet }) => sheet.decode())).then(show);
  apply();
}

for (const player of document.querySelectorAll(".player")) start(player);
