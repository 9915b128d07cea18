// The screen in a report: what the page was showing, and every other size from its table.

const screen = new Screen(document.querySelector(".genptq"), (asked) => {
  if (asked.layer !== undefined) screen.fill([]);
  const mark = asked.map && TABLE.marks.find((one) => one.map === asked.map);
  if (mark) screen.settle("size", mark.mb, true);
});
screen.show(TABLE, PICK);
const home = html("button", { type: "button", class: "chip" }, "this report's map");
home.addEventListener("click", () => screen.show(TABLE, PICK));
screen.dial.chips.prepend(home);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => screen.resized());
