"use strict";
// A CSV of every table, as it is shown; texts that a spreadsheet would run as a formula start with an apostrophe.
(function () {
  const NUMBER = /^[+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?\s?(?:%|pp|bp|s|ms)?$/;
  const PAUSE = new Set(["BR", "SMALL", "DIV", "P"]);
  function text(node) {
    if (node.nodeType === Node.TEXT_NODE) return node.data;
    if (node.nodeType !== Node.ELEMENT_NODE || node.tagName === "SVG" || node.tagName === "svg") return "";
    const inner = Array.from(node.childNodes, text).join("");
    return PAUSE.has(node.tagName) || node.classList.contains("sub") || node.classList.contains("ci") ? ` ${inner} ` : inner;
  }
  function field(value) {
    const plain = value.replace(/\s+/g, " ").trim().replaceAll("\u2212", "-");
    const safe = /^[=+\-@]/.test(plain) && !NUMBER.test(plain) ? "'" + plain : plain;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }
  // Cells that span columns or rows leave the rest of their places empty, so that each value stays under its head.
  function grid(table) {
    const taken = [];
    return Array.from(table.rows, (row) => {
      const line = [];
      const add = (value, rows) => { taken[line.length] = rows; line.push(value); };
      const skip = () => { while (taken[line.length] > 0) add("", taken[line.length] - 1); };
      for (const cell of row.cells) {
        skip();
        for (let at = 0; at < cell.colSpan; at++) add(at ? "" : text(cell), cell.rowSpan - 1);
      }
      skip();
      return line;
    });
  }
  const lines = (table) => (table.csv ? table.csv() : grid(table));
  function save(name, rows) {
    const link = document.createElement("a");
    const content = rows.map((row) => row.map(field).join(",")).join("\n") + "\n";
    link.href = URL.createObjectURL(new Blob(["\ufeff", content], { type: "text/csv" }));
    link.download = `${name.toLowerCase().replace(/[^a-z0-9.-]+/g, "-").replace(/^-+|-+$/g, "") || "table"}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
  for (const table of document.querySelectorAll("main .scroll > table, main > * > table")) {
    const box = table.closest(".scroll") || table;
    const name = table.dataset.csv || table.id || box.getAttribute("aria-label") || "table";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "csv";
    button.textContent = "download CSV";
    button.setAttribute("aria-label", `download CSV: ${name}`);
    button.addEventListener("click", () => save(name, lines(table)));
    box.after(button);
  }
})();
