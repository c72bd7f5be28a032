// A level meter: rises at once, falls slowly, and leaves its highest standing for a moment.

import { toDb } from "./scale.js";

const BOTTOM = -60;
const TOP = 6;
const FALL = 1.2; // dB a message, 25 a second
const STANDS = 30; // messages

export class Meter {
  #level = BOTTOM;
  #highest = BOTTOM;
  #age = 0;

  constructor(lying = false) {
    this.element = document.createElement("div");
    this.element.className = lying ? "meter lying" : "meter";
    this.element.setAttribute("aria-hidden", "true");
    this.bar = document.createElement("div");
    this.bar.className = "bar";
    this.line = document.createElement("div");
    this.line.className = "line";
    this.element.append(this.bar, this.line);
  }

  show(level) {
    const db = Math.max(toDb(level), BOTTOM); // silence is minus infinity
    this.#level = Math.max(db, this.#level - FALL, BOTTOM);
    if (this.#level >= this.#highest || ++this.#age > STANDS) {
      this.#highest = this.#level;
      this.#age = 0;
    }
    this.element.style.setProperty("--level", place(this.#level));
    this.element.style.setProperty("--highest", place(this.#highest));
    this.element.classList.toggle("silent", this.#highest <= BOTTOM);
    this.element.classList.toggle("hot", this.#level > -3);
  }
}

function place(db) {
  return Math.min((db - BOTTOM) / (TOP - BOTTOM), 1).toFixed(4);
}
