// The game: six words, twenty seconds for each, as in Quick, Draw!
import { thumbnail } from "./thumbnail.js";

const ROUNDS = 6;
const SECONDS = 20;
const TOLD_AT = [10, 5]; // seconds left, for who cannot see the clock

export class Game {
  #labels;
  #sheet;
  #say;
  #keep;
  #parts; // elements: card, task, round, word, seconds, time
  #words = [];
  #results = []; // {word, isRecognized, strokes}
  #start = null; // of the round, ms; null between rounds
  #clock = null;
  #told = 0; // of TOLD_AT
  #guess = "";

  // `say(sentence)` reads out; `keep(word, isRecognized, strokes)` saves a drawing.
  constructor(labels, sheet, parts, say, keep) {
    this.#labels = labels;
    this.#sheet = sheet;
    this.#parts = parts;
    this.#say = say;
    this.#keep = keep;
  }

  play() {
    this.#words = shuffled(this.#labels).slice(0, ROUNDS);
    this.#results = [];
    this.#announceRound();
  }

  quit() {
    this.#stopClock();
    this.#parts.card.hidden = true;
    this.#parts.task.hidden = this.#parts.time.hidden = true;
    this.#sheet.isLocked = false;
  }

  // `predictions`, or nothing: what the model thinks now.
  see(predictions) {
    if (this.#start !== null && predictions?.length) {
      this.#guess = predictions[0].label;
      if (this.#guess === this.#word) {
        this.#endRound(true);
      }
    }
  }

  get #word() {
    return this.#words[this.#results.length];
  }

  get #round() {
    return `Round ${this.#results.length + 1} of ${this.#words.length}`;
  }

  #announceRound() {
    this.#sheet.clear();
    this.#sheet.isLocked = true;
    this.#parts.task.hidden = this.#parts.time.hidden = false;
    this.#parts.round.textContent = this.#round;
    this.#parts.word.textContent = "";
    this.#showTime(SECONDS);
    this.#showCard(
      [text("p", this.#round), text("h2", this.#word), text("p", `Draw it within ${SECONDS} seconds.`)],
      [["Start", () => this.#startRound()]],
    );
  }

  #startRound() {
    this.#parts.card.hidden = true;
    this.#parts.word.textContent = this.#word;
    this.#guess = "";
    this.#told = 0;
    this.#sheet.isLocked = false;
    document.querySelector("#sheet").focus({ preventScroll: true });
    this.#start = performance.now();
    this.#clock = setInterval(() => this.#tick(), 100);
  }

  #tick() {
    const left = SECONDS - (performance.now() - this.#start) / 1000;
    this.#showTime(Math.max(0, left));
    if (left <= 0) {
      this.#endRound(false);
    } else if (left <= TOLD_AT[this.#told]) {
      this.#say(`${TOLD_AT[this.#told]} seconds left`);
      this.#told += 1;
    }
  }

  #showTime(left) {
    this.#parts.time.value = left;
    this.#parts.seconds.textContent = `${Math.ceil(left)} s`;
  }

  #stopClock() {
    clearInterval(this.#clock);
    this.#start = null;
  }

  #endRound(isRecognized) {
    const seconds = (performance.now() - this.#start) / 1000;
    const word = this.#word;
    this.#stopClock();
    this.#sheet.isLocked = true;
    const strokes = structuredClone(this.#sheet.strokes);
    this.#results.push({ word, isRecognized, strokes });
    const isLast = this.#results.length === this.#words.length;
    const outcome = isRecognized
      ? [text("h2", "Recognised!"), text("p", `${word}, after ${seconds.toFixed(1)} seconds`)]
      : [text("h2", "Time is up"), text("p", this.#missed(word, strokes))];
    this.#showCard(outcome, [
      isLast ? ["See the result", () => this.#showResult()] : ["Next", () => this.#announceRound()],
    ]);
  }

  #missed(word, strokes) {
    if (!strokes.length) {
      return `Nothing was drawn for ${word}.`;
    }
    return this.#guess ? `The model saw ${this.#guess}, not ${word}.` : "The model gave no answer.";
  }

  #showResult() {
    const drawn = this.#results.filter(({ strokes }) => strokes.length);
    const count = this.#results.filter(({ isRecognized }) => isRecognized).length;
    const list = document.createElement("ul");
    list.append(...drawn.map(makeResult));
    this.#sheet.clear();
    this.#parts.round.textContent = "The game is over";
    this.#parts.word.textContent = this.#parts.seconds.textContent = "";
    this.#parts.time.hidden = true;
    const buttons = [["Play again", () => this.play()]];
    if (drawn.length) {
      const save = (button) => {
        drawn.forEach(({ word, isRecognized, strokes }) => this.#keep(word, isRecognized, strokes));
        button.disabled = true;
        button.textContent = "Saved";
        this.#parts.card.querySelector("button").focus();
      };
      buttons.push([drawn.length === 1 ? "Save the drawing" : `Save ${drawn.length} drawings`, save]);
    }
    this.#showCard([text("h2", `${count} of ${this.#results.length} recognised`), list], buttons);
  }

  // The first button gets the focus: Enter goes on.
  #showCard(content, buttons) {
    const row = document.createElement("div");
    row.className = "buttons";
    for (const [name, action] of buttons) {
      const button = text("button", name);
      button.type = "button";
      button.addEventListener("click", () => action(button));
      row.append(button);
    }
    const { card } = this.#parts;
    card.replaceChildren(...content, row);
    card.hidden = false;
    row.firstChild.focus({ preventScroll: true });
    const said = content.map((each) => (each.tagName === "UL" ? "" : each.textContent));
    this.#say(said.filter(Boolean).join(". "));
  }
}

function makeResult({ word, isRecognized, strokes }) {
  const item = document.createElement("li");
  item.className = isRecognized ? "right" : "wrong";
  item.append(thumbnail(strokes, word), text("span", `${isRecognized ? "✓" : "✗"} ${word}`));
  return item;
}

function text(tag, content) {
  const element = document.createElement(tag);
  element.textContent = content;
  return element;
}

function shuffled(values) {
  const keys = new Map(values.map((value) => [value, Math.random()]));
  return [...values].sort((a, b) => keys.get(a) - keys.get(b));
}
