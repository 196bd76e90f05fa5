"use strict";
// Headings of tables become buttons that sort. Without this the page is whole; only the order stays as it is.
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

function sortBy(table, heading, column) {
  const descending = heading.getAttribute("aria-sort") === "ascending";
  const number = heading.classList.contains("number");
  const key = (row) => row.cells[column].dataset.key;
  const rows = [...table.tBodies[0].rows];
  rows.sort((first, second) => {
    const a = key(first);
    const b = key(second);
    if (a === undefined || b === undefined) {
      return (a === undefined) - (b === undefined); // unknown stays last in both directions
    }
    const order = number ? a - b : collator.compare(a, b);
    return descending ? -order : order;
  });
  table.tBodies[0].append(...rows);
  for (const other of table.tHead.rows[0].cells) {
    other.removeAttribute("aria-sort");
  }
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (heading.textContent.trim() === "") {
      return;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortBy(table, heading, column));
    heading.append(button);
  });
}
