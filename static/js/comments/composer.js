// The composer: one comment on its way at a time. Its text stays in the box until the server has
// acknowledged it, and what was not acknowledged is sent again with the same key.

import { ANSWER_WITHIN, isOpen, send } from "./link.js";
import { rowOf, toBottom } from "./rows.js";
import { say } from "./words.js";

const COUNT_FROM = 0.8; // the count is shown from 80% of the longest comment

const panel = document.getElementById("panel");
const form = document.getElementById("composer");
const box = document.getElementById("body");
const button = document.getElementById("send");
const pending = document.getElementById("pending");
const notice = document.getElementById("notice");
const countdown = document.getElementById("countdown");
const answers = document.getElementById("answers");
const count = document.getElementById("count");
const myName = document.getElementById("my-name");
const rename = document.getElementById("rename");
const renameOpen = document.getElementById("rename-open");
const most = Number(form.dataset.most);
const draftName = `draft:${panel.dataset.slug}`;
const characters = new Intl.Segmenter(undefined, { granularity: "grapheme" });

let posting = null; // {key, body, row, timer}: the comment on its way
let renaming = null; // its key
let counting = 0;

// randomUUID exists in secure contexts only; a phone on the local network is none.
const newKey = () =>
  crypto.randomUUID?.() ??
  "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (c) =>
    (c ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (c / 4)))).toString(16),
  );

// --- what is said above the box ---------------------------------------------------------------

function tell(sentence, code = "") {
  clearTimeout(counting);
  countdown.hidden = true;
  notice.classList.remove("visually-hidden");
  notice.textContent = sentence;
  notice.dataset.code = code;
  notice.hidden = !sentence;
}

/** Say a limit's reason once, and count its seconds down where nobody is read to every second. */
function tellToWait(sentence, seconds, code) {
  tell(sentence, code);
  if (code !== "too_fast") return;
  notice.classList.add("visually-hidden");
  countdown.hidden = false;
  const end = Date.now() + seconds * 1000;
  const step = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left <= 0) return tell(say("again"), "again");
    countdown.textContent = say("wait", left);
    counting = setTimeout(step, 250);
  };
  step();
}

// --- the box ----------------------------------------------------------------------------------

function draft(text) {
  try {
    sessionStorage.setItem(draftName, text);
  } catch {
    // No storage here: the draft lives as long as the page.
  }
}

function measure() {
  box.style.blockSize = "auto";
  box.style.blockSize = `${Math.min(box.scrollHeight, 132)}px`;
  const length = box.value.length < most * COUNT_FROM ? 0 : [...characters.segment(box.value.trim())].length;
  count.hidden = length < most * COUNT_FROM;
  count.value = `${length} / ${most}`;
  count.classList.toggle("is-over", length > most);
}

box.addEventListener("input", () => {
  draft(box.value);
  measure();
  if (notice.dataset.code !== "too_fast") tell("");
});

box.addEventListener("keydown", (event) => {
  // While an input method composes (Bengali, Japanese, ...), Enter takes its suggestion.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
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

function mark(words) {
  posting.row.querySelector(".comment-time").textContent = say(words);
}

function trySend() {
  if (!posting) return;
  clearTimeout(posting.timer);
  if (send({ action: "post", body: posting.body, key: posting.key })) {
    mark("sending");
    // No answer at all: the same key again cannot double it.
    posting.timer = setTimeout(trySend, ANSWER_WITHIN);
  } else {
    mark("waiting");
    tell(say("kept"), "kept");
  }
}

function settle() {
  clearTimeout(posting.timer);
  const settled = posting;
  posting = null;
  box.readOnly = false;
  form.removeAttribute("aria-busy");
  return settled;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const body = box.value.trim();
  if (posting || !body) return;
  posting = { key: newKey(), body, row: pendingRow(body), timer: 0, number: 0 };
  pending.append(posting.row);
  box.readOnly = true; // until it is settled: what stands here is what is on its way
  form.setAttribute("aria-busy", "true");
  toBottom();
  trySend();
  box.focus({ preventScroll: true });
});

/** The pending row goes when the real one is there, so that the comment never blinks. */
const leaving = new Map();
function leave(row, number) {
  if (rowOf(number)) row.remove();
  else leaving.set(row, number);
}
panel.addEventListener("rows:changed", () => {
  for (const [row, number] of leaving) {
    if (!rowOf(number)) continue;
    leaving.delete(row);
    row.remove();
  }
});

function acknowledged(number) {
  const { row } = settle();
  box.value = "";
  draft("");
  measure();
  tell("");
  leave(row, number);
}

function refused(answer) {
  settle().row.remove(); // the text is in the box still
  const { code, retryAfter } = answer.dataset;
  if (retryAfter) tellToWait(answer.textContent, Number(retryAfter), code);
  else tell(answer.textContent, code);
}

// Answers come to #answers, one at a time, each for whoever in this page asked.
new MutationObserver(() => {
  for (const answer of [...answers.children]) {
    answer.remove();
    const { ack, refused: no, number, name } = answer.dataset;
    if (posting && ack === posting.key) acknowledged(number);
    else if (posting && no === posting.key) refused(answer);
    else if (renaming && (ack ?? no) === renaming) renamed(name, answer);
    else if (no !== undefined) tell(answer.textContent, answer.dataset.code);
  }
}).observe(answers, { childList: true });

panel.addEventListener("link:open", () => {
  if (notice.dataset.code === "kept") tell("");
  trySend();
});
panel.addEventListener("link:closed", () => {
  if (posting) mark("waiting");
});

// --- the name ---------------------------------------------------------------------------------

function showRename(open) {
  rename.hidden = !open;
  renameOpen.setAttribute("aria-expanded", String(open));
  if (open) rename.elements.name.select();
  else renameOpen.focus();
}

function renamed(name, answer) {
  renaming = null;
  if (name === undefined) return tell(answer.textContent, answer.dataset.code);
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
    renaming = newKey();
    const name = rename.elements.name.value;
    if (!send({ action: "rename", name, key: renaming })) tell(say("kept"), "kept");
  });
}

// --- the page as it came ----------------------------------------------------------------------

form.noValidate = true;
try {
  box.value ||= sessionStorage.getItem(draftName) ?? "";
} catch {
  // No storage here.
}
measure();
if (notice.dataset.retryAfter) {
  tellToWait(notice.textContent, Number(notice.dataset.retryAfter), notice.dataset.code);
}
