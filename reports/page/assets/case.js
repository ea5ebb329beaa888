"use strict";
(function () {
  const CELLS = 2.5e7; // most comparisons of one alignment, about 0.2 s

  // A link to a part shown above opens it.
  function open(id) {
    const part = document.getElementById(id);
    for (let box = part; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
  }
  const jump = () => location.hash.startsWith("#p-") && open(location.hash.slice(1));
  window.addEventListener("hashchange", jump);
  document.addEventListener("click", (e) => {
    const link = e.target.closest("a.again");
    if (link) open(link.getAttribute("href").slice(1));
  });
  jump();

  // Some arms and one repeat at a time. The arms live in the address (#arms=0,2) and follow the reader to the next case.
  const reps = Array.from(document.querySelectorAll("button.rep")), picks = Array.from(document.querySelectorAll("button.pick"));
  const pressed = (button) => button.getAttribute("aria-pressed") === "true";
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  const TOGETHER = 3; // panes that fit a screen next to each other
  function show() {
    const repeat = Number((reps.find(pressed) || { dataset: { r: "0" } }).dataset.r);
    const arms = new Set(picks.filter(pressed).map((b) => b.dataset.arm));
    const hidden = (arm) => picks.length > 0 && !arms.has(arm);
    for (const row of document.querySelectorAll(".panes:not(.outputs)")) {
      const panes = Array.from(row.children);
      const last = {};
      for (const p of panes) last[p.dataset.arm] = Math.max(last[p.dataset.arm] || 0, Number(p.dataset.r));
      for (const p of panes) {
        p.classList.toggle("hide", hidden(p.dataset.arm) || Number(p.dataset.r) !== Math.min(repeat, last[p.dataset.arm]));
      }
    }
  }
  function choose(arms) {
    const there = picks.filter((b) => arms.includes(b.dataset.arm));
    for (const b of picks) press(b, there.length ? there.includes(b) : true);
  }
  function remember() {
    const arms = picks.filter(pressed).map((b) => b.dataset.arm), hash = arms.length < picks.length ? `#arms=${arms}` : "#arms=all";
    history.replaceState(null, "", hash);
    carry(hash);
  }
  function carry(hash) {
    for (const link of document.querySelectorAll("a.to-before, a.to-after")) link.hash = hash;
  }
  for (const b of reps) b.addEventListener("click", () => { reps.forEach((other) => press(other, other === b)); show(); });
  for (const b of picks) b.addEventListener("click", () => {
    if (pressed(b) && picks.filter(pressed).length === 1) return;
    press(b, !pressed(b)); remember(); show();
  });
  const all = document.getElementById("all-arms");
  if (all) all.addEventListener("click", () => { picks.forEach((b) => press(b, true)); remember(); show(); });
  const wanted = /^#arms=(.*)$/.exec(location.hash);
  if (wanted) { choose(wanted[1].split(",")); carry(location.hash); }
  else if (picks.length > TOGETHER + 1) choose(picks.slice(0, TOGETHER).map((b) => b.dataset.arm));
  show();

  // j and k turn the pages, unless the reader types or holds a modifier.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const link = document.querySelector({ j: "a.to-after", k: "a.to-before" }[event.key] || "nothing");
    if (link) location.href = link.href;
  });

  // Replayed prompts: only those that differ, or that hold figures which their prompt does not give.
  const only = Array.from(document.querySelectorAll("button.only"));
  function filter() {
    const wanted = only.filter((b) => b.getAttribute("aria-pressed") === "true").map((b) => b.dataset.only);
    const pairs = Array.from(document.querySelectorAll(".again-pair"));
    for (const pair of pairs) pair.classList.toggle("hide", !wanted.every((w) => w in pair.dataset));
    const shown = pairs.filter((p) => !p.classList.contains("hide")).length;
    document.getElementById("again-count").textContent = `${shown} of ${pairs.length} shown`;
  }
  for (const b of only) b.addEventListener("click", () => {
    b.setAttribute("aria-pressed", String(b.getAttribute("aria-pressed") !== "true"));
    filter();
  });
  if (only.length) filter();

  // Word differences, on demand, against the first arm of the row.
  for (const row of document.querySelectorAll(".panes")) {
    const panes = Array.from(row.children).filter((p) => p.querySelector(".said"));
    for (const pane of panes) {
      if (pane.dataset.arm === row.firstElementChild.dataset.arm) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "small diff";
      button.textContent = `differences from ${row.firstElementChild.dataset.name}`;
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => toggle(button, row, pane));
      pane.querySelector(".said").before(button);
    }
  }
  function toggle(button, row, pane) {
    const text = pane.querySelector(".said");
    if (button.kept) {
      text.replaceChildren(...button.kept);
      text.classList.remove("compared");
      button.kept = null;
    }
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    if (!on) return;
    const first = row.firstElementChild.dataset.arm;
    const others = Array.from(row.children).filter((p) => p.dataset.arm === first && p.querySelector(".said"));
    const other = others.find((p) => p.dataset.r === pane.dataset.r) || others[0];
    button.kept = Array.from(text.childNodes);
    const said = other ? other.querySelector(".said").textContent : "";
    text.replaceChildren(...marked(said.trim(), text.textContent.trim()));
    text.classList.add("compared");
  }
  function marked(one, two) {
    const words = /\S+\s*|\s+/g, lines = /[^\n]*\n|[^\n]+/g;
    let pieces = align(one.match(words) || [], two.match(words) || []);
    let note = "";
    if (!pieces) { pieces = align(one.match(lines) || [], two.match(lines) || []); note = "Long texts: compared line by line.\n\n"; }
    if (!pieces) { pieces = [["same", two]]; note = "These texts are too long to compare here.\n\n"; }
    return pieces.map(([kind, said]) => {
      const node = document.createElement(kind === "same" ? "span" : kind);
      node.textContent = said;
      return node;
    }).reduce((all, node) => (all.push(node), all), note ? [document.createTextNode(note)] : []);
  }
  // Longest common subsequence; null when it would take too long.
  function align(a, b) {
    const x = a.map((w) => w.trim()), y = b.map((w) => w.trim());
    let start = 0, endA = a.length, endB = b.length;
    while (start < endA && start < endB && x[start] === y[start]) start++;
    while (endA > start && endB > start && x[endA - 1] === y[endB - 1]) { endA--; endB--; }
    const n = endA - start, m = endB - start;
    if (n * m > CELLS) return null;
    const way = new Uint8Array(n * m);
    let below = new Int32Array(m + 1), here = new Int32Array(m + 1);
    for (let i = n - 1; i >= 0; i--) {
      for (let j = m - 1; j >= 0; j--) {
        if (x[start + i] === y[start + j]) { here[j] = below[j + 1] + 1; way[i * m + j] = 0; }
        else if (below[j] >= here[j + 1]) { here[j] = below[j]; way[i * m + j] = 1; }
        else { here[j] = here[j + 1]; way[i * m + j] = 2; }
      }
      [below, here] = [here, below];
      here.fill(0);
    }
    const out = [];
    const add = (kind, text) => {
      if (!text) return;
      const last = out[out.length - 1];
      if (last && last[0] === kind) last[1] += text; else out.push([kind, text]);
    };
    add("same", b.slice(0, start).join(""));
    let i = 0, j = 0;
    while (i < n || j < m) {
      if (i < n && j < m && way[i * m + j] === 0) { add("same", b[start + j]); i++; j++; }
      else if (i < n && (j >= m || way[i * m + j] === 1)) { add("del", a[start + i]); i++; }
      else { add("ins", b[start + j]); j++; }
    }
    add("same", b.slice(endB).join(""));
    return out;
  }
})();
