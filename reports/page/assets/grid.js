"use strict";
// The confusion matrix's picker, and the grid of every decision, which is drawn from the data in the page.
(function () {
  const $ = (id) => document.getElementById(id);
  const picker = $("matrix-picker");
  if (picker) picker.addEventListener("change", (event) => {
    for (const box of document.querySelectorAll(".matrix-of")) box.classList.toggle("on", box.dataset.arm === event.target.value);
  });

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
      document.querySelectorAll("a.case").forEach(lose);
    });
    return folder;
  }
  function lose(link) {
    link.classList.add("gone");
    link.title = "not available: the folder cases/ is missing";
  }
  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (e) => e.target instanceof Element && e.target.closest("a.case") && look());
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.case");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    look().then((there) => {
      if (there) location.href = link.href;
      else if ($("cases-note")) $("cases-note").scrollIntoView({ block: "center" });
    });
  });

  const grid = $("grid");
  if (!grid) return;
  const data = JSON.parse($("grid-data").textContent);
  const FIRST = 25, STEP = 500, ON_PAPER = 2000;
  const SCORE = { B: 2, o: 1, H: 0, u: -1, S: -2 };
  const WORD = { B: "Buy", o: "Overweight", H: "Hold", u: "Underweight", S: "Sell" };
  const CODE = { B: "r2", o: "r1", H: "r0", u: "r-1", S: "r-2" };
  const word = (mark) => WORD[mark] || data.reasons[Number(mark)];
  const cases = data.rows.map(([ticker, date, answers, outcome, spread, page]) => ({ ticker, date, answers, outcome, spread, page }));
  const fields = { search: $("f-search"), show: $("f-show"), answer: $("f-answer"), arm: $("f-arm") };
  const fade = $("f-fade"), more = $("f-more"), body = grid.tBodies[0];
  let order = { by: "spread", down: true }, kept = [], drawn = 0, limit = FIRST;

  // Which arms count: with a filter the chosen pair, else those with a model.
  const isShown = (slot) => !fields.arm || !fields.arm.value || String(slot) === fields.arm.value || slot === data.base;
  const counts = (slot) => isShown(slot) && (Boolean(fields.arm && fields.arm.value) || !data.arms[slot].rule);
  const given = (item, slot) => Array.from(item.answers[slot] || "").filter((mark) => mark !== " ");
  const slots = () => data.arms.map((_, slot) => slot).filter(counts);
  const usual = (marks) => {
    const scores = marks.filter((mark) => mark in SCORE).map((mark) => SCORE[mark]).sort((a, b) => a - b);
    return scores.length ? scores[scores.length >> 1] : null;
  };
  const tests = {
    "": () => true,
    differ: (lists) => new Set(lists.flat().map(word)).size > 1,
    usual: (lists) => new Set(lists.map(usual).filter((score) => score !== null)).size > 1,
    split: (lists) => isSplit(lists),
    flips: (lists) => lists.some((marks) => new Set(marks).size > 1),
  };
  function isSplit(lists) {
    const sides = lists.map((marks) => new Set(marks.map((mark) => Math.sign(SCORE[mark] || 0))));
    return sides.some((a, i) => sides.some((b, j) => i !== j && a.has(1) && b.has(-1)));
  }
  function fits(item) {
    const query = fields.search.value.trim().toUpperCase(), answer = fields.answer.value;
    if (query && !`${item.ticker} ${item.date}`.toUpperCase().includes(query)) return false;
    const lists = slots().map((slot) => given(item, slot)).filter((marks) => marks.length);
    if (!(tests[fields.show.value] || tests[""])(lists)) return false;
    if (!answer) return true;
    const shown = data.arms.flatMap((_, slot) => (isShown(slot) ? given(item, slot) : []));
    return answer === "usable" ? shown.length > 0 && shown.every((mark) => mark in SCORE) : shown.some((mark) => word(mark) === answer);
  }
  function compare(a, b) {
    const x = a[order.by], y = b[order.by];
    if (x === null || y === null) return (x === null) - (y === null);
    return (x > y ? 1 : x < y ? -1 : 0) * (order.down ? -1 : 1) || (a.date > b.date ? 1 : a.date < b.date ? -1 : 0) || (a.ticker > b.ticker ? 1 : -1);
  }

  function element(name, kind, text) {
    const made = document.createElement(name);
    if (kind) made.className = kind;
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function signed(percent) {
    const size = Math.abs(percent).toFixed(1);
    return `${size === "0.0" ? "" : percent > 0 ? "+" : "\u2212"}${size} %`;
  }
  function row(item) {
    const line = element("tr", isSplit(slots().map((slot) => given(item, slot))) ? "split" : "");
    const head = element("th");
    head.scope = "row";
    if (item.page) {
      const link = element("a", "case", item.ticker);
      const chosen = fields.arm && fields.arm.value ? `#arms=${data.base === undefined || data.base === null ? "" : data.base + ","}${fields.arm.value}` : "";
      link.href = `cases/${item.page === 1 ? `${item.ticker}@${item.date}` : item.page}.html${chosen}`;
      link.setAttribute("aria-label", `${item.ticker} ${item.date}`);
      head.append(link);
    } else head.textContent = item.ticker;
    line.append(head, element("td", "date", item.date));
    data.arms.forEach((arm, slot) => {
      const cell = element("td", isShown(slot) ? "of-arm" : "of-arm hide"), marks = given(item, slot);
      if (!marks.length) cell.append(element("span", "none", "not run"));
      for (const mark of marks) {
        const wrong = item.outcome !== null && mark in SCORE && Math.sign(SCORE[mark]) * item.outcome < 0;
        const letter = element("i", `key ${CODE[mark] || "rx"}${wrong ? " wrong" : ""}`, mark in SCORE ? mark : "?");
        letter.title = `${arm.name}: ${word(mark)}`;
        cell.append(letter);
      }
      line.append(cell);
    });
    if (grid.querySelector('[data-sort="outcome"]')) {
      line.append(element("td", "n", item.outcome === null ? "pending" : signed(item.outcome * 100)));
    }
    line.append(element("td", "n spread", item.spread.toFixed(1)));
    return line;
  }
  function fill(upTo) {
    const fragment = document.createDocumentFragment();
    for (; drawn < Math.min(upTo, kept.length); drawn++) fragment.append(row(kept[drawn]));
    body.append(fragment);
    const left = kept.length - drawn;
    more.classList.toggle("hide", left <= 0);
    more.textContent = left <= STEP ? `Show all ${kept.length}` : `Show ${STEP} more of ${kept.length}`;
    if (folder) folder.then((there) => there || body.querySelectorAll("a.case").forEach(lose));
  }
  function draw() {
    kept = cases.filter(fits).sort(compare);
    body.replaceChildren();
    drawn = 0;
    fill(limit);
    for (const head of grid.tHead.rows[0].cells) {
      if (head.dataset.a !== undefined) head.classList.toggle("hide", !isShown(Number(head.dataset.a)));
      if (head.dataset.sort === order.by) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    grid.classList.toggle("fade", Boolean(fade && fade.checked));
    const most = Math.max(1, ...cases.map((item) => Math.max(...item.answers.map((marks) => marks.length))));
    const shown = data.arms.filter((_, slot) => isShown(slot)).length;
    grid.style.setProperty("--columns", Math.max(1, Math.min(shown, Math.floor(350 / (most * 15 + 4)))));
    $("f-count").textContent = kept.length === cases.length ? `${cases.length} cases` : `${kept.length} of ${cases.length} cases`;
  }

  grid.csv = () => [
    ["ticker", "date", ...data.arms.map((arm) => arm.name), "excess return", "spread"],
    ...kept.map((item) => [
      item.ticker, item.date, ...data.arms.map((_, slot) => given(item, slot).map(word).join(" / ")),
      item.outcome === null ? "" : String(item.outcome), String(item.spread),
    ]),
  ];

  // Filters live in the address, next to what other parts of the page keep there: #search=AAPL&show=differ
  const names = ["search", "show", "answer", "arm"];
  const params = () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  function read() {
    const all = params();
    for (const name of names) {
      const field = fields[name], wanted = all.get(name) || "";
      if (!field) continue;
      field.value = field.options && !Array.from(field.options).some((o) => o.value === wanted) ? "" : wanted;
    }
    return names.some((name) => all.has(name));
  }
  function write() {
    const all = params();
    for (const name of names) if (fields[name] && fields[name].value) all.set(name, fields[name].value); else all.delete(name);
    const text = all.toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  }
  function changed() { limit = FIRST; write(); draw(); }
  for (const field of Object.values(fields)) if (field) field.addEventListener("input", changed);
  if (fade) fade.addEventListener("change", draw);
  more.addEventListener("click", () => { limit = drawn + STEP; fill(limit); });
  grid.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("button.sort") && event.target.closest("th");
    if (!head) return;
    event.stopPropagation(); // the rows of this table are not all in the document
    const by = head.dataset.sort;
    order = { by, down: order.by === by ? !order.down : by === "spread" || by === "outcome" };
    draw();
  });
  $("f-sort").addEventListener("change", (event) => {
    const [by, way] = event.target.value.split(" ");
    order = { by, down: way === "down" };
    draw();
  });
  addEventListener("beforeprint", () => fill(ON_PAPER));
  addEventListener("hashchange", () => { if (read()) { limit = FIRST; draw(); } });
  if (read()) { draw(); $("decisions").scrollIntoView(); } else draw();
})();
