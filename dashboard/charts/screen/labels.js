// Places for a chart's labels, so that no two of them overlap.

import { html } from "./svg.js";

import { html } from "./svg.js";

const ASCENT = 12; // pixels that a text of 12 pixels reaches above its baseline, and below it
const DESCENT = 4;
const APART = 4; // pixels between two texts in a row

let ruler = null;

function wide(text, font) {
  ruler ??= html("canvas").getContext("2d");
  ruler.font = font;
  return ruler.measureText(text).width;
}

export class Labels {
  // `frame` is what labels must stay within: left, top, right, bottom; `font` as CSS writes it.
  constructor(frame, font) {
    this.frame = frame;
    this.font = font;
    this.texts = [];
    this.shapes = [];
  }

  // Something that labels had better not cover, around a point; nor stand right above it, where
  // they would seem to be its own.
  avoid(x, y, reach) {
    this.shapes.push([x - reach, y - 3 * reach, x + reach, y + reach]);
  }

  box(text, [x, y, anchor]) {
    const width = wide(text, this.font);
    const left = anchor === "end" ? x - width : anchor === "middle" ? x - width / 2 : x;
    return [left, y - ASCENT, left + width, y + DESCENT];
  }

  // Whether a box overlaps none of some others.
  free(box, others, apart = 0) {
    return others.every(
      ([a, b, c, d]) => box[0] > c + apart || box[2] < a - apart || box[1] >= d || box[3] <= b,
    );
  }

  within([a, b, c, d]) {
    const [left, top, right, bottom] = this.frame;
    return a >= left && b >= top && c <= right && d <= bottom;
  }

  // The first of some places, [x, baseline, anchor], where a text overlaps nothing; unless `strict`,
  // it may lie on shapes. null where there is none. The text takes it.
  place(text, places, strict) {
    const boxes = places.map((place) => [place, this.box(text, place)]);
    const usable = boxes.filter(([, box]) => this.within(box) && this.free(box, this.texts, APART));
    const found = usable.find(([, box]) => this.free(box, this.shapes)) ?? (strict ? null : usable[0]);
    if (!found) return null;
    this.texts.push(found[1]);
    return found[0];
  }
}
