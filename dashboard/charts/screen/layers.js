// The layers: bits along the network, rounded and continuous, and how sensitive each layer is.

import { html, svg, tip } from "./svg.js";

const RIM = { left: 44, right: 12, top: 6, bottom: 34 };
const DOTS = 0.27; // the part of the height that the sensitivities take
const MANY = 120; // layers beyond which blocks have no lines between them

export class Layers {
  // `asked` takes the index of the layer that was chosen.
  constructor(box, asked) {
    this.box = box;
    this.asked = asked;
    this.drawing = svg("svg", { class: "drawing" });
    this.base = svg("g");
    this.over = svg("g");
    this.relaxed = svg("path", { class: "relaxed" });
    this.locks = svg("path", { class: "locks" });
    this.cursor = svg("rect", { class: "cursor", visibility: "hidden" });
    this.drawing.append(this.base, this.over, this.relaxed, this.locks, this.cursor);
    this.tip = html("div", { class: "tip" });
    this.tip.hidden = true;
    // A hidden slider is the keyboard's way along the layers, and speaks of each.
    this.walk = html("input", { type: "range", class: "walk", min: "0", value: "0", step: "1" });
    this.walk.setAttribute("aria-label", "Layer");
    box.replaceChildren(this.drawing, this.walk, this.tip);
    this.listen();
  }

  show(table) {
    this.table = table;
    this.walk.max = String(table.layers - 1);
    this.paths = table.units.kinds.map(([, colour]) => svg("path", { fill: colour }));
    this.over.replaceChildren(...this.paths);
    this.heights = new Float64Array(table.layers);
    this.draw();
  }

  // Everything that stays while a size is dragged.
  draw() {
    if (!this.table) return;
    this.width = this.box.clientWidth;
    this.height = this.box.clientHeight;
    if (!this.width || !this.height) return;
    this.drawing.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    const inner = this.height - RIM.top - RIM.bottom;
    this.dotsTop = RIM.top + inner * (1 - DOTS) + 10;
    this.floor = RIM.top + inner * (1 - DOTS);
    this.bottom = RIM.top + inner;
    this.step = (this.width - RIM.left - RIM.right) / this.table.layers;
    this.ceiling = this.ceiling ?? 9;
    this.base.replaceChildren(...this.axes(), ...this.blocks(), ...this.dots());
    if (this.last) {
      this.drawn = null;
      this.move(this.last);
      this.mark(this.locked ?? [], this.chosen);
    }
  }

  axes() {
    const { width } = this;
    const right = width - RIM.right;
    const ticks = this.ceiling > 10 ? [4, 8, 12, 16] : [2, 4, 6, 8];
    const drawn = ticks.flatMap((bits) => {
      const y = this.y(bits);
      return [
        svg("line", { class: "grid", x1: RIM.left, x2: right, y1: y, y2: y }),
        svg("text", { class: "tick end", x: RIM.left - 5, y: y + 4 }, `${bits}`),
      ];
    });
    const side = (y, words) =>
      svg("text", { class: "tick middle", transform: `translate(12 ${y}) rotate(-90)` }, words);
    drawn.push(side((RIM.top + this.floor) / 2, "bits"));
    drawn.push(side((this.dotsTop + this.bottom) / 2, "sensitivity"));
    drawn.push(svg("line", { class: "axis", x1: RIM.left, x2: right, y1: this.floor, y2: this.floor }));
    return drawn;
  }

  blocks() {
    const { blocks, layers } = this.table;
    const drawn = [];
    const parts = [];
    let free = -Infinity;
    for (const [start, stop, name, part] of blocks) {
      const middle = this.x((start + stop - 1) / 2);
      const last = parts.at(-1);
      if (last?.part === part) last.stop = stop;
      else parts.push({ part, start, stop });
      const edge = this.x(start - 0.5);
      if (start && (layers <= MANY || last?.part !== part)) {
        const kind = last?.part === part ? "thin" : "between";
        drawn.push(svg("line", { class: kind, x1: edge, x2: edge, y1: RIM.top, y2: this.bottom }));
      }
      if (middle - free < 16 + 4 * name.length) continue;
      free = middle + 4 * name.length;
      drawn.push(svg("text", { class: "tick middle", x: middle, y: this.bottom + 13 }, name));
    }
    for (const { part, start, stop } of parts) {
      const wide = (stop - start) * this.step;
      if (wide < 8 * part.length) continue;
      const x = this.x((start + stop - 1) / 2);
      drawn.push(svg("text", { class: "tick middle part", x, y: this.bottom + 28 }, part));
    }
    return drawn;
  }

  dots() {
    const { sensitivity, kind, kinds } = this.table.units;
    const logs = sensitivity.map((value) => (value > 0 ? Math.log10(value) : null));
    const known = logs.filter((value) => value !== null);
    if (!known.length) return [];
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const tall = this.bottom - this.dotsTop - 6;
    const r = this.table.layers > MANY ? 1.6 : 2.6;
    const texts = kinds.map(() => "");
    logs.forEach((value, index) => {
      if (value === null) return;
      const y = this.bottom - 3 - (high > low ? (value - low) / (high - low) : 0.5) * tall;
      const x = this.x(index);
      texts[kind[index]] += `M${(x - r).toFixed(1)} ${y.toFixed(1)}a${r} ${r} 0 1 1 ${2 * r} 0a${r} ${r} 0 1 1 ${-2 * r} 0`;
    });
    return texts.map((d, index) => svg("path", { d, class: "dots", fill: kinds[index][1] }));
  }

  x(index) {
    return RIM.left + (index + 0.5) * this.step;
  }

  y(bits) {
    return this.floor - (Math.min(bits, this.ceiling) / this.ceiling) * (this.floor - RIM.top);
  }

  // Draw the bars of a map: {bits, relaxed}, each of a length of all layers.
  move(view) {
    this.last = view;
    if (!this.width) return;
    const { layers, units } = this.table;
    const { bits, relaxed } = view;
    let most = 0;
    for (let i = 0; i < layers; i += 1) if (bits[i] > most) most = bits[i];
    const ceiling = most > 9 ? 17 : 9;
    if (ceiling !== this.ceiling) {
      this.ceiling = ceiling;
      this.base.replaceChildren(...this.axes(), ...this.blocks(), ...this.dots());
      this.drawn = null;
      if (this.locked) this.mark(this.locked, this.chosen);
    }
    const texts = units.kinds.map(() => []);
    const wide = this.step > 3 ? this.step * 0.84 : this.step;
    const half = wide / 2;
    const scale = (this.floor - RIM.top) / this.ceiling;
    const floor = this.floor.toFixed(1);
    const span = wide.toFixed(2);
    for (let i = 0; i < layers; i += 1) {
      const height = (bits[i] * scale).toFixed(1);
      texts[units.kind[i]].push(`M${(this.x(i) - half).toFixed(1)} ${floor}h${span}v-${height}h-${span}z`);
    }
    texts.forEach((pieces, index) => {
      const d = pieces.join("");
      if (this.drawn?.[index] !== d) this.paths[index].setAttribute("d", d);
      texts[index] = d;
    });
    this.drawn = texts;
    let dashes = "";
    for (let i = 0; i < relaxed.length; i += 1)
      dashes += `M${(this.x(i) - half).toFixed(1)} ${this.y(relaxed[i]).toFixed(1)}h${span}`;
    if (this.dashes !== dashes) {
      this.dashes = dashes;
      this.relaxed.setAttribute("d", dashes);
    }
  }

  // Mark the layers that demands bind, and the one that was chosen.
  mark(locked, chosen) {
    this.locked = locked;
    this.chosen = chosen;
    if (!this.width || !this.last) return;
    const d = locked.map((i) => {
      const y = Math.max(this.y(this.last.bits[i]) - 3, RIM.top + 8);
      return `M${this.x(i).toFixed(1)} ${y.toFixed(1)}l-4-7h8z`;
    });
    this.locks.setAttribute("d", d.join(""));
    this.point(chosen);
  }

  point(index) {
    const shown = index !== null && index !== undefined;
    this.cursor.setAttribute("visibility", shown ? "visible" : "hidden");
    if (!shown) return;
    const wide = Math.max(this.step, 5);
    this.cursor.setAttribute("x", this.x(index) - wide / 2);
    this.cursor.setAttribute("y", RIM.top);
    this.cursor.setAttribute("width", wide);
    this.cursor.setAttribute("height", this.bottom - RIM.top);
  }

  about(index) {
    const { units, table } = { units: this.table.units, table: this.table };
    const { bits, relaxed, bytes, labels } = this.last;
    const part = bytes.reduce((a, b) => a + b, 0);
    const width = labels ? labels(index) : `${bits[index]} bit`;
    const smooth = relaxed.length ? `, ${relaxed[index].toFixed(2)} before rounding` : "";
    const locked = this.locked?.includes(index) ? ", locked" : "";
    return [
      units.name[index],
      `${width}${smooth}${locked}`,
      `${((100 * bytes[index]) / part).toFixed(1)} % of the layers' bytes; ${table.units.shape[index]}`,
    ];
  }

  at(event) {
    const box = this.drawing.getBoundingClientRect();
    const x = event.clientX - box.left;
    const index = Math.floor((x - RIM.left) / this.step);
    return { index: index >= 0 && index < this.table.layers ? index : null, x, y: event.clientY - box.top };
  }

  listen() {
    this.drawing.addEventListener("pointermove", (event) => {
      if (!this.last) return;
      const { index, x, y } = this.at(event);
      this.point(index ?? this.chosen);
      if (index === null) this.tip.hidden = true;
      else tip(this.box, this.tip, this.about(index), x, y);
    });
    this.drawing.addEventListener("pointerleave", () => {
      this.tip.hidden = true;
      this.point(this.chosen);
    });
    this.drawing.addEventListener("click", (event) => {
      const { index } = this.at(event);
      if (index !== null) this.asked(index);
    });
    const speak = () => {
      if (!this.last) return;
      const index = Number(this.walk.value);
      const lines = this.about(index);
      this.walk.setAttribute("aria-valuetext", lines.join(". "));
      this.point(index);
      tip(this.box, this.tip, lines, this.x(index), RIM.top + 20);
    };
    this.walk.addEventListener("input", speak);
    this.walk.addEventListener("focus", speak);
    this.walk.addEventListener("blur", () => {
      this.tip.hidden = true;
      this.point(this.chosen);
    });
    this.walk.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      this.asked(Number(this.walk.value));
    });
  }

  // What the chart shows, for people who do not see it.
  words() {
    const { units, layers } = this.table;
    const { bits } = this.last;
    const sums = units.kinds.map(() => [0, 0]);
    for (let i = 0; i < layers; i += 1) {
      sums[units.kind[i]][0] += bits[i];
      sums[units.kind[i]][1] += 1;
    }
    const means = units.kinds.map(([name], i) => `${name} ${(sums[i][0] / sums[i][1]).toFixed(1)}`);
    return `Bits of ${layers} layers, in the network's order. On average: ${means.join(", ")}.`;
  }
}
