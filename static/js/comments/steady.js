// Where the rows stood a moment ago: who presses a row that the stream has only just put there
// meant another one.

import { isFollowing, rowOf } from "./rows.js";

const AIMING = 300; // ms that people aim before they touch

const list = document.getElementById("comments");
const scroller = document.getElementById("stream");

const now = () => performance.now();
const cameAt = new WeakMap(); // of rows that are new, or have a new state: when, in ms
let stands = []; // where the last row stood since when; one of them older than AIMING

function note() {
  const row = [...list.children].findLast((shown) => !shown.hidden);
  if (!row) return;
  stands.push({ since: now(), number: row.dataset.number, top: row.getBoundingClientRect().top });
  while (stands[1]?.since <= now() - AIMING) stands.shift();
}

/**
 * Whether this row, as it is, has been at this height for as long as people aim.
 *
 * `y` is in px of the window. All rows move as one, so one of them tells how far.
 */
export function hasStood(row, y) {
  if (now() - (cameAt.get(row) ?? -Infinity) < AIMING) return false;
  const then = stands.findLast(({ since }) => since <= now() - AIMING) ?? stands[0];
  if (!then) return true;
  const mark = rowOf(then.number);
  if (!mark || mark.hidden) return false;
  const moved = then.top - mark.getBoundingClientRect().top;
  const { top, bottom } = row.getBoundingClientRect();
  return y >= top + moved && y < bottom + moved;
}

// After that of rows.js, which was here first and has scrolled.
new MutationObserver((records) => {
  for (const { addedNodes } of records) {
    for (const row of addedNodes) cameAt.set(row, now());
  }
  note();
}).observe(list, { childList: true });

scroller.addEventListener(
  "scroll",
  () => {
    // Who scrolls knows what comes under the finger.
    if (!isFollowing()) stands = [];
    note();
  },
  { passive: true },
);
