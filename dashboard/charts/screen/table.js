// The table of maps that a drag looks up: pure functions, no document.

function unpack(text, Kind) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
}

// A table as it was sent, with its arrays unpacked.
export function opened(sent) {
  return {
    ...sent,
    layers: sent.units.name.length,
    options: sent.menu.length,
    widths: Float64Array.from(sent.menu, ([, bits]) => bits),
    labels: sent.menu.map(([label]) => label),
    cost: unpack(sent.cost, Int32Array),
    choices: unpack(sent.choices, Uint8Array),
    relaxedBits: unpack(sent.relaxed.bits, Uint8Array),
  };
}

// Index of the best point within a size in bytes; the smallest where none is within it.
export function within(table, bytes) {
  let low = 0;
  let high = table.bytes.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (table.bytes[middle] <= bytes) low = middle;
    else high = middle;
  }
  return low;
}

// Index of the smallest point that keeps to what is allowed; the largest where none does.
export function keeping(table, allowed) {
  const heights = upper(table);
  const found = heights.findIndex((height) => height <= allowed + 1e-9);
  return found < 0 ? heights.length - 1 : found;
}

// What the second slider says of a point: what must be allowed for it.
export function needed(table, point) {
  return upper(table)[point];
}

// What the second slider bounds, at each point.
function upper({ allowed, loss, wer, borrowed }) {
  return allowed.kind === "loss" ? loss : wer?.more ? wer.high : borrowed.high;
}

// The widths of a point's layers, and the bytes of each, into arrays that are there already.
export function layersOf(table, point, bits, bytes) {
  const { layers, options, widths, cost, choices } = table;
  for (let layer = 0, at = point * layers; layer < layers; layer += 1, at += 1) {
    const option = choices[at];
    bits[layer] = widths[option];
    bytes[layer] = cost[layer * options + option];
  }
}

// The continuous widths at a size: between two sizes, a mixture of theirs.
export function relaxedOf(table, bytes, bits) {
  const sizes = table.relaxed.bytes;
  let next = sizes.findIndex((size) => size >= bytes);
  if (next < 0) next = sizes.length - 1;
  const last = Math.max(next - 1, 0);
  const share = next === last ? 0 : (bytes - sizes[last]) / (sizes[next] - sizes[last]);
  const part = Math.min(Math.max(share, 0), 1);
  const { layers, relaxedBits } = table;
  for (let layer = 0; layer < layers; layer += 1) {
    const low = relaxedBits[last * layers + layer];
    const high = relaxedBits[next * layers + layer];
    bits[layer] = (low + part * (high - low)) / table.relaxed.steps;
  }
}

// What is said of a point, in the form in which an exact answer says it.
export function figuresOf(table, point) {
  const { wer, verdict, borrowed } = table;
  const cost = wer?.more
    ? {
        wer: wer.full + wer.more[point],
        more: wer.more[point],
        low: Math.max(wer.full + wer.low[point], 0),
        high: Math.max(wer.full + wer.high[point], 0),
        measured: false,
        guess: point < wer.beyond,
      }
    : null;
  const { memory } = table;
  return {
    bytes: table.bytes[point],
    memory: memory && memory[memory.length > 1 ? point : 0],
    loss: table.loss[point],
    cost,
    verdict: verdict
      ? {
          level: verdict.level[point],
          worst: verdict.worst[point],
          guess: Boolean(verdict.guess[point]),
          set: verdict.sets[verdict.set[point]],
        }
      : { level: null },
    borrowed: borrowed
      ? { more: borrowed.more[point], low: borrowed.low[point], high: borrowed.high[point], level: borrowed.level[point] }
      : null,
  };
}
