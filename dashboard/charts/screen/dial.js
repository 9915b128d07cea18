// Two sliders with a field next to each, and chips: how large, or how many words may go wrong.

import { html } from "./svg.js";

const PAUSE = 250; // milliseconds after the last key until it counts as let go

export class Dial {
  // `moving` is called at every change, `settled` when it is let go: each with (by, value).
  constructor(root, { moving, settled }) {
    this.root = root;
    this.moving = moving;
    this.settled = settled;
    this.size = this.knob("size");
    this.allowed = this.knob("allowed");
    this.chips = root.querySelector(".chips");
  }

  knob(name) {
    const box = this.root.querySelector(`[data-knob="${name}"]`);
    const knob = { box, slide: box.querySelector(".slide"), typed: box.querySelector(".typed") };
    const by = name === "size" ? "size" : "accuracy";
    const value = () => knob.values[Number(knob.slide.value)];
    let timer = null;
    let pointer = false; // whether a pointer moves it, or keys do
    const settle = () => {
      clearTimeout(timer);
      timer = null;
      this.settled(by, value());
    };
    knob.slide.addEventListener("pointerdown", () => {
      pointer = true;
    });
    knob.slide.addEventListener("input", () => {
      knob.typed.value = this.text(knob, value());
      this.moving(by, value());
      clearTimeout(timer);
      timer = pointer ? null : setTimeout(settle, PAUSE);
    });
    knob.slide.addEventListener("change", () => {
      if (pointer) settle();
    });
    knob.slide.addEventListener("keydown", () => {
      pointer = false;
    });
    knob.typed.addEventListener("change", () => {
      const asked = Number(knob.typed.value);
      if (knob.typed.value.trim() && Number.isFinite(asked)) {
        const kept = Math.min(Math.max(asked, knob.values[0]), knob.values.at(-1));
        knob.typed.value = this.text(knob, kept);
        this.moving(by, kept);
        this.settled(by, kept);
      }
    });
    return knob;
  }

  text(knob, value) {
    return knob.decimals === null ? `${value}` : value.toFixed(knob.decimals).replace(/\.?0+$/, "");
  }

  show(table) {
    this.offer(this.size, table.sizes, table.decimals);
    this.offer(this.allowed, table.allowed.values, null);
    const loss = table.allowed.kind === "loss";
    this.allowed.box.querySelector(".name").textContent = loss ? "Change allowed" : "More words wrong";
    this.allowed.box.querySelector(".unit").textContent = table.allowed.unit;
    this.chips.replaceChildren(
      ...table.chips.map(({ label, by, value }) => {
        const chip = html("button", { type: "button", class: "chip" }, label);
        chip.addEventListener("click", () => {
          this.moving(by, value);
          this.settled(by, value);
        });
        return chip;
      }),
    );
  }

  offer(knob, values, decimals) {
    Object.assign(knob, { values, decimals });
    knob.slide.min = "0";
    knob.slide.max = String(values.length - 1);
    knob.slide.step = "1";
  }

  // Put a slider where a value is, and its field; `mine` says that it is the one that was set.
  put(knob, value, mine) {
    const { values } = knob;
    let at = values.findIndex((one) => one >= value - 1e-9);
    if (at < 0) at = values.length - 1;
    if (Number(knob.slide.value) !== at) knob.slide.value = String(at);
    const unit = knob.box.querySelector(".unit").textContent;
    const text = this.text(knob, value);
    knob.slide.setAttribute("aria-valuetext", `${text} ${unit}`);
    if (document.activeElement !== knob.typed && knob.typed.value !== text) knob.typed.value = text;
    if (knob.mine !== mine) {
      knob.mine = mine;
      knob.box.classList.toggle("mine", mine);
    }
  }
}
