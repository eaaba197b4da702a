// The rows of comments that are not known to stand yet, below those that do: what each says, what
// becomes of it, and two buttons to take it back.

import { rowOf } from "./rows.js";
import { say } from "./words.js";

const LEAVE_WITHIN = 10_000; // ms

const panel = document.getElementById("panel");
const scroller = document.getElementById("stream");
const list = document.getElementById("pending");
const myName = document.getElementById("my-name");

function element(tag, className, words = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = words;
  return made;
}

function button(word, press) {
  const made = element("button", "link-button", say(word));
  made.type = "button";
  made.addEventListener("click", press);
  return made;
}

/** A new last row for a text; what its buttons do. */
export function addRow(body, { putBack, discard }) {
  const row = element("li", "comment is-pending");
  const name = myName.cloneNode(true);
  name.removeAttribute("id");
  const text = element("span", "comment-body", body);
  text.dir = "auto";
  const fate = element("div", "pending-fate");
  fate.append(element("span", "pending-reason"), button("putBack", putBack), button("discard", discard));
  row.append(name, " ", text, " ", element("span", "comment-time"), " ", fate);
  list.append(row);
  return row;
}

/** Show what becomes of it: a word, perhaps a reason, and whether it can be taken back now. */
export function draw(row, { state, reason, isFree }) {
  const fate = row.querySelector(".pending-fate");
  row.querySelector(".comment-time").textContent = say(state);
  row.querySelector(".pending-reason").textContent = reason;
  // What goes away takes the focus with it.
  if (!isFree && fate.contains(document.activeElement)) scroller.focus({ preventScroll: true });
  for (const each of fate.querySelectorAll("button")) each.hidden = !isFree;
  fate.hidden = !isFree && !reason;
}

/** The pending row goes when the real one is there, so that the comment never blinks. */
const leaving = new Map();
export function leave(row, number) {
  if (rowOf(number)) {
    row.remove();
    return;
  }
  leaving.set(row, number);
  // Answered late, it may stand further back than this page goes, or be removed again.
  setTimeout(() => {
    leaving.delete(row);
    row.remove();
  }, LEAVE_WITHIN);
}
panel.addEventListener("rows:changed", () => {
  for (const [row, number] of leaving) {
    if (!rowOf(number)) continue;
    leaving.delete(row);
    row.remove();
  }
});
