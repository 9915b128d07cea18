// The first screen: sliders, figures, front and layers, which follow a drag on every frame.

import { Dial } from "./dial.js";
import { Front } from "./front.js";
import { Layers } from "./layers.js";
import { html, megabytes, say, signed } from "./svg.js";
import { figuresOf, keeping, layersOf, needed, opened, relaxedOf, within } from "./table.js";

const CALM = 250; // milliseconds without a move until the rest of the page follows

function listed(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

export class Screen {
  // `ask` takes what a user asked for, {size}, {allowed}, {map}, {layer} or {offer}, and whether
  // the screen alone is to answer; {rest} asks for what else the page shows of the pick.
  constructor(root, ask) {
    this.root = root;
    this.ask = ask;
    const find = (name) => root.querySelector(name);
    this.dial = new Dial(find(".dial"), {
      moving: (by, value) => this.drag(by, value),
      settled: (by, value) => this.settle(by, value),
    });
    this.front = new Front(find(".front"), (asked) => {
      if (asked.map) this.pickMap(asked.map);
      else this.settle("size", this.rounded(asked.mb), true);
    });
    this.layers = new Layers(find(".layers"), (layer) => this.choose(layer));
    this.panel = find(".panel");
    this.texts = Object.fromEntries(
      ["line", "size", "memory", "wrong", "of", "change", "verdict", "reason", "notes", "spoken", "asks"].map(
        (name) => [name, find(`.${name}`)],
      ),
    );
    this.frame = 0;
    new ResizeObserver(() => this.resized()).observe(root);
    new ResizeObserver(() => this.resized()).observe(find(".front"));
  }

  resized() {
    if (!this.table) return;
    this.shade();
    this.front.draw();
    this.layers.draw();
  }

  // Whether the page is dark, for colours that must stand out against it.
  shade() {
    const canvas = html("canvas", { width: 1, height: 1 }).getContext("2d");
    canvas.fillStyle = getComputedStyle(this.root).getPropertyValue("--base").trim() || "#fff";
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
    this.root.classList.toggle("dark", 0.3 * r + 0.6 * g + 0.1 * b < 128);
  }

  show(sent, pick) {
    if (this.table?.id !== sent.id) {
      this.table = opened(sent);
      this.bits = new Float64Array(this.table.layers);
      this.bytes = new Int32Array(this.table.layers);
      this.relaxed = new Float64Array(this.table.layers);
      this.shade();
      this.dial.show(this.table);
      this.layers.last = null;
      this.front.last = null;
      this.layers.show(this.table);
      this.front.show(this.table);
    }
    this.root.dataset.awaits = sent.awaited ? "maps" : "";
    this.pick = pick;
    if (this.dragged) return; // a finger has moved on meanwhile
    this.waits = null;
    this.exact();
    this.letFollow();
  }

  // The rest of the page follows once nothing moves: it takes longer to draw than a pick.
  letFollow() {
    clearTimeout(this.follows);
    if (!this.behind) return;
    this.follows = setTimeout(() => {
      if (this.dragged || this.waits) return; // comes with the next answer
      this.behind = false;
      this.ask({ rest: true });
    }, CALM);
  }

  // A drag: everything that follows from its place is drawn at the next frame.
  drag(by, value) {
    clearTimeout(this.follows);
    this.dragged = { by, value };
    if (!this.frame) this.frame = requestAnimationFrame(() => this.follow());
  }

  follow() {
    this.frame = 0;
    if (!this.dragged || !this.table) return;
    const { by, value } = this.dragged;
    const { table } = this;
    const point = by === "size" ? within(table, Math.round(value * 1e6)) : keeping(table, value);
    const budget = by === "size" ? value * 1e6 : table.bytes[point];
    layersOf(table, point, this.bits, this.bytes);
    relaxedOf(table, budget, this.relaxed);
    const labels = (layer) => table.labels[table.choices[point * table.layers + layer]];
    this.draw(figuresOf(table, point), {
      bits: this.bits,
      bytes: this.bytes,
      relaxed: this.relaxed,
      labels,
    });
    this.place(by, value, table.bytes[point], needed(table, point));
    this.point = point;
  }

  // Both sliders: the one that was moved, and what that means for the other.
  place(by, value, bytes, allowed) {
    const { dial } = this;
    const size = by === "size";
    dial.put(dial.size, size ? value : Math.ceil(bytes / 1e4) / 100, size);
    const up = this.table.allowed.kind === "loss" ? Number(allowed.toPrecision(2)) : Math.ceil(allowed * 10) / 10;
    dial.put(dial.allowed, size ? up : value, !size);
  }

  settle(by, value, drawn = false) {
    if (drawn) this.drag(by, value);
    if (this.frame) {
      cancelAnimationFrame(this.frame);
      this.follow();
    }
    this.dragged = null;
    this.waits = { by, value };
    // With a map that was picked, a list on the page changes too.
    const alone = !this.pick.pick?.byHand;
    this.behind = alone;
    this.ask(by === "size" ? { size: value } : { allowed: value }, alone);
  }

  rounded(mb) {
    const { sizes, decimals } = this.table;
    const kept = Math.min(Math.max(mb, sizes[0]), sizes.at(-1));
    return Number(kept.toFixed(Math.max(decimals, 1)));
  }

  pickMap(map) {
    this.ask({ map });
  }

  choose(layer) {
    this.chosen = layer;
    this.waits = { layer };
    this.fill(null);
    this.ask({ layer }, true);
  }

  // What the solver found, in place of what the drag looked up.
  exact() {
    const { pick, error } = this.pick;
    const { by, mb, allowed, locked, layer, offers, notes } = this.pick;
    if (pick) {
      const labels = (index) => pick.labels[pick.label[index]];
      this.draw(
        { ...pick },
        { bits: pick.bits, bytes: pick.unitBytes, relaxed: pick.relaxed, labels },
      );
      const point = within(this.table, pick.bytes);
      const value = pick.byHand ? pick.bytes / 1e6 : by === "size" ? mb : allowed;
      const reached = pick.cost ? pick.cost.high - (this.table.wer?.full ?? 0) : pick.borrowed?.high;
      const up = this.table.allowed.kind === "loss" ? pick.loss : (reached ?? needed(this.table, point));
      this.place(pick.byHand ? "size" : by, value, pick.bytes, up);
    }
    say(this.texts.notes, notes.join(" "));
    this.texts.notes.hidden = !notes.length;
    this.texts.asks.hidden = !error;
    if (error) {
      const go = html("button", { type: "button", class: "chip" }, "Smallest possible size");
      go.addEventListener("click", () => this.settle("size", error.mb));
      this.texts.asks.replaceChildren(html("span", { role: "alert" }, error.text), go);
    }
    this.chosen = layer;
    this.layers.mark(locked, layer);
    this.fill(offers);
    this.speak();
    this.root.dataset.digest = pick?.digest ?? "";
    this.root.dataset.revision = String(Number(this.root.dataset.revision ?? 0) + 1);
  }

  draw(figures, layers) {
    const { texts } = this;
    say(texts.size, megabytes(figures.bytes));
    const memory = figures.memory ? `${megabytes(figures.memory)} in memory` : "";
    say(texts.memory, memory);
    const { cost, verdict } = figures;
    const lent = cost ? null : figures.borrowed;
    if (cost) {
      say(texts.wrong, `${cost.wer.toFixed(1)} %`);
      say(texts.of, "of words wrong");
      say(texts.change, `(${signed(cost.more)})`);
    } else if (lent) {
      say(texts.wrong, `${signed(lent.low)} to ${signed(lent.high)}`);
      say(texts.of, "points more words wrong");
      say(texts.change, "");
    }
    texts.wrong.parentElement.hidden = !cost && !lent;
    texts.line.classList.toggle("borrowed", Boolean(lent));
    const said = verdict.level ?? lent?.level ?? null; // what was measured counts first
    const words = this.table.words[lent ? "perhaps" : "verdicts"];
    say(texts.verdict, said === null ? "Unknown" : words[said]);
    const level = String(said ?? "");
    if (texts.verdict.dataset.level !== level) texts.verdict.dataset.level = level;
    say(texts.reason, this.reason(figures));
    const own = cost ? cost.wer : lent ? this.front.ground + lent.more : null;
    const height = this.front.lossy ? figures.loss : own;
    this.front.move(figures.bytes / 1e6, height, Boolean(cost?.measured), figures.map ?? null);
    this.layers.move(layers);
  }

  // Where the figures are from, and the worst that is known.
  reason({ cost, verdict, borrowed }) {
    if (verdict.level === null && borrowed)
      return `borrowed from ${listed(this.table.borrowed.from)}, not measured`;
    if (verdict.level === null) return "no word errors measured yet";
    const from = cost
      ? `${cost.measured ? "measured" : "predicted"}, ${cost.low.toFixed(1)} to ${cost.high.toFixed(1)} %; `
      : "";
    const guess = verdict.guess ? "; a guess, beyond what was measured" : "";
    const others = this.table.verdict?.others.includes(verdict.set);
    const by = others ? ", by other formats\u2019 maps" : "";
    const lost = verdict.runaways ? `; it runs away on ${verdict.runaways} recordings` : "";
    return `${from}at worst ${signed(verdict.worst)} points, on ${verdict.set}${by}${guess}${lost}`;
  }

  // The panel of the layer that was chosen; `offers` are null until they are known.
  fill(offers) {
    const { panel, chosen } = this;
    const shown = chosen !== null && chosen !== undefined && this.layers.last;
    panel.hidden = !shown;
    if (!shown) return;
    const [name, ...rest] = this.layers.about(chosen);
    const close = html("button", { type: "button", class: "close", "aria-label": "Close" }, "\u00d7");
    close.addEventListener("click", () => {
      this.chosen = null;
      panel.hidden = true;
      this.ask({ layer: null }, true);
    });
    const head = html("div", { class: "head" });
    head.append(html("strong", {}, name), close);
    panel.replaceChildren(head, ...rest.map((line) => html("div", {}, line)));
    if (offers === null) panel.append(html("div", {}, "\u2026"));
    for (const [index, [label, price]] of (offers ?? []).entries()) {
      const button = html("button", { type: "button", class: "offer" });
      button.append(html("span", {}, label), html("span", { class: "price" }, price));
      button.addEventListener("click", () => this.ask({ offer: index, layer: chosen }));
      panel.append(button);
    }
    const left = this.layers.x(chosen) + 12;
    const wide = this.layers.box.clientWidth;
    const right = left + panel.offsetWidth > wide;
    panel.style.left = `${Math.max(right ? left - 24 - panel.offsetWidth : left, 0)}px`;
  }

  // The answer in words, for people who do not see it.
  speak() {
    const { pick } = this.pick;
    if (!pick) return;
    const { texts } = this;
    const shown = !texts.wrong.parentElement.hidden;
    const wrong = shown ? `, ${texts.wrong.textContent} ${texts.of.textContent}` : "";
    say(texts.spoken, `${megabytes(pick.bytes)}${wrong}: ${texts.verdict.textContent}, ${texts.reason.textContent}.`);
    this.front.drawing.setAttribute("aria-label", this.front.words());
    this.front.drawing.setAttribute("role", "group");
    this.layers.drawing.setAttribute("aria-label", this.layers.words());
    this.layers.drawing.setAttribute("role", "img");
  }
}
