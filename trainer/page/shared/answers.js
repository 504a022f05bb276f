// What the model thinks, as bars, and what it sees, as pixels.
const ROWS = 5;
const SIDE = 85; // pixels of the bitmap

export function percent(probability) {
  return probability < 0.01 ? "<1 %" : `${Math.round(100 * probability)} %`;
}

export class Answers {
  #rows;
  #bitmap;
  #pixels = null;

  constructor(list, bitmap) {
    this.#rows = Array.from({ length: ROWS }, makeRow);
    list.append(...this.#rows.map(({ row }) => row));
    this.#bitmap = bitmap;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
    this.show(null);
  }

  // `answer`: {predictions, bitmap} or null.
  show(answer) {
    this.#rows.forEach(({ row, label, share, bar }, i) => {
      const prediction = answer?.predictions[i];
      row.classList.toggle("empty", !prediction);
      label.textContent = prediction?.label ?? (i === 0 ? "Nothing yet" : "");
      share.textContent = prediction ? percent(prediction.probability) : "";
      bar.style.setProperty("--share", prediction?.probability ?? 0);
    });
    this.#pixels = answer?.bitmap;
    this.#paint();
  }

  #paint() {
    const context = this.#bitmap.getContext("2d");
    context.clearRect(0, 0, SIDE, SIDE);
    context.fillStyle = getComputedStyle(this.#bitmap).color;
    this.#pixels?.forEach((isInk, i) => {
      if (isInk) {
        context.fillRect(i % SIDE, Math.floor(i / SIDE), 1, 1);
      }
    });
  }
}

function makeRow() {
  const row = document.createElement("li");
  const [label, share, bar] = ["label", "share", "bar"].map((name) => {
    const part = document.createElement("span");
    part.className = name;
    return part;
  });
  row.append(label, " ", share, bar);
  return { row, label, share, bar };
}
