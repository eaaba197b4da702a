// The line above the box: why something was refused, and what a page that is cut off does.

import { say } from "./words.js";

const notice = document.getElementById("notice");
const countdown = document.getElementById("countdown");

const SHOWN_FOR = 8; // s, of what is of no use for long

let counting = 0; // timer

/** The code of what is said now, empty when nothing is. */
export const told = () =>
  notice.hidden || notice.classList.contains("is-past") ? "" : notice.dataset.code;

/** Say a sentence; an empty one says nothing any more. */
export function tell(sentence, code = "") {
  clearTimeout(counting);
  countdown.hidden = true;
  notice.classList.remove("visually-hidden", "is-past");
  notice.textContent = sentence;
  notice.dataset.code = code;
  notice.hidden = !sentence;
}

/** Take a sentence out of sight when it stood in view for a while; its place stays, so that nothing moves. */
function letGo(seconds = SHOWN_FOR) {
  if (seconds) counting = setTimeout(letGo, 1000, document.hidden ? seconds : seconds - 1);
  else notice.classList.add("is-past");
}

/**
 * Say a limit's reason once, and count its seconds down where nobody is read to every second: in the
 * words `wait`, and at the end `again`, if there are any.
 */
export function tellToWait(sentence, seconds, { code, wait, again = "" }) {
  tell(sentence, code);
  notice.classList.add("visually-hidden");
  countdown.hidden = false;
  // Not the computer's clock, which may be set meanwhile.
  const end = performance.now() + seconds * 1000;
  const step = () => {
    const left = Math.ceil((end - performance.now()) / 1000);
    if (left > 0) {
      countdown.textContent = say(wait, left);
      counting = setTimeout(step, 250);
    } else if (again) {
      tell(say(again), code === "too_fast" ? "again" : code);
      letGo();
    } else {
      tell("");
    }
  };
  step();
}

/** Say why an answer refused a comment, or what is done to one. */
export function tellRefusal({ textContent, dataset: { code, retryAfter } }) {
  if (code !== "too_fast") tell(textContent, code);
  else tellToWait(textContent, Number(retryAfter), { code, wait: "wait", again: "again" });
}

/** Say why an answer refused a name. */
export function tellNameRefusal({ textContent, dataset: { code, retryAfter } }) {
  if (code !== "too_fast") tell(textContent, "name");
  else tellToWait(textContent, Number(retryAfter), { code: "name", wait: "waitName", again: "againName" });
}

// As the server wrote it, where the plain form was refused.
if (!notice.hidden && notice.dataset.retryAfter) tellRefusal(notice.cloneNode(true));
