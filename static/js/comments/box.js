// The box that is written in: its draft, its count, and whether it takes letters. It always does
// while the room is open, whatever becomes of the comments that were sent.

import { tell, told } from "./notice.js";
import { remember, remembered } from "./storage.js";
import { say } from "./words.js";

const COUNT_FROM = 0.8; // the count is shown from 80% of the longest comment
const FAR_TOO_MUCH = 65_536; // UTF-16 code units: the most of 2,000 characters, in any script
// What is said about something else than the text that is being typed.
const ABOUT_OTHERS = new Set(["too_fast", "try_again", "kept", "ended", "not_sent", "name"]);

const panel = document.getElementById("panel");
const box = document.getElementById("body");
const count = document.getElementById("count");
const draftName = `draft:${panel.dataset.slug}`;
const characters = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** How many characters a comment has at most. */
export const longest = () => Number(document.getElementById("room").dataset.most);

/** How many characters a reader counts; roughly where it is far too much, and would take long. */
export function lengthOf(text) {
  return text.length > FAR_TOO_MUCH ? text.length : [...characters.segment(text)].length;
}

/** What is written, without the space around it. */
export const written = () => box.value.trim();

/** Whether comments are taken now. */
export const isWritable = () => !box.readOnly;

export const focusBox = () => box.focus({ preventScroll: true });

/** Put another text in the place of what is written. */
export function write(text) {
  box.value = text;
  remember(draftName, text);
  measure();
}

/** Take the words about the text from above the box, and leave those about something else. */
export function hush() {
  if (!ABOUT_OTHERS.has(told())) tell("");
}

/** Show the count, if it matters; whether the text is too long. */
function measure() {
  const most = longest();
  box.style.blockSize = "auto";
  box.style.blockSize = `${box.scrollHeight}px`; // comments.css has the most
  const length = box.value.length < most * COUNT_FROM ? 0 : lengthOf(written());
  const isOver = length > most;
  count.hidden = length < most * COUNT_FROM;
  count.value = `${length} / ${most}`;
  count.classList.toggle("is-over", isOver);
  box.ariaInvalid = String(isOver);
  return isOver;
}

box.addEventListener("input", () => {
  remember(draftName, box.value);
  const isOver = measure();
  if (!isOver) hush();
  // Once, without a number that changes with every key: it is read aloud.
  else if (!ABOUT_OTHERS.has(told()) && told() !== "over") tell(say("over", longest()), "over");
});

// A closed room takes no letters; comments.css shows what is written there, to be read and copied.
function followRoom() {
  const isClosed = document.getElementById("room").dataset.room !== "open";
  if (box.readOnly === isClosed) return;
  box.readOnly = isClosed;
  measure(); // it may have been out of sight, and so without a height
}
panel.addEventListener("htmx:ws:after:message:incoming", followRoom);

box.value ||= remembered(draftName);
followRoom();
measure();
