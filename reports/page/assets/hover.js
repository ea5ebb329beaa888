"use strict";
// Values of charts: shown to the pointer, and to the keyboard (Tab to a chart, then the arrow keys; Escape closes).
(function () {
  for (const title of document.querySelectorAll("svg title")) {
    title.parentElement.dataset.tip = title.textContent;
    title.remove();
  }
  const box = document.createElement("div");
  box.className = "tip hide";
  box.setAttribute("role", "status");
  document.body.append(box);
  let shown = null;

  function hide() {
    if (shown) shown.classList.remove("on");
    shown = null;
    box.classList.add("hide");
  }
  function show(mark, x, y) {
    if (shown !== mark) {
      hide();
      shown = mark;
      mark.classList.add("on");
      box.textContent = mark.dataset.tip;
      box.classList.remove("hide");
    }
    const at = mark.getBoundingClientRect(), room = document.documentElement.clientWidth;
    const left = x === undefined ? at.left + at.width / 2 : x, top = y === undefined ? at.top : y;
    const tall = box.offsetHeight, wide = box.offsetWidth;
    box.style.left = `${scrollX + Math.max(4, Math.min(left + 14, room - wide - 4))}px`;
    box.style.top = `${scrollY + (top - tall - 12 > 0 ? top - tall - 12 : top + 20)}px`;
  }
  const marked = (target) => target instanceof Element && target.closest("[data-tip]");
  document.addEventListener("pointermove", (event) => {
    const mark = marked(event.target);
    if (mark) show(mark, event.clientX, event.clientY);
    else if (shown && !shown.closest(":focus")) hide();
  });

  // One stop of the Tab key per chart.
  const charts = new Set(Array.from(document.querySelectorAll("[data-tip]"), (mark) => mark.closest("svg, [data-chart]") || mark));
  for (const chart of charts) chart.setAttribute("tabindex", "0");
  const marks = (chart) => (chart.matches("[data-tip]") ? [chart] : Array.from(chart.querySelectorAll("[data-tip]")));
  document.addEventListener("focusin", (event) => charts.has(event.target) && event.target.matches(":focus-visible") &&
    show(marks(event.target)[0]));
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || !charts.has(document.activeElement)) return;
    const all = marks(document.activeElement);
    event.preventDefault();
    show(all[(all.indexOf(shown) + step + all.length) % all.length]);
  });

  // On paper every fold is open.
  let opened = [];
  addEventListener("beforeprint", () => {
    hide();
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    for (const fold of opened) fold.open = true;
  });
  addEventListener("afterprint", () => opened.forEach((fold) => { fold.open = false; }));
})();
