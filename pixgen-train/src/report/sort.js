document.querySelectorAll("thead").forEach(function (head) {
  var body = head.parentNode.tBodies[0], cells = Array.from(head.rows[0].cells);
  if (body.rows.length < 2) return;
  cells.forEach(function (cell, column) {
    cell.setAttribute("aria-sort", "none");
    cell.addEventListener("click", function () {
      var up = cell.getAttribute("aria-sort") !== "ascending";
      cells.forEach(function (other) { other.setAttribute("aria-sort", "none"); });
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      var key = function (row) { return row.cells[column].textContent; };
      var rows = Array.from(body.rows).sort(function (a, b) {
        var x = key(a), y = key(b), order = x - y;
        if (isNaN(order) || x === "" || y === "") order = x === "" ? 1 : y === "" ? -1 : x.localeCompare(y);
        return up ? order : -order;
      });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  });
});
