"use strict";
const buttons = document.querySelectorAll(".play");
const visible = new Set();
let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;

function apply() {
  for (const video of document.querySelectorAll("video")) {
    if (playing && visible.has(video)) video.play().catch(() => {}); // a browser may refuse: then it stays still
    else video.pause();
  }
  for (const button of buttons) button.textContent = playing ? "Pause all" : "Play all";
}

for (const button of buttons) button.addEventListener("click", () => { playing = !playing; apply(); });

// Only what can be seen plays: a page of videos would keep a small machine busy.
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.isIntersecting ? visible.add(entry.target) : visible.delete(entry.target);
  apply();
});
for (const video of document.querySelectorAll("video")) watcher.observe(video);

// The videos of a prompt are compared frame by frame, so they start every round together.
for (const sides of document.querySelectorAll(".sides")) {
  const videos = [...sides.querySelectorAll("video")];
  for (const video of videos) video.loop = false;
  if (videos.length) videos[0].addEventListener("ended", () => {
    for (const video of videos) video.currentTime = 0;
    apply();
  });
}
apply();
