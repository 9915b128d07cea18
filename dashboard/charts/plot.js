// Draws Plotly figures that stay in the browser: a new figure changes what differs from the one drawn.

const decoder = new TextDecoder();
const drawn = new WeakMap(); // by container: what it shows, and what to call on a click
let loading = null;

function library(address) {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(address, document.baseURI).href;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      loading = null;
      script.remove();
      reject(new Error(script.src));
    };
    document.head.append(script);
  });
  return loading;
}

const NARROW = 520; // pixels of width, below which a legend takes one line per entry

// On a phone: room for the legend, and fewer ticks.
function fitted(layout, width) {
  if (width >= NARROW) return layout;
  const narrow = { ...layout, height: layout.height + (layout.legend ? 120 : 0) };
  narrow.legend = { ...layout.legend, font: { size: 11 } };
  const { tickvals, ticktext } = layout.xaxis ?? {};
  if (tickvals?.length > 6) {
    const some = (_, index) => index % Math.ceil(tickvals.length / 6) === 0;
    narrow.xaxis = { ...layout.xaxis, tickangle: 0 };
    narrow.xaxis.tickvals = tickvals.filter(some);
    narrow.xaxis.ticktext = ticktext.filter(some);
  }
  if (layout.xaxis?.type === "category" && !tickvals) narrow.xaxis = { ...layout.xaxis, tickangle: -90 };
  return narrow;
}

function themed(layout, style) {
  const text = style.getPropertyValue("--st-text-color").trim() || "#31333F";
  const line = style.getPropertyValue("--st-border-color").trim() || "rgba(128,128,128,0.3)";
  const base = style.getPropertyValue("--st-background-color").trim() || "#FFFFFF";
  const family = style.getPropertyValue("--st-font").trim() || "sans-serif";
  const axes = Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name));
  const font = { ...layout.font, color: text, family };
  const hoverlabel = { ...layout.hoverlabel, bgcolor: base, bordercolor: line };
  hoverlabel.font = { color: text, family };
  const coloured = { ...layout, font, hoverlabel, paper_bgcolor: "rgba(0,0,0,0)" };
  coloured.plot_bgcolor = "rgba(0,0,0,0)";
  for (const name of axes) coloured[name] = { gridcolor: line, linecolor: line, zeroline: false, ...layout[name] };
  return coloured;
}

// What may move without drawing axes, legend and all the rest again.
const MOVING = ["x", "y", "customdata", "hovertemplate"];

function still(figure) {
  const rest = figure.data.map((trace) => {
    const copy = { ...trace };
    for (const name of MOVING) copy[name] = Array.isArray(copy[name]) ? copy[name].length : null;
    return copy;
  });
  return JSON.stringify([rest, figure.layout]);
}

function moved(trace) {
  return Object.fromEntries(MOVING.filter((name) => name in trace).map((name) => [name, trace[name]]));
}

// Draw a figure, of the one drawn before only what differs.
async function draw(Plotly, plot, state, figure, style) {
  const texts = figure.data.map((trace) => JSON.stringify(trace));
  const frame = still(figure) + style.getPropertyValue("--st-background-color");
  if (state.frame === frame) {
    const changed = texts.flatMap((text, index) => (text === state.texts[index] ? [] : [index]));
    const data = changed.map((index) => moved(figure.data[index]));
    const at_once = { duration: 0, redraw: false };
    const how = { mode: "immediate", transition: { duration: 0 }, frame: at_once };
    if (changed.length) await Plotly.animate(plot, { data, traces: changed }, how);
  } else {
    const config = { displayModeBar: false, responsive: true };
    const layout = fitted(figure.layout, plot.clientWidth);
    plot.style.height = `${layout.height}px`;
    await Plotly.react(plot, figure.data, themed(layout, style), config);
  }
  Object.assign(state, { texts, frame });
}

export default function ({ data, parentElement, setTriggerValue }) {
  const plot = parentElement.querySelector(".plot");
  if (!plot || !data) return;
  const state = drawn.get(plot) ?? {};
  drawn.set(plot, state);
  state.click = (value) => setTriggerValue("clicked", value);
  const style = getComputedStyle(plot);
  const text = decoder.decode(data);
  const look = text + style.getPropertyValue("--st-background-color");
  const forget = () => window.Plotly?.purge(plot);
  if (state.look === look) return forget;
  state.look = look;
  const { figure, alt, plotly } = JSON.parse(text);
  plot.setAttribute("aria-label", alt);
  plot.style.minHeight = `${figure.layout.height}px`;
  const show = async (Plotly) => {
    if (state.look !== look) return; // a newer figure has come meanwhile
    const first = !plot.classList.contains("js-plotly-plot");
    if (first) plot.textContent = "";
    await draw(Plotly, plot, state, figure, style);
    if (first) {
      plot.on("plotly_click", ({ points }) => {
        const value = points.map((point) => [].concat(point.customdata ?? [])[0]).find(Boolean);
        if (value) state.click(value);
      });
    }
    plot.dataset.revision = String(Number(plot.dataset.revision ?? 0) + 1);
  };
  library(plotly).then(show, (error) => {
    state.look = null; // the next redraw tries again
    plot.textContent = `The chart cannot be drawn: ${error.message} does not load. Reload the page.`;
  });
  return forget;
}
