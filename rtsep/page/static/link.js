// The WebSocket to rtsep: sends what is touched, at most once in PACE ms, and comes back by itself when it is lost.

const PACE = 12;
const SILENCE = 2500; // The server sends meters 25 times a second: so long without any, and the link is dead.
const PAUSES = [200, 400, 800, 1500];
const PAIRS = 32; // As many as the server takes in one message.

export class Link extends EventTarget {
  #socket = null;
  #pending = new Map();
  #number = 0;
  #lastSent = -Infinity;
  #timer = 0;
  #tries = 0;
  #retry = 0;
  #heard = 0;

  constructor(url) {
    super();
    this.url = url;
    setInterval(() => this.#watch(), 500);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#watch();
    });
    window.addEventListener("online", () => this.#open());
    window.addEventListener("pagehide", () => this.#socket?.close());
    window.addEventListener("pageshow", (event) => event.persisted && this.#open());
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  start() {
    this.#open();
  }

  // The number under which the server will say that it has been done.
  set(address, place) {
    this.#pending.set(address, place);
    const wait = this.#lastSent + PACE - performance.now();
    if (wait <= 0) {
      this.#flush();
      return this.#number;
    }
    if (!this.#timer) this.#timer = setTimeout(() => this.#flush(), wait);
    return this.#number + 1;
  }

  send(message) {
    if (this.open) this.#socket.send(JSON.stringify(message));
  }

  #flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#lastSent = performance.now();
    this.#number += 1;
    const pairs = [...this.#pending];
    this.#pending.clear();
    for (let k = 0; k < pairs.length; k += PAIRS) {
      const last = k + PAIRS >= pairs.length;
      this.send({ do: "set", n: last ? this.#number : 0, to: pairs.slice(k, k + PAIRS) });
    }
  }

  #open() {
    clearTimeout(this.#retry);
    if (this.#socket && this.#socket.readyState <= WebSocket.OPEN) return;
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    this.#heard = performance.now();
    socket.onmessage = (event) => {
      this.#heard = performance.now();
      this.#tries = 0;
      this.dispatchEvent(new CustomEvent("message", { detail: JSON.parse(event.data) }));
    };
    socket.onclose = (event) => {
      if (socket === this.#socket) this.#lost(event.reason);
    };
  }

  #lost(reason) {
    this.#pending.clear();
    this.dispatchEvent(new CustomEvent("lost", { detail: reason }));
    const pause = PAUSES[Math.min(this.#tries++, PAUSES.length - 1)];
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), pause);
  }

  // A phone that slept has a socket that looks open and is not.
  #watch() {
    if (!this.#socket || performance.now() - this.#heard < SILENCE) return;
    if (this.#socket.readyState > WebSocket.OPEN) return;
    const dead = this.#socket;
    this.#socket = null;
    dead.close();
    this.#lost("");
  }
}
