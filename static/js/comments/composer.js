// The composer: one comment on its way at a time. Its text stays in the box until the server has
// acknowledged it, also over a reload.

import { fits, isOpen } from "./link.js";
import { tell, tellRefusal, told } from "./notice.js";
import { newKey, request } from "./outbox.js";
import { rowOf, toBottom } from "./rows.js";
import { say } from "./words.js";

const COUNT_FROM = 0.8; // the count is shown from 80% of the longest comment
const FAR_TOO_MUCH = 65_536; // UTF-16 code units: the most of 2,000 characters, in any script
const LEAVE_WITHIN = 10_000; // ms

const panel = document.getElementById("panel");
const form = document.getElementById("composer");
const box = document.getElementById("body");
const pending = document.getElementById("pending");
const count = document.getElementById("count");
const myName = document.getElementById("my-name");
const rename = document.getElementById("rename");
const renameOpen = document.getElementById("rename-open");
const draftName = `draft:${panel.dataset.slug}`;
const unsettledName = `unsettled:${panel.dataset.slug}`;
const characters = new Intl.Segmenter(undefined, { granularity: "grapheme" });

let isNameRefused = false; // the form of the name is open, and says why
let posting = null; // {key, body, row}: the comment on its way
// {key, body, as, isOnItsWay}: the last text that is not known to be stored. Whatever became of it,
// sent again it has the same key, so that there are never two of it. It is sent without being asked
// (by a reload) only while it is on its way.
let unsettled = null;

// --- the box ----------------------------------------------------------------------------------

// Without storage here, what is remembered lives as long as the page.
function remember(name, text) {
  try {
    sessionStorage.setItem(name, text);
  } catch {}
}

function remembered(name) {
  try {
    return sessionStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

function note(comment) {
  unsettled = comment;
  remember(unsettledName, comment ? JSON.stringify(comment) : "");
}

const longest = () => Number(document.getElementById("room").dataset.most);

/** How many characters a reader counts; roughly where it is far too much, and would take long. */
function lengthOf(text) {
  return text.length > FAR_TOO_MUCH ? text.length : [...characters.segment(text)].length;
}

/** Show the count, if it matters; whether the text is too long. */
function measure() {
  const most = longest();
  box.style.blockSize = "auto";
  box.style.blockSize = `${box.scrollHeight}px`; // comments.css has the most
  const length = box.value.length < most * COUNT_FROM ? 0 : lengthOf(box.value.trim());
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
  // Not about what is being typed: a wait, or why the name was refused.
  if (told() === "too_fast" || (isNameRefused && told())) return;
  if (!isOver) tell("");
  // Once, without a number that changes with every key: it is read aloud.
  else if (told() !== "over") tell(say("over", longest()), "over");
});

box.addEventListener("keydown", (event) => {
  // While an input method composes (Bengali, Japanese, ...), Enter takes its suggestion; Safari
  // says so by the key code alone.
  const composing = event.isComposing || event.keyCode === 229;
  if (event.key === "Enter" && !event.shiftKey && !composing) {
    event.preventDefault();
    form.requestSubmit();
  }
});

// --- a comment on its way ---------------------------------------------------------------------

function pendingRow(body) {
  const row = document.createElement("li");
  row.className = "comment is-pending";
  const name = myName.cloneNode(true);
  name.removeAttribute("id");
  const text = document.createElement("span");
  text.className = "comment-body";
  text.dir = "auto";
  text.textContent = body;
  const state = document.createElement("span");
  state.className = "comment-time";
  row.append(name, " ", text, " ", state);
  return row;
}

/** Post `body`; what stands in the box stays there, and cannot be changed, until it is settled. */
function post(key, body) {
  posting = { key, body, row: pendingRow(body) };
  remember(draftName, box.value);
  note({ key, body, as: panel.dataset.as, isOnItsWay: true });
  pending.append(posting.row);
  box.readOnly = true;
  form.setAttribute("aria-busy", "true");
  toBottom();
  request(
    { action: "post", body, key },
    {
      onState(state) {
        posting.row.querySelector(".comment-time").textContent = say(state);
        if (state === "waiting" && !isOpen()) tell(say("kept"), "kept");
      },
      onAnswer: settled,
    },
  );
}

function settled(answer) {
  const { body, row } = posting;
  posting = null;
  box.readOnly = false;
  form.removeAttribute("aria-busy");
  if (answer?.dataset.ack !== undefined) {
    stored(body);
    leave(row, answer.dataset.number);
    return;
  }
  row.remove(); // the text is in the box still
  if (answer) {
    note({ ...unsettled, isOnItsWay: false });
    tellRefusal(answer);
  } else if (told() === "ended") {
    tell(say("keptEnded"), "ended");
  }
}

function stored(body) {
  note(null);
  if (box.value.trim() === body) box.value = "";
  remember(draftName, box.value);
  measure();
  tell("");
}

// Sent twice, because the first answer took too long: refused, then acknowledged.
panel.addEventListener("answer:late", ({ detail }) => {
  if (!posting && unsettled?.key === detail.dataset.ack) stored(unsettled.body);
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
  const body = box.value.trim();
  if (posting || !body) return;
  box.focus({ preventScroll: true });
  const isKnown = unsettled?.body === body;
  const key = isKnown ? unsettled.key : newKey();
  // Known, it may be stored, before less was allowed: the server says.
  const reason = isKnown ? "" : tooLong(key, body);
  if (reason) tell(reason, "too_long");
  else post(key, body);
});

/** The pending row goes when the real one is there, so that the comment never blinks. */
const leaving = new Map();
function leave(row, number) {
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

// --- the name ---------------------------------------------------------------------------------

function showRename(open) {
  rename.hidden = !open;
  if (isNameRefused) tell("");
  isNameRefused = false;
  renameOpen.setAttribute("aria-expanded", String(open));
  if (open) rename.elements.name.select();
  else renameOpen.focus();
}

function renamed(answer) {
  const name = answer?.dataset.name;
  if (name === undefined) {
    isNameRefused = Boolean(answer);
    if (answer) tellRefusal(answer);
    return;
  }
  myName.textContent = name;
  rename.elements.name.value = name;
  showRename(false);
  tell("");
}

if (rename) {
  renameOpen.hidden = false;
  renameOpen.addEventListener("click", () => showRename(rename.hidden));
  document.getElementById("rename-cancel").addEventListener("click", () => showRename(false));
  rename.addEventListener("keydown", (event) => {
    if (event.key === "Escape") showRename(false);
  });
  rename.addEventListener("submit", (event) => {
    event.preventDefault();
    request(
      { action: "rename", name: rename.elements.name.value },
      { onState: (state) => state === "waiting" && tell(say("keptAction"), "kept"), onAnswer: renamed },
    );
  });
}

// --- the page as it came ----------------------------------------------------------------------

form.noValidate = true;
box.value ||= remembered(draftName);
measure();
// Reloaded before it was answered: the same key finds out whether it was stored. But not when the
// text was changed or taken back since, and not in another person's name.
try {
  unsettled = JSON.parse(remembered(unsettledName) || "null");
} catch {} // not ours: another version of this page may have written it
const isAsSent = unsettled?.body === box.value.trim() && unsettled.as === panel.dataset.as;
if (isAsSent && unsettled.isOnItsWay) post(unsettled.key, unsettled.body);
