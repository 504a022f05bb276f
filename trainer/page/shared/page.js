// The page: puts the sheet, the model, the game and the saved drawings together.
import { Answers, percent } from "./answers.js";
import { describe, footnote } from "./classifier.js";
import { Game } from "./game.js";
import { Kept } from "./kept.js";
import { Sheet } from "./sheet.js";
import { Thinker } from "./thinker.js";

const QUIET_MS = 1200; // without a new answer, before it is read out

const find = (id) => document.getElementById(id);
const sheet = new Sheet(find("sheet"));
const answers = new Answers(find("answers"), find("bitmap"));
const kept = new Kept(find("kept"));
const thinker = new Thinker();
let game = null; // until the categories are known
let isPlaying = false;
let best = null; // the likeliest category, {label, probability}

// Reads out. The same sentence again is read again.
function say(sentence) {
  find("voice").textContent = "";
  requestAnimationFrame(() => {
    find("voice").textContent = sentence;
  });
}

// ---- Drawing ----

sheet.addEventListener("draw", () => {
  const isEmpty = sheet.strokes.length === 0;
  find("hint").hidden = !isEmpty || isPlaying;
  for (const id of ["undo", "clear", "save-button"]) {
    find(id).disabled = isEmpty;
  }
  if (isEmpty) {
    thinker.forget();
  } else {
    thinker.consider(sheet.strokes);
  }
});
sheet.addEventListener("lock", () => {
  find("tools").inert = sheet.isLocked;
});
sheet.addEventListener("pen", ({ detail }) => say(detail ? "Pen down" : "Pen up"));
find("undo").addEventListener("click", () => change(() => sheet.undo(), find("undo")));
find("clear").addEventListener("click", () => change(() => sheet.clear(), find("clear")));
addEventListener("keydown", (event) => {
  const isUndo = event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  if (isUndo && sheet.strokes.length && !sheet.isLocked && event.target.tagName !== "INPUT") {
    event.preventDefault();
    sheet.undo();
  }
});

// A button that is disabled under the focus loses it.
function change(action, button) {
  action();
  if (button.disabled) {
    find("sheet").focus({ preventScroll: true });
  }
}

// ---- Answers ----

let quiet = null;
let lastSaid = "";

thinker.addEventListener("answer", ({ detail }) => {
  answers.show(detail);
  best = detail?.predictions[0] ?? null;
  clearTimeout(quiet);
  if (isPlaying) {
    game.see(detail?.predictions);
  } else if (best && best.label !== lastSaid) {
    quiet = setTimeout(() => {
      lastSaid = best.label;
      say(`It thinks: ${best.label}, ${percent(best.probability)}`);
    }, QUIET_MS);
  }
  lastSaid = best ? lastSaid : "";
});
thinker.addEventListener("asking", ({ detail }) => {
  find("answers").ariaBusy = String(detail);
});
thinker.addEventListener("trouble", ({ detail }) => {
  if (find("notice").textContent !== detail) {
    find("notice").textContent = detail;
  }
});

// ---- Saving ----

find("save").addEventListener("submit", (event) => {
  event.preventDefault();
  const word = find("word").value.trim().normalize();
  if (!word || !sheet.strokes.length) {
    return;
  }
  kept.add(word, word === best?.label, sheet.strokes);
  say(`Saved ${word}`);
  sheet.clear();
  find("sheet").focus({ preventScroll: true });
});

// ---- Ideas and the game ----

function setMode(play) {
  isPlaying = play;
  find("mode-draw").setAttribute("aria-pressed", !play);
  find("mode-play").setAttribute("aria-pressed", play);
  find("idea").hidden = play;
  find("save").hidden = play;
  game.quit();
  sheet.clear();
  if (play) {
    game.play();
  }
}

function suggest(labels) {
  find("idea-word").textContent = labels[Math.floor(Math.random() * labels.length)];
}

function begin({ model, labels }) {
  find("model").textContent = `Model: ${model}, ${labels.length} categories`;
  find("words").append(...labels.map((label) => new Option(label)));
  const parts = ["card", "task", "task-round", "task-word", "task-seconds", "task-time"].map(find);
  const [card, task, round, word, seconds, time] = parts;
  game = new Game(labels, sheet, { card, task, round, word, seconds, time }, say, (...drawing) =>
    kept.add(...drawing),
  );
  find("mode-draw").addEventListener("click", () => isPlaying && setMode(false));
  find("mode-play").addEventListener("click", () => isPlaying || setMode(true));
  find("idea-next").addEventListener("click", () => suggest(labels));
  find("idea-next").disabled = find("mode-play").disabled = false;
  suggest(labels);
}

find("footnote").append(...footnote());
describe().then(begin, (error) => {
  find("notice").textContent = error.message;
});
