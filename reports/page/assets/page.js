"use strict";
(function () {
  const $ = (id) => document.getElementById(id);

  // Case pages: the folder next to this file is looked up when a reader first reaches for a link.
  let folder = null;
  function look() {
    if (folder) return folder;
    folder = new Promise((resolve) => {
      const probe = new Image();
      probe.onload = () => resolve(true);
      probe.onerror = () => resolve(false);
      probe.src = "cases/here.svg";
    });
    folder.then((there) => {
      if (there) return;
      const note = $("cases-note");
      note.className = "banner";
      note.setAttribute("role", "status");
      note.textContent = "The case pages are missing: the folder cases/ is not next to this file. " +
        "Ask for the whole run folder, or run: python -m harness report RUN";
      document.querySelectorAll("a.case").forEach((link) => {
        link.classList.add("gone");
        link.title = "not available: the folder cases/ is missing";
      });
    });
    return folder;
  }
  const grid = $("grid");
  if (grid) {
    for (const kind of ["pointerover", "focusin"]) grid.addEventListener(kind, (e) => e.target.closest("a.case") && look());
    grid.addEventListener("click", (event) => {
      const link = event.target.closest("a.case");
      if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
      event.preventDefault();
      look().then((there) => {
        if (there) location.href = link.href;
        else $("cases-note").scrollIntoView({ block: "center" });
      });
    });
  }

  // Filters of the grid, kept in the address: #ticker=AAPL&differs=1
  const fields = { ticker: $("f-ticker"), date: $("f-date"), status: $("f-status"), arm: $("f-arm") };
  const differs = $("f-differs");
  if (!grid || !differs) return;
  const rows = Array.from(grid.tBodies[0].rows, (row) => ({
    row, ticker: row.dataset.t, date: row.dataset.d,
    cells: Array.from(row.cells).filter((cell) => cell.dataset.a !== undefined).map((cell) => ({
      arm: cell.dataset.a, marks: cell.textContent ? cell.dataset.v.split("|") : [],
    })),
  }));
  const usable = new Set(["Buy", "Overweight", "Hold", "Underweight", "Sell"]);

  function read() {
    const params = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
    for (const [name, field] of Object.entries(fields)) {
      if (!field) continue;
      const wanted = params.get(name) || "";
      field.value = Array.from(field.options).some((o) => o.value === wanted) ? wanted : "";
    }
    differs.setAttribute("aria-pressed", String(params.get("differs") === "1"));
    return location.hash.includes("=");
  }
  function write() {
    const params = new URLSearchParams();
    for (const [name, field] of Object.entries(fields)) if (field && field.value) params.set(name, field.value);
    if (differs.getAttribute("aria-pressed") === "true") params.set("differs", "1");
    const text = params.toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  }
  function status(marks, wanted) {
    if (!wanted) return true;
    if (wanted === "usable") return marks.length > 0 && marks.every((mark) => usable.has(mark));
    if (wanted === "flips") return new Set(marks).size > 1;
    return marks.includes(wanted);
  }
  function apply() {
    const arm = fields.arm ? fields.arm.value : "";
    const shown = (slot) => !arm || slot === arm || slot === grid.dataset.base;
    grid.querySelectorAll("[data-a]").forEach((cell) => cell.classList.toggle("hide", !shown(cell.dataset.a)));
    const onlyDiffering = differs.getAttribute("aria-pressed") === "true";
    let left = 0;
    for (const item of rows) {
      const cells = item.cells.filter((cell) => shown(cell.arm) && cell.marks.length);
      const isDiffering = new Set(cells.map((cell) => cell.marks[0])).size > 1;
      const keep = (!fields.ticker.value || item.ticker === fields.ticker.value) &&
        (!fields.date.value || item.date === fields.date.value) && (!onlyDiffering || isDiffering) &&
        (!fields.status.value || cells.some((cell) => status(cell.marks, fields.status.value)));
      item.row.classList.toggle("hide", !keep);
      item.row.classList.toggle("dif", isDiffering);
      left += keep;
    }
    $("f-count").textContent = left === rows.length ? `${rows.length} cases` : `${left} of ${rows.length} cases`;
  }
  for (const field of Object.values(fields)) if (field) field.addEventListener("change", () => { write(); apply(); });
  differs.addEventListener("click", () => {
    differs.setAttribute("aria-pressed", String(differs.getAttribute("aria-pressed") !== "true"));
    write(); apply();
  });
  window.addEventListener("hashchange", () => { if (read()) apply(); });
  if (read()) { apply(); $("decisions").scrollIntoView(); } else apply();
})();
