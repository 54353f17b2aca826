"""The page's only script: names under the pointer, and switches on the token map. It never fetches and never writes.

The page's own policy forbids everything but this text, known by its hash; whatever else might pass for a script, or ask
the network for something, is stopped by the browser.
"""

from __future__ import annotations

import base64
import hashlib

from fedspine.report.markup import Markup, join, tag, trusted

SCRIPT = """
"use strict";
addEventListener("DOMContentLoaded", () => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "status");
  document.body.append(tip);
  const place = (x, y) => {
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 4)) + "px";
    tip.style.top = (y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18) + "px";
  };
  const light = (target) => {
    const token = target && target.dataset.token;
    for (const block of document.querySelectorAll(".tokens")) {
      const inside = token !== undefined && block.contains(target);
      for (const other of block.querySelectorAll("[data-token]"))
        other.classList.toggle("dim", inside && other.dataset.token !== token);
    }
  };
  const show = (target, x, y) => {
    light(target);
    const says = target && target.dataset.tip;
    tip.textContent = says || "";
    tip.classList.toggle("on", Boolean(says));
    if (says) place(x, y);
  };
  const named = (node) => (node instanceof Element ? node.closest("[data-tip], [data-token]") : null);
  addEventListener("pointerover", (event) => show(named(event.target), event.clientX, event.clientY));
  addEventListener("pointermove", (event) => tip.classList.contains("on") && place(event.clientX, event.clientY));
  addEventListener("focusin", (event) => {
    const target = named(event.target);
    const box = target && target.getBoundingClientRect();
    if (box) show(target, box.right, box.bottom);
  });
  addEventListener("focusout", () => show(null, 0, 0));
  addEventListener("keydown", (event) => event.key === "Escape" && show(null, 0, 0));
  for (const button of document.querySelectorAll("button[data-key]"))
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const item of button.closest(".tokens").querySelectorAll("svg [data-" + button.dataset.key + "]"))
        if (item.dataset[button.dataset.key] === button.dataset.value) item.classList.toggle("gone", !shown);
    });
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
});
"""


def script() -> Markup:
    """Return the policy of the page and the script that it allows."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
        f"script-src 'sha256-{digest}'"
    )
    return join(tag("meta", http_equiv="Content-Security-Policy", content=policy), tag("script", trusted(SCRIPT)))
