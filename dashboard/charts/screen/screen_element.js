// The screen's element: its script comes with the tables, so that a move sends little.

export default function (component) {
  if (window.genptq) window.genptq(component);
  else addEventListener("genptq", () => window.genptq(component), { once: true });
}
