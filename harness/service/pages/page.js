"use strict";
// Parts of a page that renew themselves: <div data-renew="ADDRESS" data-every="SECONDS">.
document.documentElement.classList.add("js");
for (const part of document.querySelectorAll("[data-renew]")) {
  const every = 1000 * Number(part.dataset.every);
  // What the reader uses now must not be taken away: a focused link, an open text, a selection.
  const isInUse = () => (part.contains(document.activeElement) && document.activeElement.matches("a, button, input, select, summary, pre"))
    || !getSelection().isCollapsed;
  const renew = async () => {
    if (!document.hidden && !isInUse()) {
      try {
        const answer = await fetch(part.dataset.renew, { cache: "no-store", redirect: "error" });
        if (answer.ok) {
          const text = await answer.text();
          if (text !== renew.last) {
            renew.last = text;
            const scrolled = Array.from(part.querySelectorAll(".scroll"), (each) => each.scrollLeft);
            part.innerHTML = text;
            part.querySelectorAll(".scroll").forEach((each, index) => { each.scrollLeft = scrolled[index] || 0; });
          }
          if (answer.headers.get("x-ended")) {
            for (const form of document.querySelectorAll("[data-open-only]")) form.remove();
            return;
          }
        }
      } catch { /* The service restarts: the next look shows it. */ }
    }
    setTimeout(renew, every);
  };
  setTimeout(renew, every);
}
