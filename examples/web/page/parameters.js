// Controls for a regularizer's parameters, made of their descriptions in the catalogue.

import { inJson } from "./service.js";

// Where to begin, by the parameter's name, or by the regularizer's and the parameter's where the name does not tell.
const START = {
  concavity: 3.7, delta: 0.5, epsilon: 0.2, fraction: 0.5, rate: 0.5, radius: 1, target: 1,
  axis: 0, columns: 2, count: 4, m: 4, n: 2, order: 1, rank: 1, rows: 2, seed: 7, step: 0,
  "box.lower": -0.5, "box.upper": 0.5, "min_max_norm.lower": 0.5, "min_max_norm.upper": 1,
  "block_sparsity.count": 2, "top_k_groups.count": 2,
};
const STRENGTH = 0.3;
// Where sliders end.
const ENDS = { concavity: 10, fraction: 1, rate: 0.95, radius: 4 };
// Of what may be left out, what is set in the beginning, because the regularizer needs it.
const SET = new Set(["box.lower", "box.upper", "block_sparsity.count", "top_k.count", "top_k_groups.count", "slope.oscar"]);
// Of these, one takes the place of the other.
const INSTEAD = { count: "fraction", fraction: "count", strengths: "oscar", oscar: "strengths" };

/** The controls of one regularizer; `changed` is called after every change. */
export class Parameters {
  constructor(description, changed) {
    this.row = description.name;
    this.changed = changed;
    this.controls = (description.parameters ?? []).map((each) => this.#control(each));
    this.elements = this.controls.map((control) => control.element);
  }

  /** What is set, as the field of the regularizer's message has it in JSON. */
  get value() {
    const set = this.controls.filter((control) => control.set());
    return Object.fromEntries(set.map((control) => [inJson(control.name), control.read()]));
  }

  #control(description) {
    const { name, required } = description;
    const kind = KINDS[name === "nested_groups" ? "NestedGroups" : description.type] ?? json;
    const start = START[`${this.row}.${name}`] ?? START[name];
    const { parts, read } = kind({ ...description, description: description.description ?? "", start }, this.changed);
    const element = made("fieldset", { className: "parameter", name });
    const legend = made("legend", {}, name.replaceAll("_", " "));
    const control = { name, element, read, set: () => true };
    if (!required) {
      const box = made("input", { type: "checkbox", checked: SET.has(`${this.row}.${name}`) });
      box.setAttribute("aria-label", `set ${name}`);
      const enabled = () => parts.forEach((part) => part.classList.toggle("unset", !box.checked));
      box.addEventListener("change", () => {
        enabled();
        if (box.checked) this.#unset(INSTEAD[name]);
        this.changed();
      });
      for (const part of parts) {
        part.addEventListener("input", () => { box.checked = true; enabled(); this.#unset(INSTEAD[name]); }, true);
      }
      enabled();
      legend.prepend(box);
      control.set = () => box.checked;
      control.unset = () => { box.checked = false; enabled(); };
    }
    element.append(legend, ...parts, made("small", {}, description.description ?? ""));
    return control;
  }

  #unset(name) {
    this.controls.find((control) => control.name === name)?.unset?.();
  }
}

/** A slider and a field with the same number; the field takes also what is beyond the slider's ends. */
export function slider({ label, start, low, high, step }, changed) {
  const range = made("input", { type: "range", min: low, max: high, step, value: start });
  const field = made("input", { type: "number", step: "any", value: start });
  range.setAttribute("aria-label", label);
  field.setAttribute("aria-label", `${label}, as a number`);
  range.addEventListener("input", () => { field.value = range.value; changed(); });
  field.addEventListener("input", () => { range.value = field.value; changed(); });
  return { parts: [made("div", { className: "slider" }, range, field)], read: () => number(field.value) };
}

/** An element with properties and children. */
export function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// An empty field is sent as what JSON calls not a number, and the service says what it thinks of it.
const number = (text) => (text.trim() === "" ? "NaN" : Number(text));
const numbers = (text) => text.split(/[\s,;]+/).filter(Boolean).map(Number);

function double({ name, description, start }, changed) {
  const low = Number(description.match(/>=? (-?[\d.]+)/)?.[1] ?? -2);
  const begin = start ?? STRENGTH;
  return slider({ label: name, start: begin, low, high: ENDS[name] ?? 2, step: 0.01 }, changed);
}

function integer({ name, start }, changed) {
  const field = made("input", { type: "number", step: 1, value: start ?? 1 });
  field.setAttribute("aria-label", name);
  field.addEventListener("input", changed);
  return { parts: [field], read: () => number(field.value) };
}

function bool({ name, description }, changed) {
  const choice = chosen(name, { yes: true, no: false }, changed);
  choice.parts[0].value = /unset: true/.test(description) ? "no" : "yes";
  return choice;
}

/** One of several values, by their names. */
function chosen(label, values, changed) {
  const select = made("select", {}, ...Object.keys(values).map((name) => made("option", { value: name }, name)));
  select.setAttribute("aria-label", label);
  select.addEventListener("change", changed);
  return { parts: [select], read: () => values[select.value] };
}

function groups({ name }, changed) {
  return chosen(name, {
    "runs of 4": { size: 4 },
    "runs of 2": { size: 2 },
    "runs of 8": { size: 8 },
    "runs of 4, weight √4": { size: 4, sqrtSize: true },
    "runs of 1, 3, 4 and 8": { sizes: { values: [1, 3, 4, 8] } },
    "rows of a matrix": { axis: 0 },
    "columns of a matrix": { axis: 1 },
  }, changed);
}

function nestedGroups({ name }, changed) {
  return chosen(name, {
    "runs of 4 in runs of 8": [{ size: 4 }, { size: 8 }],
    "runs of 2 in runs of 4": [{ size: 2 }, { size: 4 }],
    "elements, runs of 4, all": [{ size: 1 }, { size: 4 }, { size: 16 }],
  }, changed);
}

function levels({ name }, changed) {
  const kind = chosen(`${name}: kind`, { "these numbers": "explicit", "every multiple of": "step" }, changed);
  const field = text(`${name}: numbers`, "-1, 0, 1", changed);
  kind.parts[0].addEventListener("change", () => { field.value = kind.read() === "step" ? "0.5" : "-1, 0, 1"; }, true);
  const read = () => (kind.read() === "step" ? { step: number(field.value) } : { explicit: { values: numbers(field.value) } });
  return { parts: [...kind.parts, field], read };
}

function slopeStrengths({ name }, changed) {
  const field = text(name, Array.from({ length: 16 }, (_, index) => (0.64 - 0.04 * index).toFixed(2)).join(", "), changed);
  return { parts: [field], read: () => ({ values: numbers(field.value) }) };
}

function oscar(_, changed) {
  const l1 = slider({ label: "l1 strength", start: 0.1, low: 0, high: 1, step: 0.01 }, changed);
  const pairs = slider({ label: "pairwise strength", start: 0.02, low: 0, high: 0.2, step: 0.002 }, changed);
  return {
    parts: [made("small", {}, "l1 strength"), ...l1.parts, made("small", {}, "pairwise strength"), ...pairs.parts],
    read: () => ({ l1Strength: l1.read(), pairwiseStrength: pairs.read() }),
  };
}

// What is newer than this page is written as JSON.
function json({ name }, changed) {
  const field = text(name, "{}", changed);
  return { parts: [field], read: () => { try { return JSON.parse(field.value); } catch { return field.value; } } };
}

function text(label, value, changed) {
  const field = made("input", { type: "text", value });
  field.setAttribute("aria-label", label);
  field.addEventListener("input", changed);
  return field;
}

const KINDS = {
  double, float: double, int32: integer, int64: integer, uint32: integer, uint64: integer, bool,
  Groups: groups, NestedGroups: nestedGroups, Levels: levels, SlopeStrengths: slopeStrengths, Oscar: oscar,
};
