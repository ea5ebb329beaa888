"use strict";
// Shared by all pages: tables that sort, and the section that the reader is in.
(function () {
  document.documentElement.classList.add("js");

  // A cell's data-k is what it is sorted by, else its text; unknown values ("") stay last in both directions.
  function key(cell) {
    const text = cell.dataset.k === undefined ? cell.textContent.trim() : cell.dataset.k;
    const number = Number(text.replace("\u2212", "-"));
    return text === "" ? null : Number.isNaN(number) ? text : number;
  }
  function sort(table, column, down) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => [key(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === typeof b ? (a > b) - (a < b) : typeof a === "number" ? -1 : 1;
      return down ? -order : order;
    });
    body.append(...rows.map(([, row]) => row));
    Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells, (head, at) => {
      if (at === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("th button.sort");
    if (!button) return;
    const head = button.closest("th");
    const last = head.getAttribute("aria-sort");
    const down = last ? last !== "descending" : head.dataset.first !== "up";
    sort(head.closest("table"), head.cellIndex, down);
  });
  // On a phone a select takes the place of the heads: its values are column and first direction, for example "3 down".
  for (const select of document.querySelectorAll("select.sort-by")) {
    select.addEventListener("change", () => {
      const [column, way] = select.value.split(" ");
      sort(document.getElementById(select.dataset.table), Number(column), way === "down");
    });
  }

  // What is scrolled to, and what sticks below the navigation, follows its height.
  const bar = document.querySelector("nav.top");
  if (bar && window.ResizeObserver) new ResizeObserver(() => {
    document.documentElement.style.setProperty("--nav", `${bar.offsetHeight}px`);
  }).observe(bar);

  const links = new Map(Array.from(document.querySelectorAll('nav.top a[href^="#"]'), (a) => [a.hash.slice(1), a]));
  if (!links.size || !window.IntersectionObserver) return;
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      const link = links.get(entry.target.id), row = link.closest("ul");
      link.setAttribute("aria-current", "true");
      row.scrollLeft = link.offsetLeft - row.clientWidth / 3;
    }
  }, { rootMargin: "-20% 0px -75%" });
  for (const id of links.keys()) if (document.getElementById(id)) seen.observe(document.getElementById(id));
})();
