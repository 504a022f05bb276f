// Asks the model about a drawing as it grows: one question at a time, always about the newest state.
import { Busy } from "./busy.js";
import { classify } from "./classifier.js";

const TOP = 5; // categories

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

// Events: "answer", whose detail is {predictions, bitmap}, or null without a drawing; "trouble", whose
// detail is a sentence, or "" when it is over; "asking", whose detail is whether a question is open.
export class Thinker extends EventTarget {
  #strokes = null; // to ask about next
  #isAsking = false;
  #drawing = 0; // counts what was cleared: answers about it come too late

  // `strokes` may change until they are asked about.
  consider(strokes) {
    this.#strokes = strokes;
    if (!this.#isAsking) {
      this.#ask();
    }
  }

  forget() {
    this.#strokes = null;
    this.#drawing += 1;
    this.#emit("answer", null);
  }

  async #ask() {
    this.#setAsking(true);
    while (this.#strokes) {
      const strokes = this.#strokes;
      const drawing = this.#drawing;
      this.#strokes = null;
      try {
        const answer = await classify(strokes, TOP);
        this.#emit("trouble", "");
        if (drawing === this.#drawing) {
          this.#emit("answer", answer);
        }
      } catch (error) {
        this.#emit("trouble", error.message);
        if (error instanceof Busy) {
          await pause(error.seconds);
          this.#strokes ??= drawing === this.#drawing ? strokes : null;
        }
      }
    }
    this.#setAsking(false);
  }

  #setAsking(isAsking) {
    this.#isAsking = isAsking;
    this.#emit("asking", isAsking);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
