// The list: what arrives is finished in the reader's language and role, the cursor moves on, the
// place being read is held, and the list stays short: of old rows while its reader is at the bottom,
// of new ones while they read back.

import { localise } from "../times.js";
import { say } from "./words.js";

const AT_MOST = 220; // rows; pruned to KEPT while the reader is at the bottom
const KEPT = 200;
const OLDER_WITHIN = 15_000; // ms in which an older page comes, or can be asked for again
const STEP = 50; // waiting rows that come into the list when its reader has read on to its end
const WAITING_AT_MOST = 1000; // rows that wait; of more, the oldest come with an older page
const WINDOW = 50; // comments that a reset brings at the least, where there are so many
const NEAR = 48; // px from the bottom that still count as being at it
const ANNOUNCE_EVERY = 5000; // ms between announcements to screen readers, at first
const ANNOUNCE_WHEN_BUSY = 60_000; // ms between them at the most; each of a busy stream doubles it
const QUIET = 60_000; // ms without a busy announcement, after which it is as at first
const READ_AT_MOST = 2; // comments that are read out; more make it a busy stream, and are counted

const panel = document.getElementById("panel");
const scroller = document.getElementById("stream");
const list = document.getElementById("comments");
const older = document.getElementById("older");
const pill = document.getElementById("new-comments");
const announce = document.getElementById("announce");
const watching = document.getElementById("watching");

/** Whether the page is a moderator's; the socket tells when that changes. */
export const isStaff = () => document.getElementById("role").dataset.staff === "true";

const numberOf = (row) => Number(row.dataset.number);

// An account may have written under several handles, before it signed in.
const mine = new Set(panel.dataset.mine.split(" "));
const isMine = (row) => mine.has(row.dataset.author);

// Rows below the floor are not in this page: they come with an older page, if they are asked for.
let floor = 0;
let newest = 0;
let unread = 0;
let following = true; // the reader is at the bottom, and wants to stay there
const holders = new Set(); // what keeps a reader who was at the bottom from following
let underway = null; // while an older page is on its way: states that overtook it, by number
let top = 0; // where the stream was scrolled to last
let unannounced = [];
// What arrives while a full list is being read back in, by number: behind `end`, its last row.
const waiting = new Map();
let end = 0;
let hasGap = false; // some that waited were dropped: what is left does not join on to the list

/** Go to the newest comment and stay there. */
export function toBottom() {
  following = true;
  holders.clear();
  unread = 0;
  showPill();
  showAllWaiting();
  scroller.scrollTop = scroller.scrollHeight;
  prune();
  offerOlder();
}

/** Whether the stream moves by itself, to the newest. */
export const isFollowing = () => following;

/** Stand still for `who` ("finger", "selection"): what arrives is counted, not followed. */
export function hold(who) {
  if (!following && !holders.size) return;
  following = false;
  holders.add(who);
}

/** Follow again, where `hold` has stopped it and nobody else does. */
export function release(who) {
  if (!holders.delete(who)) return;
  if (holders.size) showPill();
  else toBottom();
}

/** Have a row wholly in view. That is no reading back: who followed goes on to. */
export function showWhole(row) {
  row.scrollIntoView({ block: "nearest" });
  top = scroller.scrollTop;
}

/** The row of a comment, if this page shows it. */
export const rowOf = (number) => document.getElementById(`c-${number}`);

/** The first number of this page, before which an older page goes on. */
export const firstNumber = () => (list.firstElementChild ? numberOf(list.firstElementChild) : 0);

function showPill() {
  // Not while a finger is down: it would come between the finger and the row.
  pill.hidden = unread === 0 || holders.has("finger");
  if (unread) pill.textContent = `↓ ${say(unread === 1 ? "newOne" : "newMany", unread)}`;
  panel.dispatchEvent(new CustomEvent("pill:changed"));
}

function setFloor(number, more) {
  floor = more ? number : 0;
  // A link that goes away with the last page takes the focus with it.
  if (!more && document.activeElement === older) scroller.focus({ preventScroll: true });
  older.hidden = !more;
  if (more) older.href = older.href.replace(/before=\d*/, `before=${number}`);
}

/**
 * The link is left out where Tab would scroll the stream away: from its end, where it follows, or
 * from a chosen comment, whose links and menu come next.
 */
export function offerOlder() {
  const isElsewhere = following || holders.size > 0 || list.querySelector(".is-selected");
  older.tabIndex = isElsewhere && scroller.scrollHeight > scroller.clientHeight ? -1 : 0;
}

const finished = new WeakSet();

/** Finish one row: its time in the reader's zone, "mine", and for staff who removed it. */
function finish(row) {
  if (finished.has(row)) return; // while it waited
  finished.add(row);
  if (isMine(row)) row.classList.add("is-mine");
  localise(row);
  const removal = row.querySelector(".comment-removal");
  if (removal) {
    if (isStaff()) {
      const undo = document.createElement("button");
      undo.type = "button";
      undo.className = "link-button";
      undo.dataset.undo = row.dataset.number;
      undo.textContent = say("undo");
      undo.setAttribute("aria-keyshortcuts", "u");
      removal.append(" · ", undo);
    }
  }
  setStops(row, false);
}

/** Whether Tab stops within a row. Only in the selected one: others would scroll the stream away. */
export function setStops(row, areOn) {
  for (const stop of row.querySelectorAll("a, [data-undo]")) stop.tabIndex = areOn ? 0 : -1;
}

function arrived(row) {
  finish(row);
  const number = numberOf(row);
  if (number <= newest) return;
  newest = number;
  if (row.hidden) return;
  row.classList.add("is-new");
  if (!following && !isMine(row)) unread += 1;
  unannounced.push(row);
}

function prune() {
  if (!following || list.childElementCount <= AT_MOST) return;
  while (list.childElementCount > KEPT) list.firstElementChild.remove();
  setFloor(firstNumber(), true);
}

// --- rows that wait ----------------------------------------------------------------------------

/** Whether a row has no place in the list while its reader reads back. */
function hasToWait(number) {
  if (following) return false;
  return waiting.size ? number > end : number > newest && list.childElementCount > AT_MOST;
}

function wait(row) {
  const number = numberOf(row);
  row.remove();
  if (!waiting.size) end = newest;
  if (number > newest) {
    newest = number;
    if (!row.hidden) {
      if (!isMine(row)) unread += 1;
      unannounced.push(row);
    }
  } else if (!waiting.has(number)) {
    return; // of one that was dropped: it comes with an older page
  }
  finish(row); // now, one by one: all at once would hold the page up
  waiting.set(number, row);
  if (waiting.size > WAITING_AT_MOST) {
    waiting.delete(waiting.keys().next().value);
    hasGap = true;
  }
}

/** The reader has come to the end of the list: let it go on, and take from its beginning. */
function showNextWaiting() {
  const rows = [...waiting.values()].slice(0, STEP);
  for (const row of rows) waiting.delete(numberOf(row));
  end = numberOf(rows.at(-1));
  list.append(...rows);
  const below = scroller.scrollHeight - scroller.scrollTop;
  while (list.childElementCount > KEPT) list.firstElementChild.remove();
  setFloor(firstNumber(), true);
  scroller.scrollTop = scroller.scrollHeight - below;
}

function showAllWaiting() {
  if (!waiting.size) return;
  const rows = [...waiting.values()];
  waiting.clear();
  if (hasGap || rows.length >= KEPT) {
    hasGap = false;
    list.replaceChildren(...rows.slice(-KEPT));
    setFloor(firstNumber(), true);
  } else {
    list.append(...rows);
  }
}

new MutationObserver((records) => {
  for (const { addedNodes } of records) {
    for (const row of addedNodes) {
      if (row.nodeType !== Node.ELEMENT_NODE || !row.isConnected) continue;
      if (numberOf(row) < floor) {
        underway?.set(row.id, row);
        row.remove();
      } else if (hasToWait(numberOf(row))) {
        wait(row);
      } else {
        arrived(row);
      }
    }
  }
  prune();
  if (following) scroller.scrollTop = scroller.scrollHeight;
  showPill();
  offerOlder();
  panel.dispatchEvent(new CustomEvent("rows:changed"));
}).observe(list, { childList: true });

// --- the cursor ------------------------------------------------------------------------------

// A frame's cursor counts once its rows are in the list, never before.
panel.addEventListener("htmx:ws:after:message:incoming", (event) => {
  const frame = event.detail.message.data;
  if (typeof frame !== "string") return;
  // Text cannot hold this: its quotes are escaped.
  const [, cursor] = frame.match(/ data-cursor="([^"]*)"/) ?? [];
  if (cursor) list.dataset.cursor = cursor;
});

// A reset brings the latest window whole; what was counted or held belongs to the old one.
panel.addEventListener("htmx:ws:before:message:incoming", (event) => {
  const frame = event.detail.message.data;
  if (typeof frame !== "string" || !frame.includes('hx-target="#comments"')) return;
  // A window that is not full is all there is.
  const numbers = [...frame.matchAll(/ data-number="(\d+)"/g)];
  setFloor(Number(numbers[0]?.[1] ?? 0), numbers.length >= WINDOW);
  // Of a restored history even the last may have a number that was taken here already.
  newest = Math.min(newest, Number(numbers.at(-1)?.[1] ?? 0));
  unread = 0;
  waiting.clear();
  hasGap = false;
});

// --- older pages -----------------------------------------------------------------------------

const olderWords = older.textContent;

/** Put the next older page above, without moving what is being read. */
async function loadOlder() {
  if (underway || older.hidden) return;
  underway = new Map();
  const from = older.href;
  older.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(from, {
      headers: { "HX-Request": "true" },
      signal: AbortSignal.timeout(OLDER_WITHIN),
    });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const source = page.querySelector("[data-older]");
    // The list begins elsewhere by now: it was pruned, or came anew. It can be asked for again.
    if (older.href !== from) return;
    const rows = [...source.children].map((row) => {
      // What the socket said meanwhile is newer than what this page read, where its number is.
      const overtaken = underway.get(row.id);
      const newer = overtaken && Number(overtaken.dataset.change) > Number(row.dataset.change);
      return newer ? overtaken : document.adoptNode(row);
    });
    const before = scroller.scrollHeight - scroller.scrollTop;
    following = false;
    holders.clear();
    setFloor(Number(rows[0]?.dataset.number ?? firstNumber()), source.dataset.older !== "");
    list.prepend(...rows);
    scroller.scrollTop = scroller.scrollHeight - before;
    offerOlder();
    older.textContent = olderWords;
    older.classList.remove("is-failed");
  } catch {
    older.textContent = say("olderFailed");
    older.classList.add("is-failed");
  } finally {
    older.removeAttribute("aria-busy");
    underway = null;
  }
}

older.addEventListener("click", (event) => {
  event.preventDefault();
  loadOlder();
});

new IntersectionObserver(
  ([entry]) => {
    if (entry.isIntersecting && !following && !older.classList.contains("is-failed")) loadOlder();
  },
  { root: scroller, rootMargin: "200px 0px 0px" },
).observe(older);

// --- where the reader is ---------------------------------------------------------------------

scroller.addEventListener(
  "scroll",
  () => {
    const isNear = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR;
    // Only scrolling up leaves the end: a notice that takes room below does not.
    if (isNear && !holders.size) {
      if (!waiting.size) following = true;
      else if (hasGap) toBottom();
      else showNextWaiting();
    } else if (!isNear && scroller.scrollTop < top) {
      following = false;
      holders.clear();
    }
    top = scroller.scrollTop;
    offerOlder();
    if (isNear && !waiting.size && unread) {
      unread = 0;
      showPill();
    }
  },
  { passive: true },
);

pill.addEventListener("click", () => {
  toBottom();
  scroller.focus({ preventScroll: true });
});

// The keyboard of a phone opens, a window is resized, a row on its way says more: who was at the
// bottom stays there.
const sizes = new ResizeObserver(() => following && toBottom());
for (const sized of [scroller, document.getElementById("pending")]) sizes.observe(sized);

/** A row as it is read aloud. */
export const textOf = (row) =>
  `${row.querySelector(".comment-author").textContent}: ${row.querySelector(".comment-body").textContent}`;

/** Have a sentence read aloud, politely. */
export function read(sentence) {
  announce.textContent = sentence;
}

// --- screen readers, and how many watch --------------------------------------------------------

let every = ANNOUNCE_EVERY;
let quietFor = 0; // ms

/** Say what is new. In a busy stream that is ever the same sentence: it is said ever less often. */
function announceNew() {
  // Also what has left a busy page by its age.
  const isHere = (row) =>
    row.isConnected || waiting.get(numberOf(row)) === row || numberOf(row) < floor;
  const rows = unannounced.filter((row) => isHere(row) && !isMine(row));
  unannounced = [];
  const isBusy = rows.length > READ_AT_MOST;
  quietFor = isBusy ? 0 : quietFor + every;
  if (isBusy) every = Math.min(2 * every, ANNOUNCE_WHEN_BUSY);
  else if (quietFor >= QUIET) every = ANNOUNCE_EVERY;
  setTimeout(announceNew, every);
  if (!rows.length || document.hidden) return;
  read(isBusy ? say("newMany", rows.length) : rows.map(textOf).join(". "));
}
setTimeout(announceNew, every);

new MutationObserver(() => {
  const count = watching.querySelector("data");
  if (count) watching.textContent = say("watching", Number(count.value).toLocaleString());
}).observe(watching, { childList: true });

// --- the page as it came ---------------------------------------------------------------------

// Until here the stream began at its foot, by CSS, and was scrolled from there.
const fromFoot = -scroller.scrollTop; // px
scroller.classList.add("is-run");
for (const row of list.children) {
  finish(row);
  newest = Math.max(newest, numberOf(row));
}
floor = older.hidden ? 0 : firstNumber();
const named = location.hash && document.getElementById(location.hash.slice(1));
if (named && list.contains(named)) {
  following = false;
  named.scrollIntoView({ block: "center" });
  named.classList.add("is-named");
} else if (fromFoot < NEAR) {
  toBottom();
} else {
  following = false;
  scroller.scrollTop = scroller.scrollHeight - scroller.clientHeight - fromFoot;
}
