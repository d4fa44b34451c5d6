// Transfers in flight, the longest first.
const FEW_TRANSFERS = 12, MANY_TRANSFERS = 50;
const ARROWS = { download: "↓", upload: "↑" };

function transferRow() {
  const arrow = make("span", { "aria-hidden": "true" }), what = make("span", { class: "unseen" });
  const path = document.createTextNode(""), task = make("span", { class: "sub" });
  const file = make("th", { role: "rowheader", scope: "row", class: "path" }, arrow, what, path, task);
  const bar = make("progress"), percent = make("span", { class: "percent" });
  const progress = cell("Progress", "text whole");
  progress.append(bar, percent);
  const [connection, phase] = [cell("Connection", "text"), cell("Phase", "text")];
  const [amount, rate, age, attempt] = ["Bytes", "Bytes/s", "Duration", "Attempt"].map((label) => cell(label));
  const node = make("tr", { role: "row" }, file, connection, phase, progress, amount, rate, age, attempt);
  return { node, update(transfer) {
    const { bytes: done, size, operation } = transfer;
    say(arrow, ARROWS[operation] ?? "");
    say(what, operation);
    const named = ` ${transfer.remote_path}`;
    if (path.data !== named) path.data = named;
    say(task, `${transfer.task_id} · ${transfer.local_path}`);
    say(connection, transfer.connection);
    say(phase, transfer.phase);
    put(bar, "aria-label", `${operation} of ${transfer.remote_path}`);
    fill(bar, percent, done, size);
    say(amount, size === null ? bytes(done) : `${bytes(done)} of ${bytes(size)}`);
    tally(rate, transfer.bytes_per_second, bytesPerSecond(transfer.bytes_per_second));
    say(age, span(since(transfersNow, transfer.since)));
    say(attempt, count(transfer.attempt));
  } };
}

// A bar without a value says that the end is not known.
function fill(bar, percent, done, size) {
  if (size === null || size === undefined) {
    bar.removeAttribute("value");
    say(percent, "");
    return;
  }
  const share = size > 0 ? Math.min(1, done / size) : 1;
  put(bar, "max", "1");
  put(bar, "value", share.toFixed(3));
  say(percent, `${Math.floor(100 * share)} %`);
}

let transfersNow = null, allTransfers = { total: 0, transfers: [] };
const transferRows = new Rows(byId("transfer-rows"), transferRow);
const noTransfer = emptiness(byId("transfer-rows").parentElement, 8, "Nothing is in flight.");
const transferCut = new Cut("more-transfers", FEW_TRANSFERS, MANY_TRANSFERS, listTransfers);

function showTransfers({ status, transfers }) {
  transfersNow = status.now;
  allTransfers = transfers;
  say(byId("n-transfers"), count(transfers.total));
  listTransfers();
}

function listTransfers() {
  const { total, transfers } = allTransfers;
  transferRows.show(transferCut.of(transfers, total),
    ({ task_id, connection, remote_path }) => `${connection}\n${task_id}\n${remote_path}`);
  noTransfer(total === 0);
}
