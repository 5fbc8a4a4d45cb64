// Sorts and filters the table of operands. Without it the page has everything, in the order of layers.
"use strict";
{
const root = document.documentElement;
root.dataset.errors = "";
window.addEventListener("error", (event) => { root.dataset.errors += event.message + "\n"; });

const table = document.querySelector("table.operands");
const filter = document.getElementById("filter");
if (table) {
  const groups = [...table.tBodies].map((body) => ({ body, head: body.rows[0], rows: [...body.rows].slice(1) }));
  const all = groups.flatMap((group) => group.rows);
  const texts = new Map(all.map((row) => [row, row.textContent.toLowerCase()]));
  const flat = document.createElement("tbody"); // the rows of all layers, while they are sorted
  flat.className = "sorted";
  let sorted = null;

  const show = () => {
    const words = filter.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const group of groups) {
      let some = false;
      for (const row of group.rows) {
        row.hidden = !words.every((word) => texts.get(row).includes(word));
        some ||= !row.hidden;
        shown += row.hidden ? 0 : 1;
      }
      group.head.hidden = !some;
    }
    filter.querySelector("output").textContent = `${shown.toLocaleString("en")} of ${all.length.toLocaleString("en")}`;
  };

  const value = (row, column, numeric) => {
    const cell = row.cells[column];
    return numeric ? Number(cell.dataset.v) : cell.textContent;
  };

  // Numbers begin with the largest, which are what one looks for. The third click brings back the layers.
  const sort = (heading, column, numeric) => {
    const before = heading.getAttribute("aria-sort");
    const first = numeric ? "descending" : "ascending";
    const second = numeric ? "ascending" : "descending";
    const order = !before ? first : before === first ? second : null;
    if (sorted) sorted.removeAttribute("aria-sort");
    sorted = order ? heading : null;
    if (!order) {
      for (const group of groups) group.body.append(group.head, ...group.rows);
      flat.replaceWith(...groups.map((group) => group.body));
      return;
    }
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const collator = new Intl.Collator("en", { numeric: true });
    const rows = all.map((row) => [value(row, column, numeric), row]);
    rows.sort(([a], [b]) => sign * (numeric ? (a > b) - (a < b) : collator.compare(a, b)));
    flat.replaceChildren(...rows.map(([, row]) => row));
    if (!flat.isConnected) {
      groups[0].body.before(flat);
      for (const group of groups) group.body.remove();
    }
  };

  for (const [column, heading] of [...table.tHead.rows[0].cells].entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(heading, column, heading.dataset.sort === "number"));
  }
  filter.querySelector("input").addEventListener("input", show);
  filter.hidden = false;
  show();
}
root.dataset.script = "ran";
}
