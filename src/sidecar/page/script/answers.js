// The last failures, each with what to do about it; and the partitions that the pod reads.
const SHOWN_FAILURES = 20, SHOWN_PARTITIONS = 50;

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

const failureRows = new Rows(byId("failure-rows"), failureRow);
const noFailure = emptiness(byId("failure-rows"), 6, "No task has failed since the pod began.");

// They never change once they are there: only others come.
function showFailures({ status, failures }) {
  const shown = failures.slice(0, SHOWN_FAILURES), total = status.totals.failed;
  failureRows.show(shown, ({ at, task_id, code }) => `${at}\n${task_id}\n${code}`);
  noFailure(shown.length === 0);
  say(byId("n-failures"), count(total));
  look(byId("n-failures"), total ? "n bad" : "n");
  rest(byId("more-failures"), shown.length, total);
}

// What a partition does, in words, and how good that is.
function partitionState({ halted, paused }) {
  if (halted) return [`halted: ${halted}`, "bad"];
  return paused ? ["paused until there is room", "warn"] : ["reading", ""];
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

const partitionRows = new Rows(byId("partition-rows"), partitionRow);
const noPartition = emptiness(byId("partition-rows"), 8, "No partition is assigned to this pod.");

// What needs a look comes first.
function showPartitions({ partitions }) {
  const rank = ({ halted, paused }) => (halted ? 0 : paused ? 1 : 2);
  const shown = [...partitions].sort((a, b) => rank(a) - rank(b)).slice(0, SHOWN_PARTITIONS);
  const halted = partitions.filter((partition) => partition.halted).length;
  partitionRows.show(shown, ({ topic, partition }) => `${topic}\n${partition}`);
  noPartition(partitions.length === 0);
  say(byId("n-partitions"), halted ? `${count(partitions.length)}, ${count(halted)} halted` : count(partitions.length));
  look(byId("n-partitions"), halted ? "n bad" : "n");
  rest(byId("more-partitions"), shown.length, partitions.length);
}
