// The line above the box: why something was refused, and what a page that is cut off does.

import { say } from "./words.js";

const notice = document.getElementById("notice");
const countdown = document.getElementById("countdown");

let counting = 0;

/** The code of what is said now, empty when nothing is. */
export const told = () => (notice.hidden ? "" : notice.dataset.code);

/** Say a sentence; an empty one says nothing any more. */
export function tell(sentence, code = "") {
  clearTimeout(counting);
  countdown.hidden = true;
  notice.classList.remove("visually-hidden");
  notice.textContent = sentence;
  notice.dataset.code = code;
  notice.hidden = !sentence;
}

/** Say a limit's reason once, and count its seconds down where nobody is read to every second. */
export function tellToWait(sentence, seconds, code) {
  tell(sentence, code);
  if (code !== "too_fast") return;
  notice.classList.add("visually-hidden");
  countdown.hidden = false;
  // Not the computer's clock, which may be set meanwhile.
  const end = performance.now() + seconds * 1000;
  const step = () => {
    const left = Math.ceil((end - performance.now()) / 1000);
    if (left <= 0) return tell(say("again"), "again");
    countdown.textContent = say("wait", left);
    counting = setTimeout(step, 250);
  };
  step();
}

/** Say why an answer refused. */
export function tellRefusal(answer) {
  const { code, retryAfter } = answer.dataset;
  if (retryAfter) tellToWait(answer.textContent, Number(retryAfter), code);
  else tell(answer.textContent, code);
}

// As the server wrote it, where the plain form was refused.
if (!notice.hidden && notice.dataset.retryAfter) tellRefusal(notice.cloneNode(true));
