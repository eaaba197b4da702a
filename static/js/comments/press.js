// A finger (or pen) in the list. The stream stands still from its touch on, and what it does is
// done to the row that was under it then, if it had been there for as long as people aim.

import { hold, release, rowOf } from "./rows.js";
import { hasStood } from "./steady.js";

const SLIP = 10; // px that a finger may move in a tap; more is scrolling
const CLICK_WITHIN = 400; // ms after the finger has gone; a flick has left the end by then
const AGAIN_WITHIN = 2000; // ms for which a tap that hit nothing holds the stream for the next one

const list = document.getElementById("comments");

let press = null; // what the finger came down on
let timer = 0;

const stopAt = (element) => element.closest("a, button");

function letGo(after) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    press = null;
    release("finger");
  }, after);
}

/** The row that a click in the list is meant for, if it is still there. */
export const rowMeant = (event) =>
  press ? rowOf(press.number) : event.target.closest("li");

list.addEventListener("pointerdown", (event) => {
  press = null;
  const row = event.target.closest("li");
  if (event.pointerType === "mouse" || !event.isPrimary || !row) return;
  clearTimeout(timer);
  press = {
    number: row.dataset.number,
    stop: stopAt(event.target),
    isMeant: hasStood(row, event.clientY),
    x: event.clientX,
    y: event.clientY,
  };
  hold("finger");
});

/** The finger has gone. From a long press no click comes. */
const lift = () => letGo(press && !press.isMeant ? AGAIN_WITHIN : CLICK_WITHIN);

// Of a finger that scrolls the pointer is cancelled at once, and its touch ends when it has gone.
document.addEventListener("pointerup", () => press && lift());
document.addEventListener("pointercancel", ({ pointerType }) => pointerType === "pen" && lift());
for (const end of ["touchend", "touchcancel"]) {
  document.addEventListener(end, ({ touches }) => touches.length || lift(), { passive: true });
}

// Before the links, the buttons and the rows themselves.
list.addEventListener(
  "click",
  (event) => {
    if (!press) return;
    const hasSlipped = Math.hypot(event.clientX - press.x, event.clientY - press.y) > SLIP;
    if (press.isMeant && !hasSlipped && press.stop === stopAt(event.target)) return;
    press = null;
    event.preventDefault();
    event.stopPropagation();
    letGo(hasSlipped ? CLICK_WITHIN : AGAIN_WITHIN);
  },
  { capture: true },
);
