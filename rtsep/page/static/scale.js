// Places (0 to 1) to values and words, on the desk's own curves: rtsep/control/parameters.py.

const DETENT = 0.1;
const FLOOR = -60;

export function toDb(level) {
  return 20 * Math.log10(level);
}

export function valueAt(parameter, place) {
  if (parameter.kind === "level") {
    const db = parameter.high + 60 * Math.log10(place);
    return Math.abs(db) <= DETENT ? 0 : db;
  }
  return parameter.low + (parameter.high - parameter.low) * place;
}

export function placeOf(parameter, value) {
  if (parameter.kind === "level") return value === null ? 0 : Math.min(10 ** ((value - parameter.high) / 60), 1);
  return (value - parameter.low) / (parameter.high - parameter.low);
}

// The default of a level that is silence comes as null: JSON has no infinity.
export function defaultPlace(parameter) {
  return placeOf(parameter, parameter.default);
}

// Where the arrow keys go: whole dB, or a fortieth of the range.
export function stepped(parameter, place, steps) {
  if (parameter.kind !== "level") return clip(place + steps / 40);
  const db = valueAt(parameter, place);
  if (!(db > FLOOR)) return steps > 0 ? placeOf(parameter, FLOOR + steps - 1) : 0;
  const next = Math.round(db) === db ? db + steps : steps > 0 ? Math.floor(db) + steps : Math.ceil(db) + steps;
  return next <= FLOOR ? 0 : clip(placeOf(parameter, next));
}

export function words(parameter, place) {
  const value = valueAt(parameter, place);
  if (parameter.kind === "level") return value > FLOOR ? `${signed(value)} dB` : "silent";
  if (parameter.low === -1 && parameter.high === 1 && !parameter.unit) {
    const share = Math.round(Math.abs(value) * 100);
    return share === 0 ? "centre" : `${share} % ${value < 0 ? "left" : "right"}`;
  }
  const digits = parameter.high - parameter.low > 20 ? 0 : 2;
  return `${value.toFixed(digits)}${parameter.unit ? ` ${parameter.unit}` : ""}`;
}

// For aria-valuenow, which must be a number.
export function numberAt(parameter, place) {
  const value = valueAt(parameter, place);
  return Number(Math.max(value, parameter.kind === "level" ? FLOOR : parameter.low).toFixed(2));
}

export function lowest(parameter) {
  return parameter.kind === "level" ? FLOOR : parameter.low;
}

export function clip(place) {
  return Math.min(Math.max(place, 0), 1);
}

function signed(db) {
  const text = db.toFixed(1);
  return db > 0.04 ? `+${text}` : text === "-0.0" ? "0.0" : text;
}
