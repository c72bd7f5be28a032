// Snapshots: recalled by a touch, kept under a name, forgotten on purpose only.

import { button } from "./buttons.js";

const FADES = [0, 250, 500, 1000, 2000, 4000, 8000];
const MORPHS = [0, 1000, 2000, 4000, 8000, 16000, 32000];

export class Snapshots {
  #forgetting = false;

  constructor(section, store, say) {
    this.list = section.querySelector(".list");
    this.store = store;
    this.form = section.querySelector("form");
    this.forget = section.querySelector(".forget");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const field = this.form.elements.namedItem("name");
      const name = field.value.trim();
      if (!name) {
        say("Give the snapshot a name first.");
        field.focus();
        return;
      }
      store.link.send({ do: "name", at: "snapshot/capture", name });
      field.value = "";
      field.blur();
    });
    this.forget.addEventListener("click", () => this.#mode(!this.#forgetting));
  }

  bindTimes() {
    this.#choice(".fade", "fade", FADES);
    this.#choice(".morph", "snapshot/morph", MORPHS);
    this.store.bind("snapshot/recall", (name) => this.#mark(name));
  }

  show(names) {
    this.list.replaceChildren(
      ...names.map((name) => {
        const element = button(name, `Recall ${name}`, `snapshot/recall/${name}`);
        element.dataset.name = name;
        element.addEventListener("click", () => {
          const at = this.#forgetting ? "snapshot/forget" : "snapshot/recall";
          this.store.link.send({ do: "name", at, name });
          this.#mode(false);
        });
        return element;
      }),
    );
    this.forget.hidden = names.length === 0;
    this.#mark(this.store.values["snapshot/recall"]?.[0] ?? "");
  }

  #mark(name) {
    for (const element of this.list.children) {
      if (element.dataset.name === name) element.setAttribute("aria-current", "true");
      else element.removeAttribute("aria-current");
    }
  }

  #mode(forgetting) {
    this.#forgetting = forgetting;
    this.forget.setAttribute("aria-pressed", String(forgetting));
    this.list.classList.toggle("forgetting", forgetting);
    for (const element of this.list.children) {
      element.setAttribute("aria-label", `${forgetting ? "Forget" : "Recall"} ${element.dataset.name}`);
    }
  }

  #choice(selector, address, times) {
    const old = this.form.querySelector(selector);
    const select = old.cloneNode(false); // without the listeners of an earlier desk
    old.replaceWith(select);
    const parameter = this.store.parameters[address];
    if (!parameter) {
      select.parentElement.hidden = true;
      return;
    }
    const add = (time) => {
      const text = time === 0 ? "at once" : time < 1000 ? `${time} ms` : `${time / 1000} s`;
      select.add(new Option(text, String(time)));
    };
    for (const time of times) if (time <= parameter.high) add(time);
    select.addEventListener("change", () => {
      this.store.move(address, (Number(select.value) - parameter.low) / (parameter.high - parameter.low));
    });
    this.store.bind(address, (value) => {
      if (![...select.options].some((option) => Number(option.value) === value)) add(value);
      select.value = String(value);
    });
  }
}
