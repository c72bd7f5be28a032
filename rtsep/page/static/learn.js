// MIDI learn: touch a control here, then move one there.

export class Learn {
  #on = false;

  constructor(button, status, link) {
    this.button = button;
    this.status = status;
    this.link = link;
    button.addEventListener("click", () => this.#turn(!this.#on));
    // Before the controls themselves see it: what is touched is chosen, not moved.
    for (const type of ["pointerdown", "click", "keydown"]) {
      document.addEventListener(type, (event) => this.#choose(event), { capture: true });
    }
  }

  show(available, status) {
    this.button.hidden = !available;
    if (!available && this.#on) this.#turn(false);
    this.text = status;
    this.#tell();
  }

  #turn(on) {
    this.#on = on;
    document.body.classList.toggle("learning", on);
    this.button.setAttribute("aria-pressed", String(on));
    if (!on) this.link.send({ do: "learn", at: "" });
    this.text = "";
    this.#tell();
  }

  #tell() {
    this.status.hidden = !this.#on;
    this.status.textContent = this.text || "Touch a control here, then move one on the controller.";
  }

  #choose(event) {
    if (!this.#on) return;
    const control = event.target.closest?.("[data-address]");
    if (!control) return;
    if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    if (event.type === "click") return; // it was chosen by the pointer or the key before it
    this.link.send({ do: "learn", at: control.dataset.address });
  }
}
