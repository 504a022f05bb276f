"use strict";

// Tables: their headers become buttons that sort by their column, the other way round if pressed
// again. Rows without a value come last either way.
const collator = new Intl.Collator("en", { numeric: true });

function compareCells(first, second, sign) {
  if (first.dataset.value === undefined) {
    return sign * collator.compare(first.textContent, second.textContent);
  }
  const [a, b] = [first, second].map((cell) => cell.dataset.value);
  if (a === "" || b === "") {
    return (a === "") - (b === "");
  }
  return sign * (Number(a) - Number(b));
}

function sortBy(header) {
  const headers = [...header.parentElement.cells];
  const column = headers.indexOf(header);
  // Of numbers one mostly looks for the highest.
  const first = header.classList.contains("number") ? "descending" : "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  const order = header.ariaSort === first ? second : first;
  headers.forEach((each) => each.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const body = header.closest("table").tBodies[0];
  const rows = [...body.rows];
  rows.sort((a, b) => compareCells(a.cells[column], b.cells[column], sign));
  body.append(...rows);
}

for (const header of document.querySelectorAll("thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  button.addEventListener("click", () => sortBy(header));
  header.append(button);
}

// Long tables: a field above each leaves the rows that hold its text.
const MANY_ROWS = 12;
for (const box of document.querySelectorAll(".table")) {
  const rows = [...box.querySelectorAll("tbody tr")];
  if (rows.length <= MANY_ROWS) {
    continue;
  }
  const name = `Find in ${rows.length.toLocaleString("en")} rows`;
  const field = document.createElement("input");
  Object.assign(field, { type: "search", placeholder: name, ariaLabel: name, className: "find" });
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    rows.forEach((row) => {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
  });
  const holder = document.createElement("div");
  box.replaceWith(holder);
  holder.append(field, box);
}

// Contents: folded up where they would push the page down; they say where the reader is.
const contents = document.querySelector("nav > details");
const wide = matchMedia("(min-width: 75rem)");
const fold = () => {
  contents.open = wide.matches;
};
wide.addEventListener("change", fold);
fold();

// What an address leads to is unfolded.
const unfold = () => {
  const target = location.hash.startsWith("#c") && document.getElementById(location.hash.slice(1));
  if (target) {
    target.querySelectorAll(":scope > details").forEach((each) => (each.open = true));
  }
};
addEventListener("hashchange", unfold);
unfold();

const links = new Map([...contents.querySelectorAll("a")].map((link) => [link.hash, link]));
const observer = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        contents.querySelector("[aria-current]")?.removeAttribute("aria-current");
        links.get(`#${entry.target.id}`).setAttribute("aria-current", "location");
      }
    }
  },
  { rootMargin: "0px 0px -85% 0px" },
);
document.querySelectorAll("section section[id]").forEach((section) => observer.observe(section));
