// Libraries, sortable tables, copying.

// base64 of gzip -> bytes
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The address of a library that the page carries packed.
async function library(id) {
  const code = await unpack(document.getElementById(id).textContent);
  return URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
}

// Cells are sorted by their data-value, as numbers or as words. Cells without a value are last in both directions.
function teachSorting(DataTable) {
  const differences = { measured: (a, b) => a - b, worded: (a, b) => a.localeCompare(b) };
  for (const [type, difference] of Object.entries(differences)) {
    for (const [name, direction] of [["asc", 1], ["desc", -1]]) {
      DataTable.ext.type.order[`${type}-${name}`] = (a, b) =>
        a === "" || b === "" ? (a === "") - (b === "") : direction * difference(a, b);
    }
    DataTable.ext.type.search[type] = DataTable.util.stripHtml;
  }
}

function columnOf(heading, place) {
  const value = `${place}.@data-value`;
  return {
    type: heading.classList.contains("number") ? "measured" : "worded",
    data: { _: `${place}.display`, sort: value, type: value },
  };
}

async function startTables() {
  const { default: DataTable } = await import(await library("datatables"));
  teachSorting(DataTable);
  document.querySelectorAll(".grid").forEach((grid) => startTable(grid, DataTable));
}

function startTable(grid, DataTable) {
  const table = grid.querySelector("table");
  const rows = new DataTable(table, {
    paging: false,
    info: false,
    autoWidth: false,
    order: [],
    columns: [...table.querySelectorAll("thead th")].map(columnOf),
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
    language: { emptyTable: "Nothing to show yet.", zeroRecords: "No row matches." },
  });
  const count = grid.querySelector("output");
  rows.on("draw", () => {
    const shown = rows.rows({ search: "applied" }).count();
    count.textContent = shown < rows.rows().count() ? `${shown} of ${rows.rows().count()} rows` : "";
  });
  rows.on("order", () => table.classList.toggle("sorted", rows.order().length > 0));
  grid.querySelector("input[type=search]").addEventListener("input", (event) => rows.search(event.target.value).draw());
  for (const select of grid.querySelectorAll(".bar select")) {
    const filter = () => rows.column(Number(select.dataset.column)).search(select.value, { exact: select.value !== "" });
    select.addEventListener("change", () => filter().draw());
    filter();
  }
  rows.draw();
  table.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-detail]");
    if (!button) return;
    const row = rows.row(button.closest("tr"));
    const open = !row.child.isShown();
    if (open) row.child(document.getElementById(button.dataset.detail).innerHTML, "detail").show();
    else row.child.hide();
    button.setAttribute("aria-expanded", open);
  });
  const columns = grid.querySelector("button.columns");
  grid.classList.toggle("fewer", !columns.hidden);
  columns.addEventListener("click", () => columns.setAttribute("aria-pressed", !grid.classList.toggle("fewer")));
  grid.querySelector(".bar").hidden = false;
}

function startCopying() {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = button.closest(".copy").querySelector("textarea");
      const said = button.closest(".copy").querySelector("output");
      try {
        await navigator.clipboard.writeText(text.value);
        said.textContent = "Copied.";
      } catch {
        button.closest(".copy").querySelector("details").open = true;
        text.select();
        said.textContent = document.execCommand("copy") ? "Copied." : "Select the text and copy it.";
      }
    });
  }
}
