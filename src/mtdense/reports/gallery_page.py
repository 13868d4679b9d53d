"""The fixed parts of the gallery: its style, its script and the frame of its page."""

from __future__ import annotations

import base64
import hashlib

__all__ = ["SCRIPT", "SCRIPT_HASH", "STYLE"]

STYLE = """
:root { color-scheme: light dark; --ink: #1d2127; --faint: #5d6670; --ground: #f4f5f7; --card: #fff; --line: #d9dde2;
  --accent: #0b5cad; --on: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --faint: #a3abb5; --ground: #15181c; --card: #1f2429;
  --line: #353c44; --accent: #8ab8ff; --on: #10151b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 1500px; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0; letter-spacing: -0.01em; }
header p { margin: .25rem 0 .5rem; color: var(--faint); }
fieldset { border: 0; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; }
legend { float: left; padding: 0; margin-right: .6rem; color: var(--faint); font-size: .9rem; }
.all { position: sticky; top: 0; z-index: 3; background: var(--ground); padding: .6rem 0;
  border-bottom: 1px solid var(--line); }
.choice { position: relative; }
.choice input { position: absolute; opacity: 0; inset: 0; margin: 0; width: 100%; height: 100%; cursor: pointer; }
.choice span, .all button { display: block; padding: .25rem .75rem; border: 1px solid var(--line); border-radius: 999px;
  background: var(--card); color: inherit; font: inherit; font-size: .9rem; }
.all button { cursor: pointer; }
.choice input:checked + span { background: var(--accent); border-color: var(--accent); color: var(--on); }
.choice input:focus-visible + span, button:focus-visible, a:focus-visible {
  outline: 3px solid var(--accent); outline-offset: 2px; }
.stage:has(input:focus-visible) { outline: 3px solid var(--accent); outline-offset: -3px; z-index: 1; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); gap: 1.25rem;
  padding-top: 0; padding-bottom: 2rem; align-items: start; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden;
  content-visibility: auto; contain-intrinsic-size: 420px 480px; }
.wide { grid-column: 1 / -1; }
h2 { font-size: 1rem; margin: 0; padding: .7rem 1rem .6rem; overflow-wrap: anywhere; }
h2 small { color: var(--faint); font-weight: 400; margin-left: .4rem; }
.stage { position: relative; background: #000; line-height: 0; --cut: 50%; touch-action: pan-y; max-height: 75vh;
  margin: 0 auto; }
.stage img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; user-select: none; }
.stage .map { clip-path: inset(0 0 0 var(--cut)); }
.stage .bar { position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 4px rgb(0 0 0 / .7); pointer-events: none; }
.stage .bar::after { content: "\\2194"; position: absolute; top: 50%; left: 50%; translate: -50% -50%; width: 34px;
  height: 34px; border-radius: 50%; background: #fff; color: #222; font: 20px/34px system-ui, sans-serif;
  text-align: center; box-shadow: 0 1px 5px rgb(0 0 0 / .5); }
.stage input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize;
  touch-action: pan-y; }
.below { padding: .7rem 1rem .9rem; }
.key { list-style: none; display: flex; flex-wrap: wrap; gap: .15rem .9rem; margin: .6rem 0 0; padding: 0;
  color: var(--faint); font-size: .85rem; }
.key i { display: inline-block; width: .85em; height: .85em; margin-right: .35em; border: 1px solid var(--faint);
  border-radius: 3px; vertical-align: -.08em; }
.files { margin: .5rem 0 0; font-size: .85rem; }
.files a { margin-right: .8rem; white-space: nowrap; }
a { color: var(--accent); }
video { width: 100%; display: block; background: #000; }
footer { color: var(--faint); font-size: .85rem; padding-bottom: 2rem; }
[hidden] { display: none !important; }
"""

SCRIPT = """
for (const card of document.querySelectorAll("article")) {
  const stage = card.querySelector(".stage");
  if (!stage) continue;
  const slider = stage.querySelector("input");
  const move = () => stage.style.setProperty("--cut", slider.value + "%");
  slider.addEventListener("input", move);
  move();
  const show = (task) => {
    for (const part of card.querySelectorAll("[data-task]")) part.hidden = part.dataset.task !== task;
  };
  for (const choice of card.querySelectorAll("fieldset input")) {
    choice.addEventListener("change", () => show(choice.value));
    if (choice.checked) show(choice.value);
  }
}
for (const button of document.querySelectorAll("button[data-all]")) {
  button.addEventListener("click", () => {
    for (const choice of document.querySelectorAll("article fieldset input"))
      if (choice.value === button.dataset.all) choice.click();
  });
}
for (const button of document.querySelectorAll("button[data-cut]")) {
  button.addEventListener("click", () => {
    for (const slider of document.querySelectorAll(".stage input")) {
      slider.value = button.dataset.cut;
      slider.dispatchEvent(new Event("input"));
    }
  });
}
"""

SCRIPT_HASH = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
"""Lets the page's policy admit this script and no other, whatever a file's name may hold."""
