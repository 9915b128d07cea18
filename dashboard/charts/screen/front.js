// The front: words wrong against size, from full precision to a few points more, and the pick.

import { Labels } from "./labels.js";
import { html, signed, svg, tip } from "./svg.js";

const ABOVE = 4; // points above full precision at which the axis ends
const STRIP = 22; // pixels for what lies above it
const EDGE = { left: 44, right: 12, top: 4, bottom: 34 };
const TICKS = [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8];
const NEAR = [-5, 4, 13, -14]; // baselines of labels beside a mark, pixels from its middle
const FAR = [-30, -46, -62, -78, 36, 52];
const STAR = "M0-9 2.6-3 9-2.5 4.1 1.8 5.7 8.5 0 4.9-5.7 8.5-4.1 1.8-9-2.5-2.6-3Z";
const SHAPES = {
  mixed: "M-5 0A5 5 0 1 1 5 0A5 5 0 1 1-5 0Z",
  uniform: "M-5-5H5V5H-5Z",
  other: "M-5-5 5 5M5-5-5 5",
  tool: "M0-6 6 5H-6Z",
  above: "M0-6 6 4H-6Z",
};

function hatching(id, name) {
  const size = { width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
  const pattern = svg("pattern", { id, ...size });
  pattern.append(svg("line", { class: name, x1: 0, x2: 0, y1: 0, y2: 8 }));
  return pattern;
}

export class Front {
  // `asked` takes {map} or {mb}: what was clicked.
  constructor(box, asked) {
    this.box = box;
    this.asked = asked;
    this.view = null; // what is zoomed into, or null
    this.picked = null;
    this.drawing = svg("svg", { class: "drawing" });
    this.base = svg("g");
    this.over = svg("g");
    this.guide = svg("line", { class: "guide" });
    this.star = svg("g", { class: "star" });
    this.star.append(svg("circle", { r: 14 }), svg("path", { d: STAR }));
    this.note = svg("text", { class: "starnote" });
    this.over.append(this.guide, this.star, this.note);
    this.drawing.append(this.base, this.over);
    this.tip = html("div", { class: "tip" });
    this.tip.hidden = true;
    this.whole = html("button", { type: "button", class: "whole" }, "Whole front");
    this.whole.hidden = true;
    this.whole.addEventListener("click", () => this.zoom(null));
    box.replaceChildren(this.drawing, this.whole, this.tip);
    this.listen();
  }

  show(table) {
    if (this.table?.id !== table.id) this.view = null;
    this.table = table;
    const { wer, borrowed } = table;
    this.lent = !wer?.more && Boolean(borrowed); // what other models say stands in
    this.lossy = !wer?.more && !borrowed;
    this.full = wer?.full ?? null; // where full precision is; 0 stands for it where it is unknown
    this.curve = wer?.more ? wer : borrowed;
    const marks = this.marks();
    const sizes = [...table.bytes.map((bytes) => bytes / 1e6)];
    const low = Math.min(sizes[0], ...marks.map((mark) => mark.mb));
    const usual = table.usual / 1e6;
    const high = Math.max(usual, ...marks.map((m) => m.mb).filter((mb) => mb <= 1.2 * usual));
    let y;
    if (this.lossy) {
      const least = table.loss[Math.max(table.loss.findIndex((l) => l < 1e-3), 1)];
      y = [Math.log10(Math.max(least, 1e-4)), Math.log10(Math.min(table.loss[0], 3))];
    } else {
      const ends = marks.filter((mark) => mark.low !== undefined).map((mark) => mark.low);
      const floor = Math.min(this.ground - 0.6, ...ends.filter((e) => e > this.ground - 2));
      y = [(this.full === null ? floor : Math.max(floor, 0)) - 0.15, this.ground + ABOVE];
    }
    this.home = { x: [Math.log(low) - 0.02, Math.log(high) + 0.06], y };
    this.draw();
  }

  get ground() {
    return this.full ?? 0;
  }

  marks() {
    const { marks, tools, second } = this.table;
    return [
      ...marks,
      ...tools.map((tool) => ({ ...tool, kind: "tool" })),
      ...(second?.marks ?? []).map((mark) => ({ ...mark, second: true })),
    ];
  }

  get domain() {
    return this.view ?? this.home;
  }

  x(mb) {
    const [a, b] = this.domain.x;
    return EDGE.left + ((Math.log(mb) - a) / (b - a)) * (this.width - EDGE.left - EDGE.right);
  }

  // A height in pixels, and whether it lies above the axis, where it goes to the strip.
  y(value) {
    const [a, b] = this.domain.y;
    const top = EDGE.top + STRIP;
    const at = this.lossy ? Math.log10(Math.max(value, 1e-12)) : value;
    const pixel = top + ((b - at) / (b - a)) * (this.height - EDGE.bottom - top);
    return at > b ? [EDGE.top + STRIP / 2, true] : [pixel, false];
  }

  clamped(value) {
    const [pixel, above] = this.y(value);
    return above ? EDGE.top + STRIP : Math.min(pixel, this.height - EDGE.bottom);
  }

  heights() {
    return this.lossy ? this.table.loss : this.curve.more.map((more) => this.ground + more);
  }

  draw() {
    if (!this.table) return;
    this.width = this.box.clientWidth;
    this.height = this.box.clientHeight;
    if (!this.width || !this.height) return;
    this.drawing.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    const frame = [EDGE.left, EDGE.top, this.width - EDGE.right, this.height - EDGE.bottom];
    const family = getComputedStyle(this.box).fontFamily;
    this.labels = new Labels(frame, `12px ${family}`);
    this.named = []; // labels that the pick's own may come to lie on
    for (const mark of this.marks()) {
      const [y, above] = this.y(this.heightOf(mark));
      this.labels.avoid(this.x(mark.mb), y, above ? 5 : 6);
    }
    const parts = [
      ...this.axes(),
      ...this.guessed(),
      ...this.lines(),
      ...this.points(),
    ];
    this.base.replaceChildren(...parts);
    this.pointOut();
    this.whole.hidden = this.view === null;
    if (this.last) this.move(...this.last);
  }

  axes() {
    const { width, height } = this;
    const bottom = height - EDGE.bottom;
    const right = width - EDGE.right;
    const top = EDGE.top + STRIP;
    const drawn = [
      svg("rect", {
        class: "strip",
        x: EDGE.left,
        y: EDGE.top,
        width: right - EDGE.left,
        height: STRIP,
      }),
    ];
    const clip = svg("clipPath", { id: "gq-inside" });
    clip.append(svg("rect", { x: EDGE.left, y: top, width: right - EDGE.left, height: bottom - top }));
    drawn.push(clip);
    const [low, high] = this.domain.x.map(Math.exp);
    let free = -Infinity;
    for (let power = -4; power < 5; power += 1) {
      for (const tick of TICKS) {
        const mb = tick * 10 ** power;
        if (mb < low || mb > high) continue;
        const x = this.x(mb);
        drawn.push(svg("line", { class: "grid", x1: x, x2: x, y1: top, y2: bottom }));
        if (x - free < 38) continue;
        free = x;
        drawn.push(svg("text", { class: "tick middle", x, y: bottom + 15 }, `${+mb.toPrecision(3)}`));
      }
    }
    drawn.push(svg("text", { class: "tick end", x: right, y: bottom + 29 }, "MB"));
    const [a, b] = this.domain.y;
    const step = this.lossy ? 1 : [0.1, 0.2, 0.5, 1, 2, 5, 10].find((s) => (b - a) / s <= 7) ?? 20;
    for (let at = Math.ceil(a / step) * step; at <= b + 1e-9; at += step) {
      const value = this.lossy ? 10 ** at : at;
      const [y, above] = this.y(value * (this.lossy ? 1 - 1e-9 : 1));
      if (above) continue;
      drawn.push(svg("line", { class: "grid", x1: EDGE.left, x2: right, y1: y, y2: y }));
      const percent = this.full === null ? (at ? signed(at, step < 1 ? 1 : 0) : "0") : `${+at.toFixed(1)} %`;
      const text = this.lossy ? `${+value.toPrecision(1)}` : percent;
      drawn.push(svg("text", { class: "tick end", x: EDGE.left - 5, y: y + 4 }, text));
    }
    const over = this.lossy ? "off the scale" : `more than +${ABOVE} points`;
    const more = this.full === null ? "more words wrong, points" : "words wrong";
    const what = this.lossy ? "change of the output" : more;
    drawn.push(svg("text", { class: "tick", x: EDGE.left, y: bottom + 29 }, `\u2191 ${what}`));
    const inStrip = [[right - 5, "end"], [EDGE.left + 5, "start"], [(EDGE.left + right) / 2, "middle"]];
    const places = inStrip.map(([x, anchor]) => [x, EDGE.top + 15, anchor]);
    drawn.push(...this.label(over, places, " tick", true));
    return drawn;
  }

  // Sizes smaller than any that was measured: what is drawn there is a guess.
  guessed() {
    const { wer, bytes } = this.table;
    if (!wer?.beyond) return [];
    const end = Math.min(this.x(bytes[Math.min(wer.beyond, bytes.length - 1)] / 1e6), this.width - EDGE.right);
    if (end <= EDGE.left) return [];
    const box = svg("rect", {
      x: EDGE.left,
      y: EDGE.top + STRIP,
      width: end - EDGE.left,
      height: this.height - EDGE.bottom - EDGE.top - STRIP,
      fill: "url(#gq-hatch)",
    });
    const at = [EDGE.left + 6, this.height - EDGE.bottom - 8, "start"];
    const wide = end - EDGE.left > 90;
    return [hatching("gq-hatch", "hatch"), box, ...(wide ? this.label("a guess: not measured", [at]) : [])];
  }

  // A label at the first of some places that is free; nothing where none is.
  label(text, places, more = "", strict = false) {
    const place = this.labels.place(text, places, strict);
    if (!place) return [];
    const [x, y, anchor] = place;
    const made = svg("text", { class: `label ${anchor}${more}`, x, y }, text);
    this.named.push([this.labels.texts.at(-1), made]);
    return [made];
  }

  heightOf(mark) {
    return this.lossy ? (mark.loss ?? Infinity) : mark.wer;
  }

  // A line through points whose x rise; what lies above the axis is cut off there.
  path(heights) {
    const { bytes } = this.table;
    let text = "";
    for (let i = 0; i < bytes.length; i += 1)
      text += `${i ? "L" : "M"}${this.x(bytes[i] / 1e6).toFixed(1)} ${this.raw(heights[i]).toFixed(1)}`;
    return text;
  }

  raw(value) {
    const [a, b] = this.domain.y;
    const top = EDGE.top + STRIP;
    const at = this.lossy ? Math.log10(Math.max(value, 1e-12)) : value;
    return Math.max(top + ((b - at) / (b - a)) * (this.height - EDGE.bottom - top), -2000);
  }

  lines() {
    const { bytes, second } = this.table;
    const inside = svg("g", { "clip-path": "url(#gq-inside)" });
    const drawn = [inside];
    const words = this.full === null ? "as full precision" : "full precision";
    if (!this.lossy) drawn.push(...this.level(inside, this.ground, words, ""));
    if (this.curve) {
      const low = this.curve.low.map((v) => Math.max(this.ground + v, this.full === null ? -99 : 0));
      const high = this.curve.high.map((v) => this.ground + v);
      let band = this.path(high);
      for (let i = bytes.length - 1; i >= 0; i -= 1)
        band += `L${this.x(bytes[i] / 1e6).toFixed(1)} ${this.raw(low[i]).toFixed(1)}`;
      if (this.lent) drawn.push(hatching("gq-lent", "lent"));
      inside.append(svg("path", { class: `band${this.lent ? " lent" : ""}`, d: `${band}Z` }));
    }
    if (second) {
      drawn.push(...this.level(inside, second.full, `full precision, ${second.name}`, " second"));
      if (second.more)
        inside.append(
          svg("path", { class: "line second", d: this.path(second.more.map((v) => second.full + v)) }),
        );
    }
    inside.append(svg("path", { class: `line${this.lent ? " lent" : ""}`, d: this.path(this.heights()) }));
    const own = this.lossy ? "predicted" : "predicted, with its 90 % band";
    const lent = "borrowed from other models";
    const named = this.label(this.lent ? `${lent}, not measured` : own, this.onCurve(), " front");
    // On a phone there is room for fewer words, and on the band itself.
    drawn.push(...(named.length || !this.lent ? named : this.label(lent, this.onBand(), " front")));
    return drawn;
  }

  // Places to the right of the curve where it comes down into the chart, the highest first.
  onCurve() {
    const heights = this.lent ? this.curve.high.map((v) => this.ground + v) : this.heights();
    const places = [];
    for (const down of [26, 44, 62, 80, 98]) {
      const at = heights.findIndex((height) => this.raw(height) > EDGE.top + STRIP + down);
      if (at < 0) continue;
      const x = Math.max(this.x(this.table.bytes[at] / 1e6), EDGE.left);
      places.push([x + 12, EDGE.top + STRIP + down, "start"]);
    }
    return places;
  }

  // Places on the band: at the right, where it reaches to both sides of full precision, from below.
  onBand() {
    const bottom = this.height - EDGE.bottom;
    return [6, 24, 42, 60, 78].map((up) => [this.width - EDGE.right - 4, bottom - up, "end"]);
  }

  level(inside, value, words, second) {
    const [y, above] = this.y(value);
    if (above) return [];
    const right = this.width - EDGE.right;
    const text = this.full === null ? words : `${words} ${value.toFixed(1)} %`;
    inside.append(svg("line", { class: `full${second}`, x1: EDGE.left, x2: right, y1: y, y2: y }));
    const places = [14, -5].map((dy) => [right - 4, y + dy, "end"]);
    return this.label(text, places, second);
  }

  points() {
    const drawn = [];
    const tags = [];
    this.places = [];
    const right = this.width - EDGE.right;
    for (const mark of this.marks()) {
      const x = this.x(mark.mb);
      if (x < EDGE.left - 1 || x > right + 1) continue;
      const height = this.heightOf(mark);
      const [y, above] = this.y(height);
      if (y > this.height - EDGE.bottom + 1) continue;
      const kind = above ? "above" : mark.kind;
      const group = svg("g", {
        class: `mark ${mark.kind}${mark.second ? " second" : ""}`,
        transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
      });
      if (mark.low !== undefined && !above && !this.lossy) {
        const [high, low] = [this.clamped(mark.high) - y, this.clamped(mark.low) - y];
        group.append(svg("path", { class: "bar", d: `M0 ${high}V${low}M-4 ${high}h8M-4 ${low}h8` }));
      }
      group.append(svg("path", { class: "shape", d: SHAPES[kind] }));
      if (mark.kind === "tool" || mark.kind === "uniform" || above) {
        const words = above && !this.lossy ? `${mark.wer.toFixed(0)} %` : mark.name;
        tags.push([words, x, y, above ? [4] : NEAR]);
      }
      if (mark.map) {
        group.setAttribute("role", "button");
        group.setAttribute("aria-label", mark.lines.join(". "));
      }
      drawn.push(group);
      this.places.push({ x, y, mark, group });
    }
    // From one side or from the other, whichever finds a place for more.
    tags.sort(([, a], [, b]) => b - a);
    const before = [this.labels.texts, this.labels.shapes, this.named];
    const tries = [tags, [...tags].reverse()].map((order) => {
      [this.labels.texts, this.labels.shapes, this.named] = before.map((list) => [...list]);
      const made = order.flatMap((tag) => this.tag(...tag));
      return { made, texts: this.labels.texts, named: this.named };
    });
    const best = tries[1].texts.length > tries[0].texts.length ? tries[1] : tries[0];
    [this.labels.texts, this.named] = [best.texts, best.named];
    return [...drawn, ...best.made];
  }

  // A mark's label beside it; where that is taken, farther away, with a line to it.
  tag(words, x, y, near) {
    const beside = near.flatMap((dy) => [[x + 9, y + dy, "start"], [x - 9, y + dy, "end"]]);
    const close = this.label(words, beside, "", true);
    if (close.length || near !== NEAR) return close;
    for (const dy of FAR) {
      const [y1, y2] = dy > 0 ? [y + 7, y + dy + 1] : [y + dy - 9, y - 7];
      const way = [x - 2, y1, x + 2, y2];
      if (!this.labels.free(way, this.labels.texts)) continue;
      const label = this.label(words, [[x + 5, y + dy, "start"], [x - 5, y + dy, "end"]], "", true);
      if (!label.length) continue;
      this.labels.shapes.push(way);
      const line = svg("line", { class: "leader", x1: x, x2: x, y1, y2 });
      this.named.push([this.labels.texts.at(-1), line]);
      return [line, ...label];
    }
    return [];
  }

  // The pick moves: MB, its height, whether it was measured, and the map that it is.
  move(mb, height, measured, map) {
    this.last = [mb, height, measured, map];
    if (!this.width) return;
    const known = height !== null && Number.isFinite(height);
    const x = Math.min(Math.max(this.x(mb), EDGE.left), this.width - EDGE.right);
    const [y, above] = known ? this.y(height) : [this.height - EDGE.bottom, false];
    const at = Math.min(y, this.height - EDGE.bottom);
    this.star.setAttribute("transform", `translate(${x.toFixed(1)} ${at.toFixed(1)})`);
    this.guide.setAttribute("transform", `translate(${x.toFixed(1)} 0)`);
    if (this.guided !== this.height) {
      this.guided = this.height;
      this.guide.setAttribute("y1", EDGE.top);
      this.guide.setAttribute("y2", this.height - EDGE.bottom);
    }
    if (this.solid !== measured) {
      this.solid = measured;
      this.star.classList.toggle("measured", measured);
    }
    const words = above ? (this.lossy ? "off the scale" : `your pick: ${height.toFixed(0)} %`) : "";
    if (this.noted !== words) {
      this.noted = words;
      this.note.textContent = words;
    }
    if (words) {
      const left = x < this.width / 2;
      this.note.setAttribute("transform", `translate(${(x + (left ? 18 : -18)).toFixed(1)} ${at + 4})`);
      this.note.setAttribute("text-anchor", left ? "start" : "end");
    }
    this.makeWay(words ? this.labels.box(words, [x + (x < this.width / 2 ? 18 : -18), at + 4, x < this.width / 2 ? "start" : "end"]) : null);
    if (this.picked !== map) {
      this.picked = map;
      this.pointOut();
    }
  }

  // Labels that the pick's own lies on are not shown meanwhile.
  makeWay(box) {
    for (const [taken, label] of this.named) {
      const shown = !box || this.labels.free(box, [taken]) ? "" : "hidden";
      if (label.style.visibility !== shown) label.style.visibility = shown;
    }
  }

  // The picked map looks so, and is where the keyboard begins.
  pointOut() {
    const marks = (this.places ?? []).filter(({ mark }) => mark.map);
    const at = marks.find(({ mark }) => mark.map === this.picked) ?? marks[0];
    for (const one of marks) {
      one.group.classList.toggle("picked", one.mark.map === this.picked);
      one.group.setAttribute("tabindex", one === at ? "0" : "-1");
    }
  }

  near(x, y, reach = 16) {
    let best = null;
    for (const place of this.places ?? []) {
      const away = Math.hypot(place.x - x, place.y - y);
      if (away < reach && (!best || away < best.away)) best = { ...place, away };
    }
    return best;
  }

  zoom(view) {
    this.view = view;
    if (view) {
      const wide = view.x[1] - view.x[0];
      if (wide >= this.home.x[1] - this.home.x[0]) this.view = null;
    }
    this.draw();
  }

  // Zoom by a factor around a place in pixels.
  scale(factor, px, py) {
    const { x, y } = this.domain;
    const top = EDGE.top + STRIP;
    const across = Math.min(Math.max((px - EDGE.left) / (this.width - EDGE.left - EDGE.right), 0), 1);
    const down = Math.min(Math.max((py - top) / (this.height - EDGE.bottom - top), 0), 1);
    const [cx, cy] = [x[0] + across * (x[1] - x[0]), y[1] - down * (y[1] - y[0])];
    if ((x[1] - x[0]) * factor < 0.02) return;
    this.zoom({
      x: x.map((end) => cx + (end - cx) * factor),
      y: y.map((end) => cy + (end - cy) * factor),
    });
  }

  listen() {
    const fingers = new Map();
    let pressed = null;
    const place = (event) => {
      const box = this.drawing.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.drawing.addEventListener(
      "wheel",
      (event) => {
        if (!this.view && event.deltaY > 0) return; // there is nothing to zoom out of
        event.preventDefault();
        this.scale(Math.exp(Math.min(Math.max(event.deltaY, -200), 200) / 400), ...place(event));
      },
      { passive: false },
    );
    this.drawing.addEventListener("dblclick", () => this.zoom(null));
    this.drawing.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, place(event));
      pressed = fingers.size === 1 ? { at: place(event), view: this.view, moved: false } : null;
    });
    this.drawing.addEventListener("pointermove", (event) => {
      const at = place(event);
      if (fingers.has(event.pointerId) && fingers.size === 2) {
        const apart = () => {
          const [a, b] = [...fingers.values()];
          return [Math.hypot(a[0] - b[0], a[1] - b[1]), (a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
        };
        const [before] = apart();
        fingers.set(event.pointerId, at);
        const [after, x, y] = apart();
        if (before > 10 && after > 10) this.scale(before / after, x, y);
        return;
      }
      if (pressed && fingers.size === 1) {
        const [dx, dy] = [at[0] - pressed.at[0], at[1] - pressed.at[1]];
        if (Math.hypot(dx, dy) > 4) pressed.moved = true;
        if (pressed.moved && pressed.view) {
          const { x, y } = pressed.view;
          const sx = (dx / (this.width - EDGE.left - EDGE.right)) * (x[1] - x[0]);
          const sy = (dy / (this.height - EDGE.bottom - EDGE.top - STRIP)) * (y[1] - y[0]);
          this.zoom({ x: x.map((end) => end - sx), y: y.map((end) => end + sy) });
        }
      }
      const found = this.near(...at);
      this.drawing.style.cursor = "pointer";
      if (found) {
        const lines = found.mark.map ? [...found.mark.lines, "click to pick it"] : found.mark.lines;
        tip(this.box, this.tip, lines.slice(0, 4), ...at);
      } else this.tip.hidden = true;
    });
    const lifted = (event) => {
      const at = place(event);
      const single = fingers.size === 1 && pressed && !pressed.moved;
      fingers.delete(event.pointerId);
      if (event.type !== "pointerup" || !single) return;
      const found = this.near(...at);
      if (found?.mark.map) this.asked({ map: found.mark.map });
      else if (at[0] > EDGE.left) this.asked({ mb: found?.mark.mb ?? this.sizeAt(at[0]) });
    };
    for (const name of ["pointerup", "pointercancel", "pointerleave"])
      this.drawing.addEventListener(name, lifted);
    this.drawing.addEventListener("pointerleave", () => {
      this.tip.hidden = true;
    });
    this.drawing.addEventListener("keydown", (event) => {
      const marks = (this.places ?? []).filter((one) => one.mark.map);
      marks.sort((a, b) => a.mark.mb - b.mark.mb);
      const at = marks.findIndex((one) => one.group === document.activeElement);
      if (at < 0) return;
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (step) {
        event.preventDefault();
        const next = marks[Math.min(Math.max(at + step, 0), marks.length - 1)];
        for (const one of marks) one.group.setAttribute("tabindex", one === next ? "0" : "-1");
        next.group.focus();
        tip(this.box, this.tip, next.mark.lines, next.x, next.y);
      } else if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.asked({ map: marks[at].mark.map });
      }
    });
    this.drawing.addEventListener("focusout", () => {
      this.tip.hidden = true;
    });
  }

  sizeAt(x) {
    const [a, b] = this.domain.x;
    return Math.exp(a + ((x - EDGE.left) / (this.width - EDGE.left - EDGE.right)) * (b - a));
  }

  // What the chart shows, for people who do not see it.
  words() {
    const { table } = this;
    const marks = [...table.marks].sort((a, b) => a.mb - b.mb);
    const text = marks.map((mark) => `${mark.mb.toFixed(1)} MB ${mark.wer.toFixed(1)} %`).join(", ");
    const full = table.wer ? ` Full precision: ${table.wer.full.toFixed(1)} %.` : "";
    const measured = marks.length ? ` Measured: ${text}.` : "";
    if (this.lossy) return `Change of the output against size.${full}${measured}`;
    const heights = this.heights();
    const some = [0.25, 0.5, 0.75].map((share) => {
      const at = Math.round(share * (heights.length - 1));
      const ends = [this.curve.low[at], this.curve.high[at]].map((end) => signed(end));
      if (this.lent) return `${(table.bytes[at] / 1e6).toFixed(1)} MB ${ends.join(" to ")} points`;
      return `${(table.bytes[at] / 1e6).toFixed(1)} MB ${heights[at].toFixed(1)} % (${signed(this.curve.more[at])})`;
    });
    const whose = this.lent ? "Borrowed from other models" : "Predicted";
    return `Words wrong against size.${full} ${whose}: ${some.join(", ")}.${measured}`;
  }
}
