// Tabs: one of several panels is shown. Arrows, Home and End go along them, as screen readers announce it.

export function tabs(name, panels) {
  const list = document.createElement("div");
  list.className = "tabs buttons";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", name);
  const buttons = panels.map(({ id, label, panel }) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `${id}-tab`;
    tab.textContent = label;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", id);
    panel.id = id;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    return tab;
  });

  function choose(chosen, focus = false) {
    buttons.forEach((tab, k) => {
      tab.setAttribute("aria-selected", String(k === chosen));
      tab.tabIndex = k === chosen ? 0 : -1; // one stop for Tab, arrows within
      panels[k].panel.hidden = k !== chosen;
    });
    if (focus) buttons[chosen].focus();
  }

  buttons.forEach((tab, k) => {
    tab.addEventListener("click", () => choose(k));
    tab.addEventListener("keydown", (event) => {
      const last = buttons.length - 1;
      const to = { ArrowRight: k + 1, ArrowLeft: k - 1, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose((to + buttons.length) % buttons.length, true);
    });
  });
  list.append(...buttons);
  choose(0);
  return list;
}
