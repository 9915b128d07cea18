// Elements of SVG and HTML; every text is set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

export function html(name, attributes = {}, text = null) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

// A text changes only where it differs: each change costs a layout.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function signed(value, digits = 1) {
  const text = Math.abs(value).toFixed(digits);
  return `${value < 0 && Number(text) !== 0 ? "\u2212" : "+"}${text}`;
}

export function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1)} MB`;
}

// Lines of text over a chart, near a place in it.
export function tip(box, element, lines, x, y) {
  element.replaceChildren(...lines.map((line) => html("div", {}, line)));
  element.hidden = false;
  const wide = box.clientWidth;
  const left = Math.min(Math.max(x + 14, 0), wide - element.offsetWidth - 4);
  const below = y + 14 + element.offsetHeight < box.clientHeight;
  const top = below ? y + 14 : Math.max(y - element.offsetHeight - 10, 0);
  element.style.transform = `translate(${Math.max(left, 0)}px, ${top}px)`;
}
