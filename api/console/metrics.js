// Reads /metrics again and again and keeps ten minutes of it, for rates and quantiles. Counters are
// sums over all workers, whichever of them answers.

import {text} from "/console/api.js";

const KEEP_MS = 10 * 60 * 1000;
export const EVERY_MS = 5000;

// A line is `name{label="value",...} number` or `name number`.
const LINE = /^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$/i;
const LABEL = /([a-z_][a-z0-9_]*)="((?:[^"\\]|\\.)*)"/gi;

export function parse(body) {
  const series = [];
  for (const line of body.split("\n")) {
    const parts = line.startsWith("#") ? null : LINE.exec(line);
    if (!parts) continue;
    const labels = {};
    for (const [, name, value] of (parts[2] ?? "").matchAll(LABEL)) labels[name] = value;
    series.push({name: parts[1], labels, value: Number(parts[3])});
  }
  return series;
}

function matches(series, name, wanted) {
  return series.name === name &&
    Object.entries(wanted).every(([label, value]) => series.labels[label] === value);
}

// The sum of all series of the name that have these labels.
export function sum(sample, name, wanted = {}) {
  return sample.series.filter((s) => matches(s, name, wanted)).reduce((n, s) => n + s.value, 0);
}

const samples = [];

export async function takeSample() {
  const series = parse(await text("/metrics"));
  const now = Date.now();
  samples.push({at: now, series});
  while (samples[0].at < now - KEEP_MS) samples.shift();
}

export function latest() {
  return samples.at(-1) ?? null;
}

// Per minute, between each sample and the one before: [{at, value}].
export function rates(name, wanted) {
  const out = [];
  for (let i = 1; i < samples.length; i++) {
    const minutes = (samples[i].at - samples[i - 1].at) / 60000;
    const more = sum(samples[i], name, wanted) - sum(samples[i - 1], name, wanted);
    if (minutes > 0) out.push({at: samples[i].at, value: Math.max(0, more) / minutes});
  }
  return out;
}

// How many in the last minute, or since the first sample when that is later.
export function lastMinute(name, wanted) {
  const now = latest();
  if (samples.length < 2) return null;
  const from = samples.findLast((s) => s.at <= now.at - 60000) ?? samples[0];
  const minutes = (now.at - from.at) / 60000;
  return Math.max(0, sum(now, name, wanted) - sum(from, name, wanted)) / minutes;
}

function buckets(sample, name) {
  return sample.series.filter((s) => s.name === `${name}_bucket`)
    .map((s) => ({le: s.labels.le === "+Inf" ? Infinity : Number(s.labels.le), count: s.value}));
}

// Between the bounds of its bucket a quantile is taken to lie evenly.
export function quantileOf(all, q) {
  const total = all.at(-1)?.count ?? 0;
  if (total === 0) return null;
  const rank = q * total;
  const i = all.findIndex((b) => b.count >= rank);
  const below = i > 0 ? all[i - 1] : {le: 0, count: 0};
  if (all[i].le === Infinity) return below.le;
  const share = (rank - below.count) / (all[i].count - below.count);
  return below.le + (all[i].le - below.le) * share;
}

// Of what was observed in the samples kept; null when nothing was.
export function quantile(name, q) {
  if (samples.length < 2) return null;
  const before = buckets(samples[0], name);
  const during = buckets(latest(), name).map((b, i) =>
    ({le: b.le, count: Math.max(0, b.count - before[i].count)}));
  return quantileOf(during, q);
}

// Since the counters began.
export function quantileOfAll(name, q) {
  return samples.length === 0 ? null : quantileOf(buckets(latest(), name), q);
}
