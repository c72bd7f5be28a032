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
