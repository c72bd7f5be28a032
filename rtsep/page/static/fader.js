// A fader, upright or lying. It moves with the finger and never jumps to it; two taps bring its default back.

import { clip, defaultPlace, lowest, numberAt, stepped, words } from "./scale.js";

const TAP_MS = 320;
const TAP_PIXELS = 6;

export function fader(store, address, name, { lying = false, readout = null } = {}) {
  const parameter = store.parameters[address];
  const element = document.createElement("div");
  element.className = lying ? "fader lying" : "fader";
  element.tabIndex = 0;
  element.dataset.address = address;
  element.setAttribute("role", "slider");
  element.setAttribute("aria-label", name);
  element.setAttribute("aria-orientation", lying ? "horizontal" : "vertical");
  element.setAttribute("aria-valuemin", lowest(parameter));
  element.setAttribute("aria-valuemax", parameter.high);
  const track = document.createElement("div");
  track.className = "track";
  const mark = document.createElement("div");
  mark.className = "mark";
  mark.style.setProperty("--place", defaultPlace(parameter));
  const cap = document.createElement("div");
  cap.className = "cap";
  track.append(mark, cap);
  element.append(track);

  let place = 0;
  let grab = null;
  let lastTap = -Infinity;

  function show(at) {
    place = at;
    element.style.setProperty("--place", at);
    const text = words(parameter, at);
    element.setAttribute("aria-valuenow", numberAt(parameter, at));
    element.setAttribute("aria-valuetext", text);
    if (readout) readout.textContent = text;
  }

  function move(at) {
    const next = clip(at);
    if (next === place) return;
    show(next);
    store.move(address, next);
  }

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || grab) return;
    event.preventDefault();
    element.focus({ preventScroll: true });
    element.setPointerCapture(event.pointerId);
    const length = lying ? track.clientWidth : track.clientHeight;
    grab = { id: event.pointerId, at: lying ? event.clientX : -event.clientY, place, length, far: 0 };
    element.classList.add("held");
    store.hold(address);
  });
  element.addEventListener("pointermove", (event) => {
    if (!grab || event.pointerId !== grab.id) return;
    const way = (lying ? event.clientX : -event.clientY) - grab.at;
    grab.far = Math.max(grab.far, Math.abs(way));
    if (grab.length > 0 && grab.far >= 2) move(grab.place + way / grab.length);
  });
  function let_go(event) {
    if (!grab || event.pointerId !== grab.id) return;
    const tapped = event.type === "pointerup" && grab.far < TAP_PIXELS;
    grab = null;
    element.classList.remove("held");
    if (tapped && event.timeStamp - lastTap < TAP_MS) {
      move(defaultPlace(parameter));
      lastTap = -Infinity;
    } else {
      lastTap = tapped ? event.timeStamp : -Infinity;
    }
    store.release(address);
  }
  element.addEventListener("pointerup", let_go);
  element.addEventListener("pointercancel", let_go);
  element.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 6, PageDown: -6 }[event.key];
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (steps !== undefined) move(stepped(parameter, place, steps));
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(1);
    else if (event.key === "0") move(defaultPlace(parameter));
    else return;
    event.preventDefault();
  });
  store.bind(address, (_, at) => show(at));
  return element;
}
