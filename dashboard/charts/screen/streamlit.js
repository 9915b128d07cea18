// The screen on the page: tables arrive in an element of their own, picks at every move.

import { Screen } from "./screen.js";

const screens = new WeakMap(); // by container
const tables = (window.genptqTables ??= new Map()); // the latest few, by id

function later(name) {
  return new Promise((resolve) => {
    addEventListener(name, resolve, { once: true });
  });
}

async function table(id) {
  while (!tables.has(id)) await later("genptq-table");
  return tables.get(id);
}

export default function ({ data, parentElement, setTriggerValue }) {
  if (!data) return;
  const sent = JSON.parse(new TextDecoder().decode(data));
  if (sent.bytes) {
    tables.delete(sent.id);
    tables.set(sent.id, sent);
    for (const id of [...tables.keys()].slice(0, -6)) tables.delete(id);
    dispatchEvent(new Event("genptq-table"));
    return;
  }
  const root = parentElement.querySelector(".genptq");
  if (!root) return;
  const held = screens.get(root) ?? {};
  held.trigger = (asked) => setTriggerValue("asked", JSON.stringify(asked));
  held.screen ??= new Screen(root, (asked) => held.trigger(asked));
  held.latest = sent;
  screens.set(root, held);
  table(sent.table).then((found) => {
    if (held.latest === sent) held.screen.show(found, sent);
  });
}
