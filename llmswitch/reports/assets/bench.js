
// Cases can be searched, and those that all passed hidden; a cell opens its case at that target's answer.
for (const matrix of document.querySelectorAll(".matrix")) {
  const cases = [...matrix.querySelectorAll(".case")];
  const kinds = [
    ["All", () => true],
    ["Not all passed", (one) => one.dataset.passed === "false"],
    ["Targets differ", (one) => one.dataset.differ === "true"],
  ];
  let kind = kinds[0][1];
  const filters = document.createElement("div");
  filters.className = "filters";
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "Search cases";
  search.setAttribute("aria-label", "Search cases");
  const shown = document.createElement("span");
  shown.className = "soft";
  shown.setAttribute("role", "status");

  function filter() {
    const wanted = search.value.trim().toLocaleLowerCase();
    let count = 0;
    for (const one of cases) {
      const title = one.firstElementChild.firstElementChild.textContent.toLocaleLowerCase();
      one.hidden = !(kind(one) && title.includes(wanted));
      count += !one.hidden;
    }
    shown.textContent = `${count} shown`;
  }

  const buttons = kinds.map(([name, test], place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${name} (${cases.filter(test).length})`;
    button.setAttribute("aria-pressed", String(place === 0));
    button.addEventListener("click", () => {
      kind = test;
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      filter();
    });
    return button;
  });
  search.addEventListener("input", filter);
  filters.append(...buttons, search, shown);
  matrix.before(filters);

  matrix.addEventListener("click", (event) => {
    const cell = event.target.closest("summary > .cell");
    if (cell === null) {
      return;
    }
    event.preventDefault();
    const one = cell.closest(".case");
    const article = one.querySelector(`article[data-place="${cell.dataset.place}"]`);
    const again = one.open && (article === null || article.classList.contains("sought"));
    one.querySelectorAll("article.sought").forEach((other) => other.classList.remove("sought"));
    one.open = !again;
    if (one.open && article !== null) {
      article.classList.add("sought");
      article.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  });
}
