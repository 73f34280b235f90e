// The vector and what becomes of it: a handle for every element, and a bar for every element of the answer.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 640, HEIGHT = 320, LEFT = 34, EDGE = 12;
const FINE = 0.05, COARSE = 0.5;

/** A chart in a figure; `moved(index, value)` is called when somebody moves an element. */
export class Chart {
  constructor(place, moved) {
    this.place = place;
    this.moved = moved;
    this.values = [];
    this.answer = [];
    this.reach = 2;
    this.svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": "the vector's elements" });
    this.axis = drawn("g", { class: "axis", "aria-hidden": "true" });
    this.bars = drawn("g", { class: "bars", "aria-hidden": "true" });
    this.handles = drawn("g", { class: "handles" });
    this.svg.append(this.axis, this.bars, this.handles);
    place.replaceChildren(this.svg);
    this.svg.addEventListener("pointerdown", (event) => this.#take(event));
  }

  /** Draw values and answer, with a line after every `run` elements; an answer of null is not known. */
  draw(values, answer, run) {
    this.values = values;
    this.answer = answer;
    if (!this.held) this.reach = nice(Math.max(1, ...[...values, ...(answer ?? [])].map(Math.abs).filter(Number.isFinite)));
    this.#axis(run);
    this.#bars();
    this.#handles();
  }

  #x(index) {
    return LEFT + ((index + 0.5) * (WIDTH - LEFT - EDGE)) / this.values.length;
  }

  #y(value) {
    const half = HEIGHT / 2 - EDGE;
    return HEIGHT / 2 - half * Math.max(-1, Math.min(1, value / this.reach));
  }

  #axis(run) {
    const lines = [-1, -0.5, 0, 0.5, 1].flatMap((part) => {
      const y = this.#y(part * this.reach);
      const label = drawn("text", { x: LEFT - 6, y: y + 4 });
      label.textContent = String(part * this.reach).replace("-", "−");
      return [drawn("line", { x1: LEFT, x2: WIDTH - EDGE, y1: y, y2: y, class: part === 0 ? "zero" : "" }), label];
    });
    const half = (WIDTH - LEFT - EDGE) / this.values.length / 2;
    for (let index = run; run && index < this.values.length; index += run) {
      const x = this.#x(index) - half;
      lines.push(drawn("line", { x1: x, x2: x, y1: EDGE, y2: HEIGHT - EDGE, class: "run" }));
    }
    this.axis.replaceChildren(...lines);
  }

  #bars() {
    const wide = (0.6 * (WIDTH - LEFT - EDGE)) / this.values.length;
    const zero = this.#y(0);
    const bars = (this.answer ?? []).map((value, index) => {
      if (value === 0) return drawn("circle", { cx: this.#x(index), cy: zero, r: 4, class: "none" });
      const top = Math.min(zero, this.#y(value));
      const tall = Math.max(1, Math.abs(zero - this.#y(value)));
      return drawn("rect", { x: this.#x(index) - wide / 2, y: top, width: wide, height: tall, rx: 2 });
    });
    this.bars.replaceChildren(...bars);
  }

  #handles() {
    while (this.handles.childElementCount > this.values.length) this.handles.lastChild.remove();
    while (this.handles.childElementCount < this.values.length) this.handles.append(this.#handle(this.handles.childElementCount));
    this.values.forEach((value, index) => {
      const handle = this.handles.children[index];
      const [stem, dot] = handle.children;
      set(stem, { x1: this.#x(index), x2: this.#x(index), y1: this.#y(0), y2: this.#y(value) });
      set(dot, { cx: this.#x(index), cy: this.#y(value), r: 7 });
      const becomes = this.answer ? `, becomes ${shown(this.answer[index])}` : "";
      set(handle, { "aria-valuenow": value, "aria-valuemin": -this.reach, "aria-valuemax": this.reach, "aria-valuetext": `${shown(value)}${becomes}` });
    });
  }

  #handle(index) {
    const handle = drawn("g", { role: "slider", tabindex: "0", "aria-label": `element ${index}`, "aria-orientation": "vertical" });
    handle.append(drawn("line"), drawn("circle"));
    handle.addEventListener("keydown", (event) => {
      const by = { ArrowUp: FINE, ArrowRight: FINE, ArrowDown: -FINE, ArrowLeft: -FINE, PageUp: COARSE, PageDown: -COARSE }[event.key];
      if (by === undefined && event.key !== "Home") return;
      event.preventDefault();
      this.moved(index, by === undefined ? 0 : rounded(this.values[index] + by));
    });
    return handle;
  }

  // The nearest element is taken, so that the handle need not be hit, and follows until it is let go.
  #take(event) {
    const index = this.#nearest(event);
    if (index === undefined) return;
    event.preventDefault();
    this.handles.children[index].focus();
    this.held = true;
    this.svg.setPointerCapture(event.pointerId);
    const follow = (now) => this.moved(index, this.#value(now));
    const leave = () => {
      this.held = false;
      for (const end of ["pointerup", "pointercancel"]) this.svg.removeEventListener(end, leave);
      this.svg.removeEventListener("pointermove", follow);
      this.moved(index, this.values[index]);
    };
    this.svg.addEventListener("pointermove", follow);
    for (const end of ["pointerup", "pointercancel"]) this.svg.addEventListener(end, leave);
    follow(event);
  }

  #point(event) {
    return new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
  }

  #nearest(event) {
    const index = Math.floor(((this.#point(event).x - LEFT) / (WIDTH - LEFT - EDGE)) * this.values.length);
    return index >= 0 && index < this.values.length ? index : undefined;
  }

  #value(event) {
    const part = (HEIGHT / 2 - this.#point(event).y) / (HEIGHT / 2 - EDGE);
    return rounded(Math.max(-1, Math.min(1, part)) * this.reach);
  }
}

/** A number for people: four digits, a real minus sign, and infinity's sign. */
export function shown(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : value > 0 ? "∞" : "−∞";
  return String(Number(value.toPrecision(4))).replace("-", "−");
}

const rounded = (value) => Math.round(value * 100) / 100;
const nice = (reach) => [1, 2, 4, 5, 8, 10].map((step) => step * 10 ** Math.floor(Math.log10(reach))).find((step) => step >= reach);

function drawn(tag, attributes = {}) {
  return set(document.createElementNS(SVG, tag), attributes);
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
