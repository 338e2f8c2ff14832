// The figures of the page at one moment, as numbers.
() => {
  const number = (text) => Number(text.replaceAll(",", ""));
  const of = (id) => number(document.getElementById(id).textContent);
  const column = (index) => [...document.querySelectorAll(`#partitions td:nth-child(${index})`)].map((cell) => number(cell.textContent));
  return { stored: of("stored"), duplicates: of("duplicates"), quarantined: of("quarantined"), lag: of("lag"), offsets: column(2), lags: column(3) };
}
