// Draws the charts of a page from its JSON, and opens and closes the details of videos.
(() => {
  "use strict";
  const { charts, tables } = JSON.parse(document.getElementById("data").textContent);

  // Rows travel as lists; charts want objects.
  const rowsOf = ({ columns, rows }) =>
    rows.map((row) => Object.fromEntries(columns.map((name, place) => [name, row[place]])));

  const options = {
    ast: true, // the interpreter of expressions: the page's policy forbids eval
    actions: false,
    renderer: "svg",
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  };

  function rowsFor(drawing) {
    const { chart, video } = drawing.dataset;
    return rowsOf(video === undefined ? tables[chart] : tables[chart][video]);
  }

  function draw(drawing) {
    const spec = { ...charts[drawing.dataset.chart], datasets: { rows: rowsFor(drawing) } };
    return vegaEmbed(drawing, spec, options)
      .then(() => {
        // The label of the drawing and the table of its numbers say more than its marks would.
        drawing.querySelector("svg").setAttribute("aria-hidden", "true");
        drawing.setAttribute("data-drawn", "");
      })
      .catch((error) => {
        drawing.textContent = "The chart could not be drawn; the numbers are below.";
        console.error(error);
      });
  }

  const clock = (seconds) =>
    `${Math.floor(seconds / 60)}:${String(Math.round(seconds % 60)).padStart(2, "0")}`;

  function fill(table, rows) {
    for (const row of rows) {
      const line = table.tBodies[0].insertRow();
      for (const [text, kind] of [
        [clock(row.second)],
        [row.viewers.toLocaleString("en"), "n"],
        [row.repeat_views.toLocaleString("en"), "n"],
      ]) {
        const cell = line.insertCell();
        cell.textContent = text;
        if (kind) cell.className = kind;
      }
    }
  }

  function toggle(button) {
    const detail = document.getElementById(button.getAttribute("aria-controls"));
    const opens = detail.hidden;
    detail.hidden = !opens;
    button.setAttribute("aria-expanded", String(opens));
    const drawing = detail.querySelector(".drawing");
    if (opens && !drawing.hasAttribute("data-begun")) {
      drawing.setAttribute("data-begun", "");
      fill(detail.querySelector("table.filled"), rowsFor(drawing));
      draw(drawing);
    }
  }

  for (const button of document.querySelectorAll("button[aria-controls]")) {
    button.addEventListener("click", () => toggle(button));
  }
  for (const row of document.querySelectorAll("tr.can-open")) {
    row.addEventListener("click", (event) => {
      if (!event.target.closest("button")) row.querySelector("button").click();
    });
  }
  Promise.all([...document.querySelectorAll(".drawing:not([data-video])")].map(draw)).then(() =>
    document.documentElement.setAttribute("data-ready", ""),
  );
})();
