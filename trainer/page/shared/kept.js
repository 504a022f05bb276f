// Drawings that were saved, in this page only until they are downloaded as Quick, Draw!'s raw ndjson.
import { thumbnail } from "./thumbnail.js";

export class Kept {
  #drawings = [];
  #isDownloaded = true;
  #section;
  #list;
  #title;

  constructor(section) {
    this.#section = section;
    this.#list = section.querySelector("ul");
    this.#title = section.querySelector("h2");
    section.querySelector("#download").addEventListener("click", () => this.#download());
    addEventListener("beforeunload", (event) => {
      if (!this.#isDownloaded) {
        event.preventDefault();
      }
    });
  }

  // `strokes` are not changed afterwards.
  add(word, isRecognized, strokes) {
    const drawing = {
      word,
      timestamp: new Date().toISOString().replace("T", " ").replace("Z", " UTC"),
      recognized: isRecognized,
      key_id: makeKey(),
      drawing: strokes,
    };
    this.#drawings.push(drawing);
    this.#list.append(this.#item(drawing));
    this.#isDownloaded = false;
    this.#tell();
  }

  #item(drawing) {
    const item = document.createElement("li");
    const word = document.createElement("span");
    const remove = document.createElement("button");
    word.textContent = drawing.word;
    remove.type = "button";
    remove.className = "quiet";
    remove.textContent = "Remove";
    remove.setAttribute("aria-label", `Remove ${drawing.word}`);
    remove.addEventListener("click", () => {
      const next = (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("button");
      this.#drawings.splice(this.#drawings.indexOf(drawing), 1);
      item.remove();
      this.#tell();
      (next ?? document.querySelector("#sheet")).focus();
    });
    item.append(thumbnail(drawing.drawing, drawing.word), word, remove);
    return item;
  }

  #tell() {
    const count = this.#drawings.length;
    this.#section.hidden = count === 0;
    this.#isDownloaded ||= count === 0;
    this.#title.textContent = count === 1 ? "1 saved drawing" : `${count} saved drawings`;
  }

  #download() {
    const lines = this.#drawings.map((drawing) => `${JSON.stringify(drawing)}\n`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    link.download = "drawings.ndjson";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    this.#isDownloaded = true;
  }
}

// 16 digits, as upstream's keys have.
function makeKey() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return String(1e15 + (high % 2 ** 20) * 2 ** 32 + low);
}
