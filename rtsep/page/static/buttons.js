// Switches that stay, and triggers that act.

export function toggle(store, address, label, name, kind = "") {
  const element = button(label, name, address);
  element.classList.add("toggle");
  if (kind) element.classList.add(kind);
  let on = false;
  function show(now) {
    on = now;
    element.setAttribute("aria-pressed", String(on));
  }
  element.addEventListener("click", () => {
    show(!on);
    store.move(address, on ? 1 : 0);
  });
  store.bind(address, show);
  return element;
}

export function trigger(store, address, label, name) {
  const element = button(label, name, address);
  element.addEventListener("click", () => store.link.set(address, 1));
  return element;
}

export function button(label, name, address = "") {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = label;
  if (name && name !== label) element.setAttribute("aria-label", name);
  if (address) element.dataset.address = address;
  return element;
}

// A number that means one of several things, by name: 0, 1, 2 and so on.
export function choice(store, address, label, name) {
  const { choices, low, high } = store.parameters[address];
  const element = document.createElement("label");
  const select = document.createElement("select");
  select.dataset.address = address;
  select.setAttribute("aria-label", name);
  choices.forEach((words, k) => select.add(new Option(words, String(k))));
  select.addEventListener("change", () => store.move(address, (Number(select.value) - low) / (high - low || 1)));
  element.append(label, select);
  store.bind(address, (value) => (select.value = String(Math.round(value))));
  return element;
}
