// The last hour, as charts and as a table.
const bytesChart = new Chart("bytes-chart", { first: "bytes_down", second: "bytes_up", least: 1000,
  write: bytesPerSecond, axis: (n) => (n === 0 ? "0" : `${Number(scaled(n)[0])} ${scaled(n)[1]}/s`) });
const tasksChart = new Chart("tasks-chart", { first: "completed", second: "failed", least: 1,
  write: (n) => `${perSecond(n)}/s`, axis: (n) => (n === 0 ? "0" : `${Number(n.toPrecision(3)).toLocaleString("en")}/s`) });

const TEN_MINUTES = 600;
const hourRows = new Rows(byId("hour-rows"), () => {
  const cells = ["Download/s", "Upload/s", "Completed", "Failed"].map((label) => cell(label));
  const from = make("th", { role: "rowheader", scope: "row" });
  return {
    node: make("tr", { role: "row" }, from, ...cells),
    update({ begin, end, sums: [down, up, completed, failed], seconds }) {
      say(from, `${clock(begin).slice(0, 5)} to ${clock(end).slice(0, 5)}`);
      [bytesPerSecond(down / seconds), bytesPerSecond(up / seconds), count(completed), count(failed)]
        .forEach((text, n) => say(cells[n], text));
    },
  };
});

// Blocks of ten minutes, the newest first; the oldest one may be shorter.
function blocks(history) {
  const each = Math.round(TEN_MINUTES / history.step_seconds), made = [];
  const lines = [history.bytes_down, history.bytes_up, history.completed, history.failed];
  for (let end = lines[0].length; end > 0; end -= each) {
    const begin = Math.max(0, end - each);
    const until = Date.parse(history.end) - (lines[0].length - end) * history.step_seconds * 1000;
    const seconds = (end - begin) * history.step_seconds;
    const sums = lines.map((line) => line.slice(begin, end).reduce((sum, n) => sum + n, 0));
    made.push({ place: made.length, begin: until - seconds * 1000, end: until, seconds, sums });
  }
  return made;
}

function showHistory(history) {
  bytesChart.take(history);
  tasksChart.take(history);
  hourRows.show(blocks(history), ({ place }) => place);
}
