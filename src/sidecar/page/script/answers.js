// The last failures, each with what to do about it; and the partitions that the pod reads.
const FEW_FAILURES = 8, MANY_FAILURES = 20, FEW_PARTITIONS = 12, MANY_PARTITIONS = 1000;

function failureRow() {
  const at = make("th", { role: "rowheader", scope: "row" }), code = make("span", { class: "code tag bad" });
  const [codes, connection] = [cell("Code", "text"), cell("Connection", "text")];
  const file = cell("File", "text path whole"), words = cell("What happened, and what to do", "text message whole");
  const path = document.createTextNode(""), task = make("span", { class: "sub" });
  const message = document.createTextNode(""), advice = make("span", { class: "sub" });
  const attempts = cell("Attempts");
  codes.append(code);
  file.append(path, task);
  words.append(message, advice);
  const node = make("tr", { role: "row" }, at, codes, connection, file, words, attempts);
  return { node, update(failure) {
    say(at, clock(failure.at));
    say(code, failure.code);
    say(connection, failure.connection ?? NONE);
    path.data = failure.remote_path ? `${ARROWS[failure.operation] ?? ""} ${failure.remote_path}` : NONE;
    say(task, failure.task_id ?? "without a task_id");
    message.data = failure.message;
    say(advice, failure.advice ?? "");
    say(attempts, count(failure.attempts));
  } };
}

let allFailures = [], failed = 0;
const failureRows = new Rows(byId("failure-rows"), failureRow);
const noFailure = emptiness(byId("failure-rows").parentElement, 6, "No task has failed since the pod started.");
const failureCut = new Cut("more-failures", FEW_FAILURES, MANY_FAILURES, listFailures);

function showFailures({ status, failures }) {
  allFailures = failures;
  failed = Math.max(status.totals.failed, failures.length);
  say(byId("n-failures"), count(failed));
  look(byId("n-failures"), failed ? "n bad" : "n");
  listFailures();
}

function listFailures() {
  failureRows.show(failureCut.of(allFailures, failed), ({ at, task_id, code }) => `${at}\n${task_id}\n${code}`);
  noFailure(allFailures.length === 0);
}

// What a partition does, in words, and how good that is.
const PAUSES = {
  pod_full: ["paused: the pod has all the tasks that it may", "warn"],
  partition_full: ["paused: too many unanswered records", "warn"],
  not_due: ["waits until its next task is due", ""],
};

function partitionState({ halted, paused, paused_for: why }) {
  if (halted) return [`halted: ${halted}`, "bad"];
  return paused ? PAUSES[why] ?? ["paused", "warn"] : ["reading", ""];
}

function partitionRow() {
  const topic = make("th", { role: "rowheader", scope: "row" }), state = cell("State", "text");
  const labels = ["Partition", "Lag", "Unanswered", "Committed", "Position", "End"];
  const [partition, lag, unanswered, ...offsets] = labels.map((label) => cell(label));
  const node = make("tr", { role: "row" }, topic, partition, state, lag, unanswered, ...offsets);
  return { node, update(at) {
    say(topic, at.topic);
    say(partition, String(at.partition));
    const [words, how] = partitionState(at);
    say(state, words);
    look(state, `text message ${how}`);
    tally(lag, at.lag);
    tally(unanswered, at.unanswered);
    [at.committed, at.position, at.end].forEach((offset, n) => say(offsets[n], count(offset)));
  } };
}

let allPartitions = [];
const partitionRows = new Rows(byId("partition-rows"), partitionRow);
const noPartition = emptiness(byId("partition-rows").parentElement, 8, "No partition is assigned to this pod.");
const partitionCut = new Cut("more-partitions", FEW_PARTITIONS, MANY_PARTITIONS, listPartitions);

// What needs a look comes first.
function showPartitions({ partitions }) {
  const rank = ({ halted, paused }) => (halted ? 0 : paused ? 1 : 2);
  allPartitions = [...partitions].sort((a, b) => rank(a) - rank(b));
  const halted = partitions.filter((partition) => partition.halted).length;
  say(byId("n-partitions"), halted ? `${count(partitions.length)}, ${count(halted)} halted` : count(partitions.length));
  look(byId("n-partitions"), halted ? "n bad" : "n");
  listPartitions();
}

function listPartitions() {
  partitionRows.show(partitionCut.of(allPartitions), ({ topic, partition }) => `${topic}\n${partition}`);
  noPartition(allPartitions.length === 0);
}
