// On the page: tables arrive in an element of their own, and this script with them, once; picks
// arrive at every move, in the screen's element (`screen_element.js`).

const screens = new WeakMap(); // by container
const tables = new Map(); // the latest few, by id
const KEPT = 6;

function showPick({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".genptq");
  if (!root || !data) return;
  const text = new TextDecoder().decode(data);
  const held = screens.get(root) ?? {};
  screens.set(root, held);
  held.askScreen = (asked) => setTriggerValue("asked", JSON.stringify(asked));
  latest = held;
  // The rest of the page was drawn again: unless a drag was let go meanwhile, nothing is new.
  if (held.text === text && held.screen && !held.screen.waits) return;
  held.text = text;
  held.pick = JSON.parse(text);
  held.show = () => {
    const table = tables.get(held.pick.table);
    if (!table) return; // it is on its way
    held.screen ??= new Screen(root, (asked, alone) => (alone ? held.askScreen : askPage)(asked));
    held.screen.show(table, held.pick);
  };
  held.show();
}

let latest = null; // the screen that was drawn last
let askPage = null; // asks the page, of which the table's element is a part

export default function ({ data, setTriggerValue }) {
  if (!data) return;
  askPage = (asked) => setTriggerValue("asked", JSON.stringify(asked));
  const table = JSON.parse(new TextDecoder().decode(data));
  tables.delete(table.id);
  tables.set(table.id, table);
  for (const id of [...tables.keys()].slice(0, -KEPT)) tables.delete(id);
  window.genptq = showPick;
  dispatchEvent(new Event("genptq"));
  latest?.show();
}
