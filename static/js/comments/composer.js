// The composer: one comment on its way at a time. Its text stays in the box until the server has
// acknowledged it, also over a reload.

import { isOpen } from "./link.js";
import { tell, tellRefusal, told } from "./notice.js";
import { newKey, request } from "./outbox.js";
import { rowOf, toBottom } from "./rows.js";
import { say } from "./words.js";

const COUNT_FROM = 0.8; // the count is shown from 80% of the longest comment

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

let posting = null; // {key, body, row}: the comment on its way

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

function measure() {
  const most = Number(document.getElementById("room").dataset.most);
  box.style.blockSize = "auto";
  box.style.blockSize = `${Math.min(box.scrollHeight, 132)}px`;
  const length = box.value.length < most * COUNT_FROM ? 0 : [...characters.segment(box.value.trim())].length;
  count.hidden = length < most * COUNT_FROM;
  count.value = `${length} / ${most}`;
  count.classList.toggle("is-over", length > most);
}

box.addEventListener("input", () => {
  remember(draftName, box.value);
  measure();
  if (told() !== "too_fast") tell("");
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
  remember(unsettledName, JSON.stringify({ key, body }));
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
  const { row } = posting;
  posting = null;
  remember(unsettledName, "");
  box.readOnly = false;
  form.removeAttribute("aria-busy");
  if (answer?.dataset.ack === undefined) {
    row.remove(); // the text is in the box still
    if (answer) tellRefusal(answer);
    return;
  }
  box.value = "";
  remember(draftName, "");
  measure();
  tell("");
  leave(row, answer.dataset.number);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const body = box.value.trim();
  if (posting || !body) return;
  post(newKey(), body);
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

// --- the name ---------------------------------------------------------------------------------

function showRename(open) {
  rename.hidden = !open;
  renameOpen.setAttribute("aria-expanded", String(open));
  if (open) rename.elements.name.select();
  else renameOpen.focus();
}

function renamed(answer) {
  const name = answer?.dataset.name;
  if (name === undefined) return answer && tellRefusal(answer);
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
// Reloaded before it was answered: the same key finds out whether it was stored.
const unsettled = remembered(unsettledName);
if (unsettled) {
  const { key, body } = JSON.parse(unsettled);
  box.value = body;
  post(key, body);
}
