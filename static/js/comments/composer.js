// The composer: Enter sends what is written, and the box is free for the next thought at once.

import { focusBox, hush, isWritable, lengthOf, longest, write, written } from "./box.js";
import { fits } from "./link.js";
import { tell } from "./notice.js";
import { newKey } from "./outbox.js";
import { isFull, keyOf, post } from "./posts.js";
import { say } from "./words.js";

const panel = document.getElementById("panel");
const form = document.getElementById("composer");

form.noValidate = true;

document.getElementById("body").addEventListener("keydown", (event) => {
  // While an input method composes (Bengali, Japanese, ...), Enter takes its suggestion; Safari
  // says so by the key code alone.
  const composing = event.isComposing || event.keyCode === 229;
  if (event.key === "Enter" && !event.shiftKey && !composing) {
    event.preventDefault();
    form.requestSubmit();
  }
});

/** Why the server would not take a text; empty where it may. */
function tooLong(key, body) {
  const most = longest();
  const over = lengthOf(body) - most;
  if (over > 0) return say("tooLong", over, most);
  return fits({ action: "post", body, key, as: panel.dataset.as }) ? "" : say("tooMuch");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const body = written();
  if (!body || !isWritable()) return;
  focusBox();
  const known = keyOf(body);
  const key = known || newKey();
  // Known, it may be stored, before less was allowed: the server says.
  const reason = known ? "" : tooLong(key, body);
  if (reason) {
    tell(reason, "too_long");
  } else if (isFull()) {
    tell(say("full"), "full");
  } else {
    write("");
    hush();
    post(key, body);
  }
});
