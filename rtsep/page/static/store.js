// What is set, as this page knows it. A control that a finger holds, or whose last move the server has not yet
// done, keeps its own place: what others did to it meanwhile is shown when it is let go.

export class Store {
  #shown = new Map(); // address -> show(value, place)
  #held = new Set();
  #sent = new Map(); // address -> number of the last message that moved it

  constructor(link) {
    this.link = link;
    this.parameters = {};
    this.values = {};
  }

  reset(parameters, values) {
    this.parameters = parameters;
    this.values = values;
    this.#sent.clear();
  }

  forgetControls() {
    this.#shown.clear();
    this.#held.clear();
  }

  bind(address, show) {
    const all = this.#shown.get(address) ?? [];
    all.push(show);
    this.#shown.set(address, all);
    const now = this.values[address];
    if (now) show(now[0], now[1]);
  }

  showAll() {
    for (const address of this.#shown.keys()) this.#show(address);
  }

  // From the server.
  take(values, done) {
    Object.assign(this.values, values);
    for (const [address, number] of this.#sent) {
      if (number <= done) {
        this.#sent.delete(address);
        if (!(address in values)) this.#show(address);
      }
    }
    for (const address in values) this.#show(address);
  }

  // From this page's own controls.
  move(address, place) {
    this.#sent.set(address, this.link.set(address, place));
  }

  hold(address) {
    this.#held.add(address);
  }

  release(address) {
    this.#held.delete(address);
    this.#show(address);
  }

  #show(address) {
    if (this.#held.has(address) || this.#sent.has(address)) return;
    const now = this.values[address];
    if (now) for (const show of this.#shown.get(address) ?? []) show(now[0], now[1]);
  }
}
