// How fast totals grow, over the last ten seconds of snapshots.
const WINDOW_MS = 10000;
const samples = []; // {at, started_at, pod: totals, connections: name → totals}

const answered = (totals) => totals.completed + totals.failed;
const moved = (totals) => totals.downloaded_bytes + totals.uploaded_bytes;

function sample(snapshot) {
  const at = Date.parse(snapshot.status.now), { started_at } = snapshot.status;
  // A pod that began anew counts from zero, and a clock that was set back has no past.
  const last = samples[samples.length - 1];
  if (last && (last.started_at !== started_at || last.at >= at)) samples.length = 0;
  const connections = new Map(snapshot.connections.map(({ name, totals }) => [name, totals]));
  samples.push({ at, started_at, pod: snapshot.status.totals, connections });
  while (samples.length > 2 && at - samples[0].at > WINDOW_MS) samples.shift();
}

function growth(of, now, before) {
  const seconds = (samples[samples.length - 1].at - samples[0].at) / 1000;
  return seconds > 0 && before ? Math.max(0, of(now) - of(before)) / seconds : 0;
}

const podRate = (of) => growth(of, samples[samples.length - 1].pod, samples[0].pod);
const connectionRate = (of, { name, totals }) => growth(of, totals, samples[0].connections.get(name));
