// The model cannot answer yet; it can be asked again in `seconds`.
export class Busy extends Error {
  constructor(reason, seconds) {
    super(reason);
    this.seconds = seconds;
  }
}
