// Another model or device: the sound stops for a moment, so it takes two presses.

const BLOCKS = [32, 64, 128, 256, 512, 1024, 2048];
const SURE_MS = 5000;

export class Setup {
  #engine = null;
  #sure = 0;

  constructor(section, link) {
    this.link = link;
    this.form = section.querySelector("form");
    this.note = section.querySelector(".note");
    this.button = section.querySelector("button");
    section.addEventListener("toggle", () => section.open && link.send({ do: "devices" }));
    this.form.addEventListener("change", () => this.#ready());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#sure) {
        this.button.textContent = "The sound will stop: press again";
        this.button.classList.add("sure");
        this.#sure = setTimeout(() => this.#ready(), SURE_MS);
        return;
      }
      this.#ready();
      link.send({ do: "engine", ...this.#changed() });
    });
  }

  show(engine, models) {
    this.#engine = engine;
    const { model, block, input, output } = this.form.elements;
    const late = (m) => `${m.name} (${m.latency} ms, ${m.stems.length} stems)`;
    fill(model, models.map((m) => [late(m), m.name]), engine.model);
    fill(block, BLOCKS.map((b) => [`${b} frames`, b]), engine.block);
    for (const label of this.form.querySelectorAll(".device")) label.hidden = engine.audio === "null";
    fill(input, [[engine.input ?? "system's own", engine.input ?? ""]], engine.input ?? "");
    fill(output, [[engine.output ?? "system's own", engine.output ?? ""]], engine.output ?? "");
    for (const select of [model, block, input, output]) select.disabled = Boolean(engine.locked);
    this.button.disabled = Boolean(engine.locked);
    this.note.textContent = engine.locked
      || engine.failure && `Not changed: ${engine.failure}`
      || (engine.audio === "null"
        ? "It runs on a clock, without a sound card. Changing stops it for a moment."
        : "Changing the model or the device stops the sound for a moment.");
    this.#ready();
  }

  devices(list) {
    for (const [name, channels] of [["input", "in_channels"], ["output", "out_channels"]]) {
      const select = this.form.elements.namedItem(name);
      const now = this.#engine?.[name] ?? "";
      const found = list.filter((d) => d[channels] > 0).map((d) => [`${d.name} (${d.host})`, d.index]);
      const known = found.find(([, index]) => index === now) || now === "" ? [] : [[String(now), now]];
      fill(select, [["system's own", ""], ...known, ...found], now);
    }
  }

  #changed() {
    const changed = {};
    for (const name of ["model", "block", "input", "output"]) {
      const select = this.form.elements.namedItem(name);
      const now = this.#engine[name] ?? "";
      if (select.value === String(now)) continue;
      changed[name] = name === "model" ? select.value : select.value === "" ? null : Number(select.value);
    }
    return changed;
  }

  #ready() {
    clearTimeout(this.#sure);
    this.#sure = 0;
    this.button.textContent = "Change";
    this.button.classList.remove("sure");
    if (this.#engine && !this.#engine.locked) this.button.disabled = Object.keys(this.#changed()).length === 0;
  }
}

function fill(select, pairs, value) {
  select.replaceChildren();
  if (!pairs.some(([, own]) => String(own) === String(value))) select.add(new Option(String(value), String(value)));
  for (const [text, own] of pairs) select.add(new Option(text, String(own)));
  select.value = String(value);
}
