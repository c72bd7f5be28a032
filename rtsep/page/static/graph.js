// How long hops took, against their deadline: a minute of it.

const POINTS = 125; // of 0.48 s

export class Graph {
  #points = [];

  constructor(section) {
    this.canvas = section.querySelector("canvas");
    this.figures = section.querySelector(".figures");
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
  }

  clear() {
    this.#points = [];
    this.#draw();
  }

  add(health) {
    this.#points.push(health);
    if (this.#points.length > POINTS) this.#points.shift();
    const { median, worst, deadline, load, cpu, gpu, p99, max } = health;
    const now = worst === null ? "no hop in the last moment" : `hop ${ms(median)}, worst ${ms(worst)}`;
    const all = p99 === null ? "" : ` · since the start p99 ${ms(p99)}, max ${ms(max)}`;
    const text = `${now} of ${ms(deadline)} · load ${percent(load)}${share("CPU", cpu)}${share("GPU", gpu)}${all}`;
    this.figures.textContent = text;
    this.canvas.setAttribute("aria-label", `Time of computing a hop: ${text}`);
    this.#draw();
  }

  #draw() {
    const { canvas } = this;
    const scale = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * scale);
    const height = Math.round(canvas.clientHeight * scale);
    if (width === 0 || height === 0) return;
    canvas.width = width;
    canvas.height = height;
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    const deadline = this.#points.at(-1)?.deadline ?? 1;
    const top = 1.25 * deadline;
    const y = (value) => height - (Math.min(value, top) / top) * height;
    const step = width / POINTS;
    const first = POINTS - this.#points.length;
    this.#points.forEach((point, k) => {
      if (point.worst === null) return;
      pen.fillStyle = colour(point.worst > deadline ? "--bad" : "--accent-dim");
      pen.fillRect((first + k) * step, y(point.worst), Math.max(step - scale, 1), height);
      pen.fillStyle = colour("--accent");
      pen.fillRect((first + k) * step, y(point.median), Math.max(step - scale, 1), 2 * scale);
    });
    pen.fillStyle = colour("--warn");
    pen.fillRect(0, y(deadline), width, scale);
    pen.font = `${12 * scale}px sans-serif`;
    pen.fillText(`deadline ${ms(deadline)}`, 4 * scale, y(deadline) - 4 * scale);
  }
}

function ms(value) {
  return value === null ? "–" : `${value.toFixed(1)} ms`;
}

function percent(share) {
  return `${Math.round(share * 100)} %`;
}

function share(name, value) {
  return value === null ? "" : ` · ${name} ${percent(value)}`;
}
