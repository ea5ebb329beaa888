// The bill: decisions a month and prices are typed by the reader, kept in the address, and never leave the page.
(function () {
  const table = document.getElementById("bill-rows");
  if (!table) return;
  const month = JSON.parse(table.dataset.month);
  const volume = document.getElementById("volume");
  const prices = new Map(Array.from(document.querySelectorAll("input[data-price]"), (field) => [field.dataset.price, field]));
  const first = new Map(Array.from(prices, ([key, field]) => [key, field.value]));
  const rows = Array.from(table.tBodies[0].rows, (row) => ({ row, arm: row.dataset.arm, costs: row.dataset.costs ? JSON.parse(row.dataset.costs) : null }));
  const whole = (n) => n.toLocaleString("en-US");

  function dollars(usd) {
    const size = Math.abs(usd), sign = usd < 0 ? "\u2212$" : "$";
    if (size >= 99.5) return sign + whole(Math.round(size));
    return sign + (size >= 0.1 || !size ? size.toFixed(2) : size.toPrecision(2));
  }
  const sum = (object, of) => Object.entries(object).reduce((all, [name, value]) => all + of(name, value), 0);
  // A price as typed; NaN where there is none.
  const price = (key) => prices.has(key) && prices.get(key).value !== "" ? Number(prices.get(key).value) : NaN;
  const decisions = () => Math.max(1, Math.round(Number(volume.value) || 1));

  const hosted = (costs) => sum(costs.hosted, (model, usd) => usd * price("m:" + model) / 100);
  const energy = (server) => price("watts:" + server) * price("kwh:" + server) / 3.6e6;
  const machine = (server) => price("purchase:" + server) / price("months:" + server);
  function local(costs, n, bought) {
    if (!bought) return sum(costs.local, (server, usd) => n * usd * rentRatio(server));
    return sum(costs.seconds, (server, seconds) => {
      const needed = Math.max(1, Math.ceil(n * seconds / (month.seconds * month.machines[server].utilisation)));
      return needed * machine(server) + n * seconds * energy(server);
    });
  }
  // The run priced a machine by its rent, or by electricity where it declared no rent.
  function rentRatio(server) {
    const rent = Number(first.get("rent:" + server));
    if (rent) return price("rent:" + server) / rent;
    const declared = first.get("watts:" + server) * first.get("kwh:" + server) / 3.6e6;
    return declared ? energy(server) / declared : 1;
  }
  // As bill.break_even of the report: purchase over what a decision saves, if one machine can make as many.
  function breakEven(costs, other) {
    const fixed = sum(costs.seconds, machine), marginal = hosted(costs) + sum(costs.seconds, (s, seconds) => seconds * energy(s));
    if (Number.isNaN(fixed + marginal + other)) return "unknown";
    if (other <= marginal) return null;
    const needed = Math.ceil(fixed / (other - marginal) - 1e-9);
    const capacity = Math.min(...Object.entries(costs.seconds).map(([s, seconds]) => month.seconds * month.machines[s].utilisation / seconds));
    return needed > capacity ? null : needed;
  }
  function against(costs, arm) {
    const other = rows.find((one) => one.arm === arm);
    if (!other || !other.costs) return null;
    const found = breakEven(costs, hosted(other.costs) + local(other.costs, 1, false));
    return found === "unknown" ? found : found === null ? `never against ${arm}` : `${whole(found)} against ${arm}`;
  }
  function show() {
    const n = decisions(), bought = document.querySelector("input[name=machine]:checked")?.value === "bought";
    const parts = new Map(rows.filter((one) => one.costs).map((one) => [one.arm, [n * hosted(one.costs), local(one.costs, n, bought)]]));
    const total = (arm) => parts.has(arm) ? parts.get(arm)[0] + parts.get(arm)[1] : NaN;
    const dearest = Math.max(...Array.from(parts.keys(), total).filter((usd) => !Number.isNaN(usd)), 1e-12);
    for (const { row, arm, costs } of rows) {
      if (!costs) continue;
      const [solid, light] = parts.get(arm).map((usd) => (Number.isNaN(usd) ? 0 : usd / dearest * 100));
      row.querySelector(".hosted").setAttribute("width", solid);
      row.querySelector(".machine").setAttribute("x", solid);
      row.querySelector(".machine").setAttribute("width", light);
      const usd = total(arm), saved = total(month.base) - usd;
      row.querySelector(".sum").textContent = Number.isNaN(usd) ? "needs a price" : dollars(usd);
      row.querySelector(".save").textContent = arm === month.base || Number.isNaN(saved) ? "" : dollars(saved);
      if (arm !== month.base && Object.keys(costs.seconds).length) pay(row.querySelector(".pay"), costs);
    }
    for (const chip of document.querySelectorAll("#controls .chips button")) chip.setAttribute("aria-pressed", String(Number(chip.value) === n));
    const changed = Array.from(prices).some(([key, field]) => field.value !== first.get(key));
    document.getElementById("bill-says").textContent = `At ${whole(n)} decisions a month` +
      (bought ? ", on bought machines: their price is spread over the months of use" : "") + (changed ? ", at the prices that you typed" : ", at the prices of this run") + ".";
  }
  function pay(cell, costs) {
    const main = against(costs, month.base), small = month.other ? against(costs, month.other) : null;
    const note = document.createElement("small");
    note.textContent = small && small !== "unknown" ? small : "";
    cell.replaceChildren(main === "unknown" || main === null ? "needs its purchase, watts and kWh price" : main, note);
  }
  function keep() {
    const params = new URLSearchParams(location.search);
    params.set("decisions", String(decisions()));
    history.replaceState(null, "", "?" + params.toString() + location.hash);
  }
  const asked = Number(new URLSearchParams(location.search).get("decisions"));
  if (asked >= 1 && asked <= 1e8) volume.value = String(Math.round(asked));
  document.getElementById("controls").addEventListener("input", () => { if (volume.value) keep(); show(); });
  document.getElementById("controls").addEventListener("click", (event) => {
    const chip = event.target.closest(".chips button");
    if (!chip) return;
    volume.value = chip.value;
    keep();
    show();
  });
  if (asked >= 1) show();
})();
