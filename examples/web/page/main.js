// What the page does: whatever is changed, the service is asked anew, and its answer is drawn.

import { Chart, shown } from "./chart.js";
import { Parameters, made, slider } from "./parameters.js";
import { Service, inJson, message } from "./service.js";

const LENGTH = 16;
const SHAPES = { row: [LENGTH], matrix: [4, 4] };
// Numbers that look random, and are the same for everybody.
const noise = Array.from({ length: LENGTH }, (_, index) => ((index * 7919 + 104729) % 97) / 48.5 - 1);
const PRESETS = {
  "two large, many small": noise.map((each, index) => ({ 3: 1.6, 10: -1.3 }[index] ?? 0.4 * each)),
  "noisy steps": noise.map((each, index) => [0.9, -0.5, 1.4, 0.2][Math.floor(index / 4)] + 0.25 * each),
  ramp: noise.map((_, index) => (index - 7.5) / 5),
  "noise": noise.map((each) => 1.5 * each),
  "all positive": noise.map((each) => 0.1 + Math.abs(each)),
};

const at = (id) => document.getElementById(id);
const address = new URLSearchParams(location.search).get("service") ?? `http://${location.hostname || "localhost"}:8080`;
const service = new Service(address);
const state = { shape: "row", values: PRESETS["two large, many small"].map(rounded), method: "ProximalStep" };
const chart = new Chart(at("chart"), (index, value) => {
  state.values = state.values.with(index, value);
  at("preset").value = "own";
  chart.draw(state.values, state.answer ?? null, run());
  changed();
});
const stepSize = slider({ label: "step size", start: 1, low: 0, high: 2, step: 0.01 }, () => changed());

let asking = false, again = false;

// One question at a time, and the last change is always asked about.
async function changed() {
  again = true;
  if (asking) return;
  asking = true;
  at("answer").setAttribute("aria-busy", "true");
  while (again) {
    again = false;
    await ask();
  }
  asking = false;
  at("answer").setAttribute("aria-busy", "false");
}

async function ask() {
  const method = state.method;
  const call = { shape: SHAPES[state.shape], values: state.values, regularizer: regularizer(), stepSize: stepSize.read() };
  at("request").textContent = curl(method, call);
  const begun = performance.now();
  const map = state.row.traits?.map;
  try {
    const [before, after] = await Promise.all([
      map ? undefined : service.penalty(message("Penalty", call)),
      service.transform(method, message(method, call)),
    ]);
    state.answer = after.values;
    answered(method, before, after, performance.now() - begun);
  } catch (refusal) {
    if (state.untried && refusal.field?.endsWith(".shape")) {
      Object.assign(state, { untried: false, shape: "matrix" });
      at("shape").value = "matrix";
      again = true;
      return;
    }
    state.answer = undefined;
    refused(refusal);
  }
  state.untried = false;
  chart.draw(state.values, state.answer ?? null, run());
}

function answered(method, before, { values, summary }, milliseconds) {
  at("refusal").hidden = true;
  const omega = [before, method === "ProximalStep" && before ? summary : undefined].map(penalty);
  const most = Math.max(...omega.filter(Number.isFinite), Number.MIN_VALUE);
  ["before", "after"].forEach((id, index) => {
    const value = omega[index];
    at(id).hidden = value === undefined;
    at(`${id}-value`).textContent = value === undefined ? "" : shown(value);
    at(`${id}-meter`).style.width = `${value === undefined ? 0 : 100 * Math.min(1, Math.abs(value) / most)}%`;
  });
  at("map").hidden = before !== undefined;
  const zeros = values.filter((value) => value === 0).length;
  at("zeros").textContent = `${zeros} of ${values.length} are exactly 0`;
  at("time").textContent = `answered in ${milliseconds.toFixed(0)} ms`;
  document.body.dataset.state = "answered";
}

function refused(refusal) {
  at("refusal").hidden = false;
  at("refusal-reason").textContent = refusal.reason || "No answer";
  at("refusal-text").textContent = refusal.message;
  for (const id of ["before", "after", "map"]) at(id).hidden = true;
  at("zeros").textContent = at("time").textContent = "";
  document.body.dataset.state = "refused";
}

// JSON has infinity as a text, and leaves out what is 0.
function penalty(summary) {
  return summary && Number(summary.total.penalty?.value ?? 0);
}

function regularizer() {
  return { [inJson(state.row.name)]: state.parameters.value };
}

function run() {
  return state.shape === "matrix" ? 4 : 0;
}

function rounded(value) {
  return Math.round(value * 100) / 100;
}

function curl(method, call) {
  const body = JSON.stringify([message(method, call)], null, 1).replace(/\n\s*/g, " ");
  return `curl ${service.url(method)} \\\n  --header 'content-type: application/json' \\\n  --data '${body}'`;
}

function choose(name) {
  state.row = state.catalogue.find((row) => row.name === name);
  state.parameters = new Parameters(state.row, changed);
  state.shape = at("shape").value = "row";
  state.untried = true;
  at("parameters").replaceChildren(...state.parameters.elements);
  at("title").textContent = state.row.title;
  const formulas = { "penalty Ω": "penaltyFormula", gradient: "gradientFormula", "proximal step": "proximalStepFormula", source: "source" };
  at("formulas").replaceChildren(...Object.entries(formulas).flatMap(([label, field]) =>
    state.row[field] ? [made("dt", {}, label), made("dd", {}, state.row[field])] : []));
  const traits = Object.keys(state.row.traits ?? {}).map((trait) => trait.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`));
  at("traits").replaceChildren(...traits.map((trait) => made("li", {}, trait)));
  changed();
}

function listen() {
  at("regularizer").addEventListener("change", (event) => choose(event.target.value));
  at("preset").addEventListener("change", (event) => {
    const preset = PRESETS[event.target.value];
    if (preset) state.values = preset.map(rounded);
    changed();
  });
  at("shape").addEventListener("change", (event) => {
    state.shape = event.target.value;
    changed();
  });
  for (const choice of document.getElementsByName("method")) {
    choice.addEventListener("change", () => {
      state.method = choice.value;
      at("step").hidden = choice.value !== "ProximalStep";
      changed();
    });
  }
}

async function begin() {
  at("address").textContent = address;
  at("step").append(...stepSize.parts);
  at("preset").replaceChildren(
    ...Object.keys(PRESETS).map((name) => made("option", { value: name }, name)),
    made("option", { value: "own", disabled: true }, "your own"),
  );
  chart.draw(state.values, null, 0);
  try {
    state.catalogue = await service.catalogue();
  } catch (refusal) {
    refused(refusal);
    return;
  }
  at("regularizer").replaceChildren(...state.catalogue.map((row) => made("option", { value: row.name }, row.name.replaceAll("_", " "))));
  listen();
  at("regularizer").value = "l1_norm";
  choose("l1_norm");
}

begin();
