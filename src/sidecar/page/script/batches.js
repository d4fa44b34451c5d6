// Open batches, as far as the pods have counted their answers; and the failures that nobody has sent again.
const FEW_BATCHES = 6, MANY_BATCHES = 50;

function batchRow() {
  const id = make("span", { class: "code" }), by = make("span", { class: "sub" });
  const what = cell("What", "text path whole"), progress = cell("Progress", "text");
  const bar = make("progress", { max: "1" }), percent = make("span", { class: "percent" });
  progress.append(bar, percent);
  const [tasks, completed, failures, open] = ["Tasks", "Completed", "Failed", "Open"].map((label) => cell(label));
  const node = make("tr", { role: "row" }, make("th", { role: "rowheader", scope: "row" }, id, by), what, progress,
    tasks, completed, failures, open);
  return { node, update(batch) {
    say(id, batch.batch);
    say(by, `${clock(batch.at)} · ${batch.by}`);
    say(what, batch.what);
    put(bar, "aria-label", `answered tasks of batch ${batch.batch}`);
    fill(bar, percent, batch.completed + batch.failed, batch.tasks);
    say(tasks, count(batch.tasks));
    tally(completed, batch.completed);
    tally(failures, batch.failed);
    failures.classList.toggle("bad", batch.failed > 0);
    say(open, `${batch.is_exact ? "" : "at most "}${count(batch.open)}`);
  } };
}

let allBatches = { total: 0, batches: [] };
const batchRows = new Rows(byId("batch-rows"), batchRow);
const batchCut = new Cut("more-batches", FEW_BATCHES, MANY_BATCHES, listBatches);

function showBatches({ batches, open_failures: failures }) {
  allBatches = batches;
  show(byId("batches"), batches.total > 0);
  show(byId("to-batches"), batches.total > 0);
  say(byId("n-batches"), count(batches.total));
  listBatches();
  const { open, answered: all, sent_again: again, since } = failures;
  say(byId("open-failures"), all + again === 0 ? ""
    : `${count(open)} open over all pods: ${count(all)} failed since ${dateClock(since * 1000)}, ${count(again)} sent again. ` +
      "“ftp-pooler failures --open” counts all that Kafka has.");
}

function listBatches() {
  batchRows.show(batchCut.of(allBatches.batches, allBatches.total), ({ batch }) => batch);
}
