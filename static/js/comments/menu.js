// Actions on a comment: one menu for all rows, by mouse, touch and keyboard. Which actions there
// are depends on the page's role; whether they are allowed, the server decides each time.
// While somebody points at a comment, the stream stands still under it.

import { tell, tellRefusal } from "./notice.js";
import { request } from "./outbox.js";
import { rowMeant } from "./press.js";
import {
  hold,
  isStaff,
  offerOlder,
  read,
  release,
  rowOf,
  setStops,
  showWhole,
  textOf,
  toBottom,
} from "./rows.js";
import { say } from "./words.js";

const LINE = 20; // px of a comment that are in view at the least when keys act on it
const UNDO_WITHIN = 2000; // ms for which the stream stands still after what a finger did

const panel = document.getElementById("panel");
const scroller = document.getElementById("stream");
const list = document.getElementById("comments");
const button = document.getElementById("row-menu-button");
const menu = document.getElementById("row-menu");
const pill = document.getElementById("new-comments");

let selected = 0; // number of the comment that the button stands at, and the keys act on
let pointing = ""; // what points at it, and so holds the stream: "mouse", "touch" or "keys"
let acted = null; // what this page did last: the comment's number, and its state before
let timer = 0; // until the stream goes on after what a finger did
let mouse = { clientX: -1, clientY: -1 }; // where it moved last
let placedAt = 0; // px: where the button stood when the menu was put there

const isOpen = () => menu.matches(":popover-open");
const hasFocus = () => scroller.contains(document.activeElement);
const removed = (row) => row.dataset.state === "removed";

const ALLOWED = {
  remove: (row) => !removed(row) && (isStaff() || row.classList.contains("is-mine")),
  restore: (row) => removed(row) && isStaff(),
};
const DONE = { remove: "removed", restore: "restored" };

const offersActions = (row) => Object.values(ALLOWED).some((allowed) => allowed(row));

function act(action, number) {
  const row = rowOf(number);
  if (!row || !ALLOWED[action](row)) return;
  const seen = row.dataset.change;
  acted = { number, seen };
  request(
    { action, number },
    {
      // Meant for the comment as it was then. If it has changed since, either this is done, its
      // answer was lost, or somebody has decided otherwise, knowing more. A row that has left the
      // page tells nothing.
      isOvertaken() {
        const now = rowOf(number);
        if (!now || now.dataset.change === seen) return false;
        now.removeAttribute("data-fate");
        if (ALLOWED[action](now)) tell(say("overtaken"), "overtaken");
        return true;
      },
      onState(state) {
        if (state === "waiting") tell(say("keptAction"), "kept");
        rowOf(number)?.setAttribute("data-fate", say(state)); // until its new state replaces it
      },
      onAnswer(answer) {
        rowOf(number)?.removeAttribute("data-fate");
        if (answer?.dataset.refused !== undefined) tellRefusal(answer);
        else if (answer) read(say(DONE[action]));
      },
    },
  );
}

// --- the comment that is pointed at -----------------------------------------------------------

function unmark() {
  const row = rowOf(selected);
  if (!row) return;
  row.classList.remove("is-selected");
  setStops(row, false);
}

function select(row) {
  unmark();
  selected = Number(row.dataset.number);
  row.classList.add("is-selected");
  setStops(row, true);
  const any = offersActions(row);
  button.hidden = !any;
  // Moving it again under a press would lose the click.
  if (any && button.parentElement !== row) row.append(button);
  clearPill();
  offerOlder();
}

function deselect() {
  unmark();
  selected = 0;
  button.hidden = true;
  clearPill();
  offerOlder();
}

/** The pill gives way to the selected comment, which stays where it is: it is pointed at. */
function clearPill() {
  pill.classList.remove("is-up");
  const row = rowOf(selected);
  if (!row || pill.hidden) return;
  const { bottom } = row.getBoundingClientRect();
  pill.classList.toggle("is-up", bottom > pill.getBoundingClientRect().top);
}

function point(row, by) {
  clearTimeout(timer);
  select(row);
  pointing = by;
  hold("selection");
}

/** A finger has done what it came for. It stays nowhere, so the stream goes on by itself. */
function leaveSoon() {
  if (pointing !== "touch") return;
  clearTimeout(timer);
  timer = setTimeout(leave, UNDO_WITHIN);
}

/** Nobody points at a comment any more: the stream goes on. */
function leave({ isKept = false } = {}) {
  if (isOpen()) return;
  pointing = "";
  if (!isKept) deselect();
  release("selection");
}

/** What was acted on is shown as it is now, which may take more lines. */
function showActed() {
  const row = acted && rowOf(acted.number);
  if (!row || row.dataset.change === acted.seen) return;
  acted = null;
  if (!row.hidden && isInView(row)) showWhole(row);
}

// A new state replaces its row, and with it the selection and the button.
panel.addEventListener("rows:changed", () => {
  const row = rowOf(selected);
  if (row && !row.classList.contains("is-selected")) {
    close(); // what it offers is another thing now
    if (row.hidden) leave();
    else select(row);
  }
  showActed();
  if (isOpen()) place();
  if (button.isConnected) return;
  button.hidden = true; // its row has left the page
  panel.append(button);
  close();
});

// --- the menu ---------------------------------------------------------------------------------

function items() {
  return [...menu.querySelectorAll("[data-action]:not([hidden])")];
}

function open() {
  const row = rowOf(selected);
  if (!row) return;
  clearTimeout(timer);
  hold("selection");
  for (const item of menu.querySelectorAll("[data-action]")) {
    item.hidden = !ALLOWED[item.dataset.action](row);
  }
  menu.showPopover();
  place();
  button.setAttribute("aria-expanded", "true");
  items()[0]?.focus();
}

/** Put the menu at its comment, which may move where there are too few to scroll. */
function place() {
  const at = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = at.bottom + height + 8 < innerHeight;
  menu.style.insetInlineStart = "auto";
  menu.style.left = `${Math.max(8, at.right - width)}px`;
  menu.style.top = `${below ? at.bottom + 4 : at.top - height - 4}px`;
  placedAt = at.top;
}

function close() {
  if (!isOpen()) return;
  const hadFocus = menu.contains(document.activeElement);
  menu.hidePopover();
  button.setAttribute("aria-expanded", "false");
  if (hadFocus) scroller.focus({ preventScroll: true });
  if (!pointing || (pointing === "mouse" && !isUnderMouse())) leave({ isKept: hadFocus });
}

/** Whether the mouse is over the list; what it is over counts only when it moves again. */
const isUnderMouse = () =>
  list.contains(document.elementFromPoint(mouse.clientX, mouse.clientY));

button.addEventListener("click", (event) => {
  event.stopPropagation();
  if (isOpen()) close();
  else open();
});

menu.addEventListener("click", (event) => {
  const item = event.target.closest("[data-action]");
  if (!item) return;
  act(item.dataset.action, selected);
  close();
  leaveSoon();
});

menu.addEventListener("keydown", (event) => {
  const all = items();
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus();
  } else if (event.key === "Escape" || event.key === "Tab") {
    event.preventDefault();
    close();
  }
});

// Of the stream or of the page. It is told late: of scrolling before the menu opened, too.
panel.addEventListener("pill:changed", clearPill);
scroller.addEventListener("scroll", clearPill, { passive: true });
document.addEventListener(
  "scroll",
  () => isOpen() && Math.abs(button.getBoundingClientRect().top - placedAt) > 1 && close(),
  { capture: true, passive: true },
);

// --- mouse and touch --------------------------------------------------------------------------

document.addEventListener(
  "pointermove",
  (event) => {
    if (event.pointerType === "mouse") mouse = event;
  },
  { passive: true },
);

// Of a mouse that moves: rows that scroll by under a resting one do not take the selection.
list.addEventListener("pointermove", (event) => {
  if (event.pointerType !== "mouse" || isOpen()) return;
  const row = event.target.closest("li");
  if (row && offersActions(row)) {
    if (!pointing || !row.classList.contains("is-selected")) point(row, "mouse");
  } else if (pointing === "mouse") {
    leave({ isKept: hasFocus() });
  }
});
list.addEventListener("pointerleave", () => pointing === "mouse" && leave({ isKept: hasFocus() }));

list.addEventListener("click", (event) => {
  const undo = event.target.closest("[data-undo]");
  if (undo) {
    act("restore", Number(undo.dataset.undo));
    leaveSoon();
    // The button goes with the row's state, and would take the focus with it.
    scroller.focus({ preventScroll: true });
    return;
  }
  const row = rowMeant(event);
  if (!row || event.target.closest("a")) return;
  if (offersActions(row)) point(row, event.pointerType === "mouse" ? "mouse" : "touch");
  else leave();
});

document.addEventListener("click", (event) => {
  if (menu.contains(event.target)) return;
  close();
  if (!list.contains(event.target)) leave();
});

// --- keys -------------------------------------------------------------------------------------

const shown = () => [...list.children].filter((row) => !row.hidden);

/** Bring a comment into view as the selected one. At the newest, following goes on. */
function show(row) {
  if (row === shown().at(-1)) {
    select(row);
    pointing = "";
    release("selection");
  } else {
    point(row, "keys");
  }
  row.scrollIntoView({ block: "nearest" });
  read(textOf(row));
}

// The stream takes the keyboard: j/k or arrows choose a comment, Enter opens its menu.
function step(by) {
  const rows = shown();
  if (!rows.length) return;
  const at = rows.findIndex((row) => Number(row.dataset.number) === selected);
  show(at < 0 ? rows.at(-1) : rows[Math.min(rows.length - 1, Math.max(0, at + by))]);
}

function isInView(row) {
  const { top, bottom } = row.getBoundingClientRect();
  const view = scroller.getBoundingClientRect();
  const seen = Math.min(bottom, view.bottom) - Math.max(top, view.top);
  return seen >= Math.min(bottom - top, LINE);
}

/** Act on the selected comment by a key. Out of sight it is only shown: nobody removes unseen. */
function onSelected(doIt) {
  const row = rowOf(selected);
  if (!row || row.hidden) return;
  if (isInView(row)) doIt();
  else show(row);
}

const openMenu = () => !button.hidden && open();

const KEYS = {
  j: () => step(1),
  ArrowDown: () => step(1),
  k: () => step(-1),
  ArrowUp: () => step(-1),
  // Who may not undo it is asked, by the menu.
  d: () => onSelected(isStaff() ? () => act("remove", selected) : openMenu),
  u: () => onSelected(() => act("restore", selected)),
  Enter: () => onSelected(openMenu),
  // As the pill does. The browser's own End goes to where the end was: a busy stream is further by then.
  End() {
    leave();
    toBottom();
  },
  Escape: () => leave(),
};

scroller.addEventListener("keydown", (event) => {
  if (event.target !== scroller || event.ctrlKey || event.metaKey || event.altKey) return;
  if (!KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

scroller.addEventListener("focusout", ({ relatedTarget }) => {
  // Another window in front takes the focus from all of this page, and gives it back.
  if (pointing !== "keys" || !document.hasFocus()) return;
  if (!scroller.contains(relatedTarget) && !menu.contains(relatedTarget)) leave();
});
