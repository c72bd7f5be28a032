// Draws whatever the desk has, and keeps it in step.

import { choice, toggle, trigger } from "./buttons.js";
import { fader } from "./fader.js";
import { Graph } from "./graph.js";
import { Learn } from "./learn.js";
import { Link } from "./link.js";
import { Meter } from "./meter.js";
import { Setup } from "./setup.js";
import { Snapshots } from "./snapshots.js";
import { Store } from "./store.js";
import { tabs } from "./tabs.js";

const SORRY_MS = 6000;
const find = (id) => document.getElementById(id);

const link = new Link(`ws://${location.host}/live`);
const store = new Store(link);
const graph = new Graph(find("engine"));
const setup = new Setup(find("setup"), link);
const learn = new Learn(find("learn"), find("learning"), link);
const snapshots = new Snapshots(find("snapshots"), store, sorry);
let meters = {};
let drawn = "";
let sorryTimer = 0;

link.addEventListener("message", ({ detail: message }) => {
  const does = { hello, now, meters: showMeters, health: (m) => graph.add(m), sorry: (m) => sorry(m.why),
    devices: (m) => setup.devices(m.devices), pong: () => {} };
  does[message.is]?.(message);
});
link.addEventListener("lost", ({ detail: reason }) => {
  document.body.classList.add("lost");
  chip("state", "not connected", "bad");
  banner(reason ? `Connection lost (${reason}): trying again…` : "Connection lost: trying again…");
  // A refused WebSocket says nothing about why; a refused page does.
  fetch("/", { cache: "no-store" })
    .then((answer) => {
      if (answer.status === 403) banner("This address is no longer good: scan the code that rtsep shows now.");
    })
    .catch(() => {});
});
link.start();
document.addEventListener("pointerdown", stayAwake, { once: true });

function hello(message) {
  document.body.classList.remove("lost");
  banner("");
  store.reset(message.parameters, message.values);
  const layout = JSON.stringify([message.stems, message.decks, message.parameters]);
  if (layout !== drawn) {
    draw(message);
    drawn = layout;
    graph.clear();
  }
  store.showAll();
  snapshots.show(message.snapshots);
  learn.show(message.learn, message.learning);
  setup.show(message.engine, message.models);
  showLatency(message.latency);
  if (message.engine.changing) banner("Another engine is being started: no sound for a moment.");
  else if (message.engine.failure) sorry(`Not changed: ${message.engine.failure}`);
  document.querySelector("main").hidden = false;
  find("safety").hidden = false;
}

function now(message) {
  store.take(message.values, message.done);
  if (message.snapshots) snapshots.show(message.snapshots);
  if ("learning" in message) learn.show(!find("learn").hidden, message.learning);
}

// -- drawing -----------------------------------------------------------------------------------------------

function draw({ stems, decks, parameters }) {
  store.forgetControls();
  meters = { stems: {}, master: [] };
  const left = new Set(Object.keys(parameters));
  const has = (address) => left.delete(address);

  const mixer = find("mixer");
  mixer.classList.toggle("decks", decks > 1);
  if (decks > 1) {
    const panels = Array.from({ length: decks }, (_, k) => deck(k + 1, stems, has));
    mixer.replaceChildren(tabs("Decks", panels), ...panels.map(({ panel }) => panel));
  } else {
    mixer.replaceChildren(...stems.map((stem, k) => strip(stem, k, has)));
  }
  const crossfader = has("crossfader");
  find("crossfader").hidden = !crossfader;
  find("crossfader").replaceChildren(...(crossfader ? crossing(stems, has) : []));
  find("master").replaceChildren(...master(has));
  const own = gestures(has);
  find("gestures").hidden = own.length === 0;
  find("gestures").replaceChildren(...own);
  find("safety").replaceChildren(
    ...[["master/bypass", "Bypass", "Bypass: the input as it is", "warn"],
      ["master/panic", "Panic", "Panic: the input as it is, at once", "bad"]]
      .filter(([address]) => has(address))
      .map(([address, label, name, kind]) => toggle(store, address, label, name, kind)),
  );
  for (const address of ["fade", "snapshot/morph", "snapshot/recall", "snapshot/capture"]) has(address);
  snapshots.bindTimes();

  const effects = [...left].filter((address) => address.startsWith("fx/") || address.includes("/fx/"));
  for (const address of effects) has(address);
  find("effects").hidden = effects.length === 0;
  find("effects").querySelector(".groups").replaceChildren(...groups(effects));
  // Without an effect on the bus a send is heard nowhere.
  const rest = [...left].filter((address) => effects.length > 0 || !address.endsWith("/send"));
  find("more").querySelector(".groups").replaceChildren(...groups(rest));
}

const GESTURES = [["instrumental", "Instrumental"], ["acapella", "Acapella"], ["everything", "All stems"]];

function gestures(has, path = "", where = "") {
  return GESTURES.map(([name, label]) => [`${path}gesture/${name}`, label])
    .filter(([address]) => has(address))
    .map(([address, label]) => trigger(store, address, label, label + where));
}

// One deck's strips, its level and its gestures: what a tab shows.
function deck(number, stems, has) {
  const path = `deck/${number}/`;
  const where = `, deck ${number}`;
  const panel = document.createElement("div");
  panel.className = "deck";
  const strips = document.createElement("div");
  strips.className = "strips";
  strips.append(...stems.map((stem, k) => strip(stem, k, has, path, where)));
  panel.append(strips);
  if (has(`${path}gain`)) panel.append(lying("Deck level", `${path}gain`, `level${where}`));
  const buttons = document.createElement("div");
  buttons.className = "buttons";
  buttons.append(...gestures(has, path, where));
  panel.append(buttons);
  return { id: `deck-${number}`, label: `Deck ${number}`, panel };
}

// What lies between two decks: the crossfader, its curve, and which deck each stem is heard from.
function crossing(stems, has) {
  const line = lying("Crossfader", "crossfader", "crossfader, deck 1 to deck 2");
  line.classList.add("crossing");
  const buttons = document.createElement("div");
  buttons.className = "buttons";
  for (const stem of stems) {
    has(`gesture/swap/${stem}`); // the switch does it too
    if (has(`swap/${stem}`)) buttons.append(toggle(store, `swap/${stem}`, `Swap ${stem}`, "", "warn"));
  }
  if (has("crossfader/cut")) buttons.append(toggle(store, "crossfader/cut", "Cut", "Crossfader cuts"));
  return [line, buttons];
}

function lying(label, address, name) {
  const readout = text("output", "");
  readout.setAttribute("aria-hidden", "true"); // the slider says it
  const element = document.createElement("div");
  element.className = "line-of";
  element.append(text("span", label), fader(store, address, name, { lying: true, readout }), readout);
  return element;
}

function strip(stem, k, has, deck = "", where = "") {
  const element = document.createElement("div");
  element.className = "strip";
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", stem + where);
  element.style.setProperty("--hue", `var(--stem-${k % 4})`);
  const title = text("h2", stem);
  const readout = text("output", "");
  readout.setAttribute("aria-hidden", "true"); // the slider says it
  const meter = new Meter();
  meters.stems[deck.replace(/^deck\//, "") + stem] = meter;
  const throw_ = document.createElement("div");
  throw_.className = "throw";
  const path = `${deck}stem/${stem}`;
  if (has(`${path}/gain`)) throw_.append(fader(store, `${path}/gain`, `${stem} level${where}`, { readout }));
  throw_.append(meter.element);
  element.append(title, throw_, readout);
  if (has(`${path}/mute`)) element.append(toggle(store, `${path}/mute`, "Mute", `Mute ${stem}${where}`, "bad"));
  if (has(`${path}/solo`)) element.append(toggle(store, `${path}/solo`, "Solo", `Solo ${stem}${where}`, "warn"));
  return element;
}

function master(has) {
  const readout = text("output", "");
  readout.setAttribute("aria-hidden", "true");
  const parts = [text("h2", "Master")];
  if (has("master/gain")) {
    parts.push(fader(store, "master/gain", "master level", { lying: true, readout }), readout);
  }
  const both = document.createElement("div");
  both.className = "outputs";
  meters.master = [new Meter(true), new Meter(true)];
  both.append(...meters.master.map((meter) => meter.element));
  parts.push(both);
  return parts;
}

// Anything, by the first parts of its address.
function groups(addresses) {
  const found = new Map();
  for (const address of addresses) {
    const cut = address.lastIndexOf("/");
    const path = cut < 0 ? "" : address.slice(0, cut);
    found.set(path, [...(found.get(path) ?? []), address]);
  }
  return [...found].map(([path, own]) => {
    const group = document.createElement("fieldset");
    const where = path.replace(/(^|\/)stem\//, "$1").replace(/^deck\//, "deck ").replaceAll("/", " · ").replaceAll("_", " ");
    group.append(text("legend", where || "all"));
    for (const address of own) group.append(control(address, where));
    return group;
  });
}

function control(address, where) {
  const { kind, meaning } = store.parameters[address];
  const label = address.slice(address.lastIndexOf("/") + 1).replaceAll("_", " ");
  const name = `${where} ${label}`.trim();
  let element;
  if (kind === "switch") element = toggle(store, address, label, name);
  else if (store.parameters[address].choices?.length) element = choice(store, address, label, name);
  else if (kind === "trigger") element = trigger(store, address, label, name);
  else if (kind === "name") return document.createDocumentFragment();
  else element = lying(label, address, name);
  element.title = meaning;
  return element;
}

function text(tag, words) {
  const element = document.createElement(tag);
  element.textContent = words;
  return element;
}

// -- what the engine says ----------------------------------------------------------------------------------

const STATES = { running: ["playing", "good"], changing: ["changing", "warn"], starting: ["starting", "warn"],
  stopped: ["stopped", "bad"], failed: ["failed", "bad"] };

function showMeters(message) {
  for (const [stem, level] of Object.entries(message.stems)) meters.stems?.[stem]?.show(level);
  meters.master?.forEach((meter, k) => {
    meter.element.hidden = k >= message.peaks.length;
    meter.show(message.peaks[k] ?? 0);
  });
  const [state, kind] = STATES[message.state] ?? [message.state, "warn"];
  chip("state", state, kind);
  count("underruns", "underruns", message.underruns);
  count("late", "late hops", message.late, message.xruns ? `, device ${message.xruns}` : "");
  const limiting = message.reduction <= -0.1;
  find("limiter").hidden = !limiting;
  if (limiting) chip("limiter", `limiter ${message.reduction.toFixed(1)} dB`, "warn");
}

function count(id, name, number, more = "") {
  const bad = number > 0 || more;
  chip(id, `${bad ? "▲" : "✓"} ${name} ${number}${more}`, bad ? "bad" : "good");
}

function chip(id, words, kind) {
  const element = find(id);
  if (element.textContent !== words) element.textContent = words;
  const wanted = `chip ${kind}`;
  if (element.className !== wanted) element.className = wanted;
}

function showLatency(latency) {
  const element = find("latency");
  element.hidden = latency === null;
  if (latency === null) return;
  element.textContent = `${latency.total.toFixed(0)} ms late`;
  const rows = [...latency.parts, ["total", latency.total, `at ${latency.rate} Hz`]].map(([name, ms, meaning]) => {
    const row = document.createElement("tr");
    row.append(text("th", name), text("td", ms.toFixed(2)), text("td", meaning));
    row.firstChild.scope = "row";
    return row;
  });
  document.querySelector("#engine tbody").replaceChildren(...rows);
}

// -- messages ----------------------------------------------------------------------------------------------

function banner(words) {
  clearTimeout(sorryTimer);
  const element = find("banner");
  element.hidden = !words;
  element.textContent = words;
}

function sorry(words) {
  banner(words);
  sorryTimer = setTimeout(() => banner(""), SORRY_MS);
}

async function stayAwake() {
  try {
    await navigator.wakeLock?.request("screen");
  } catch {
    // Only pages of secure origins may keep the screen on; elsewhere it goes dark as it always does.
  }
}
