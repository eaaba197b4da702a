// What was sent and is not known to be stored: in order, each with its key, one after another, also
// over a reload. Whatever became of a text, sent again it has the same key, so that there are never
// two of it.

import { focusBox, write, written } from "./box.js";
import { hasEnded, isOpen } from "./link.js";
import { tell, tellRefusal, tellToWait, told } from "./notice.js";
import { newKey, request, withdraw } from "./outbox.js";
import { addRow, draw, leave } from "./pending.js";
import { toBottom } from "./rows.js";
import { remember, remembered } from "./storage.js";
import { say } from "./words.js";

const AT_MOST = 20; // that wait or were refused
const FREE_AFTER = 2000; // ms; who waits for less needs no buttons that come and go

const panel = document.getElementById("panel");
const scroller = document.getElementById("stream");
const storeName = `unsettled:${panel.dataset.slug}`;

// {key, body, as, isSent, reason, state, isLate, row}. `isSent`: it may be stored. `reason`: why it
// was refused, empty while it waits or is on its way.
let entries = [];
let returned = null; // {key, body, isSent}: the last text that was given back into the box
let current = null; // the one that the outbox has
let pause = 0; // timer, while the server wants us to be slower

export const isFull = () => entries.length >= AT_MOST;

/** The key of a text that was given back into the box, and may be stored; else empty. */
export const keyOf = (body) => (returned?.body === body ? returned.key : "");

const waiting = () => entries.filter(({ reason }) => !reason);

function save() {
  const kept = entries.map(({ key, body, as, isSent, reason }) => ({ key, body, as, isSent, reason }));
  remember(storeName, kept.length || returned ? JSON.stringify({ entries: kept, returned }) : "");
}

function show(entry) {
  const { row, state, isSent, isLate } = entry;
  const isFree = entry.reason !== "" || (!isSent && (isLate || pause !== 0 || !isOpen()));
  const reason = entry.reason || (isSent && state === "waiting" ? say("perhaps") : "");
  row.classList.toggle("is-refused", entry.reason !== "");
  draw(row, { state: entry.reason ? "notSent" : state, reason, isFree });
}

function showAll() {
  for (const entry of entries) show(entry);
}

function add(comment) {
  const entry = { isSent: false, reason: "", state: "waiting", isLate: false, ...comment };
  entry.row = addRow(entry.body, { putBack: () => putBack(entry), discard: () => discard(entry) });
  entries.push(entry);
  setTimeout(() => {
    entry.isLate = true;
    if (entries.includes(entry)) show(entry);
  }, FREE_AFTER);
  show(entry);
  return entry;
}

function drop(entry) {
  entries = entries.filter((other) => other !== entry);
  save();
  if (told() === "not_sent" && waiting().length === entries.length) tell("");
}

/** Send a comment after those that wait already. */
export function post(key, body) {
  add({ key, body, as: panel.dataset.as, isSent: keyOf(body) === key && returned.isSent });
  returned = null;
  save();
  toBottom();
  next();
  tellKept();
}

/** Without a connection: that nothing is lost. */
function tellKept() {
  if (hasEnded() || isOpen() || !waiting().length) return;
  tell(say(waiting().length === 1 ? "kept" : "keptMany"), "kept");
}

function next() {
  if (current || pause) return;
  const [entry] = waiting();
  if (!entry) return;
  current = entry;
  request(
    { action: "post", body: entry.body, key: entry.key },
    {
      onState(state) {
        entry.state = state;
        if (state === "sending") {
          entry.isSent = true;
          save();
        } else {
          tellKept();
        }
        show(entry);
      },
      onAnswer: (answer) => settled(entry, answer),
    },
  );
}

function settled(entry, answer) {
  current = null;
  if (answer) {
    if (answer.dataset.ack === undefined) refused(entry, answer);
    else stored(entry, answer.dataset.number);
    next();
    return;
  }
  // The page has ended: it is sent when the page is loaded again.
  entry.state = "waiting";
  show(entry);
  if (told() === "ended") tell(say(waiting().length === 1 ? "keptEnded" : "keptEndedMany"), "ended");
}

function stored(entry, number) {
  drop(entry);
  draw(entry.row, { state: "sending", reason: "", isFree: false });
  leave(entry.row, number);
  if (told() === "too_fast") tell("");
}

function refused(entry, answer) {
  const { code, refused: key, retryAfter } = answer.dataset;
  // An answer without its key only says that it does not come through.
  if (key === entry.key) entry.isSent = false;
  if (code === "too_fast" && (written() || waiting().length > 1)) {
    slowDown(answer.textContent, Number(retryAfter));
  } else if (giveBack(entry)) {
    tellRefusal(answer);
  } else {
    keep(entry, answer.textContent);
  }
}

/** Those that wait go on by themselves, in their order, when they are taken again. */
function slowDown(sentence, seconds) {
  pause = setTimeout(() => {
    pause = 0;
    showAll();
    next();
  }, seconds * 1000);
  for (const entry of waiting()) entry.state = "waiting";
  save();
  showAll();
  tellToWait(sentence, seconds, { code: "too_fast", wait: "waitSending" });
}

/** Back into the box, if nothing else is written there; whether it was. */
function giveBack(entry) {
  if (written() && written() !== entry.body) return false;
  entry.row.remove();
  const { key, body, isSent } = entry;
  returned = { key, body, isSent };
  drop(entry);
  if (!written()) write(body);
  return true;
}

/** In its row, with the reason: the box has another text by now. */
function keep(entry, reason) {
  entry.reason = reason;
  save();
  show(entry);
  tell(say("notSentSaid"), "not_sent");
}

// --- taken back by hand -----------------------------------------------------------------------

/** Nothing sends it any more. */
function release(entry) {
  if (current === entry) {
    withdraw(entry.key);
    current = null;
  }
  entry.row.remove();
  drop(entry);
  if (told() === "kept" || !waiting().length) hushAboutWaiting();
  next();
}

function hushAboutWaiting() {
  if (told() === "kept" || told() === "ended" || pause) tell("");
  tellKept();
}

function putBack(entry) {
  const before = written();
  if (!before) giveBack(entry);
  release(entry);
  focusBox();
  if (!before) return;
  write(`${entry.body}\n${before}`); // another text, with a key of its own
  warn(entry);
}

function discard(entry) {
  release(entry);
  scroller.focus({ preventScroll: true });
  warn(entry);
}

/** Where it may be stored, that is said. */
function warn(entry) {
  if (entry.isSent) tell(say("perhapsSent"), "perhaps_sent");
}

// --- what happens around it -------------------------------------------------------------------

// Sent twice, because the first answer took too long: refused, then acknowledged.
panel.addEventListener("answer:late", ({ detail }) => {
  const { ack, number } = detail.dataset;
  const entry = entries.find(({ key }) => key === ack);
  if (entry) {
    stored(entry, number);
  } else if (returned?.key === ack) {
    if (written() === returned.body) write("");
    returned = null;
    save();
    tell("");
  }
});

panel.addEventListener("link:open", () => {
  showAll();
  next();
});
panel.addEventListener("link:closed", showAll);

// Reloaded before they were answered: the same keys find out whether they were stored. But nothing
// is sent in another person's name.
try {
  const kept = JSON.parse(remembered(storeName) || "{}");
  returned = kept.returned ?? null;
  for (const comment of kept.entries ?? []) {
    const entry = add(comment);
    if (entry.reason || entry.as === panel.dataset.as || giveBack(entry)) continue;
    keep(entry, say("another"));
  }
} catch {} // not ours: another version of this page may have written it
next();
