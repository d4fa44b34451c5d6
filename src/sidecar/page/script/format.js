"use strict";
// How amounts and times are written: decimal units, as networks and disks are sold; times in UTC, as in the log.
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

const count = (n) => (n === null || n === undefined ? NONE : whole.format(n));

// [digits, unit]: three digits at least, so that what moves is seen to move.
function scaled(n) {
  let unit = 0;
  while (n >= 999.5 && unit < UNITS.length - 1) { n /= 1000; unit += 1; }
  return [unit === 0 ? String(Math.round(n)) : n.toFixed(n < 9.995 ? 2 : n < 99.95 ? 1 : 0), UNITS[unit]];
}

const bytes = (n) => (n === null || n === undefined ? NONE : scaled(n).join(" "));
const bytesPerSecond = (n) => `${bytes(n)}/s`;
const perSecond = (n) => (n === 0 ? "0" : n < 9.95 ? n.toFixed(1) : whole.format(n));

// hh:mm:ss of a time as the API gives it, or of milliseconds since 1970.
function clock(time) {
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? NONE : at.toISOString().slice(11, 19);
}

// With its date, for what may be days ago.
function dateClock(time) {
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? NONE : at.toISOString().slice(0, 19).replace("T", " ");
}

// As two units at most: "8 s", "3 min 12 s", "2 h 5 min", "3 d 4 h".
function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

const since = (now, time) => (Date.parse(now) - Date.parse(time)) / 1000;
const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;
