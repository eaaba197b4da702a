// Actions on a comment: one menu for all rows, by mouse, touch and keyboard. Which actions there
// are depends on the page's role; whether they are allowed, the server decides each time.

import { tell, tellRefusal } from "./notice.js";
import { request } from "./outbox.js";
import { isStaff, read, rowOf, textOf } from "./rows.js";
import { say } from "./words.js";

const panel = document.getElementById("panel");
const scroller = document.getElementById("stream");
const list = document.getElementById("comments");
const button = document.getElementById("row-menu-button");
const menu = document.getElementById("row-menu");

let selected = 0; // number of the comment that the button stands at, and the keys act on

const removed = (row) => row.dataset.state === "removed";

const ALLOWED = {
  remove: (row) => !removed(row) && (isStaff() || row.classList.contains("is-mine")),
  restore: (row) => removed(row) && isStaff(),
};

function act(action, number) {
  const row = rowOf(number);
  if (!row || !ALLOWED[action](row)) return;
  const seen = row.dataset.change;
  request(
    { action, number },
    {
      // Meant for the comment as it was then. If it has changed since, either this is done, its
      // answer was lost, or somebody has decided otherwise, knowing more. A row that has left the
      // page tells nothing.
      isOvertaken() {
        const now = rowOf(number);
        if (!now || now.dataset.change === seen) return false;
        if (ALLOWED[action](now)) tell(say("overtaken"), "overtaken");
        return true;
      },
      onState: (state) => state === "waiting" && tell(say("keptAction"), "kept"),
      onAnswer: (answer) => answer?.dataset.refused !== undefined && tellRefusal(answer),
    },
  );
}

function select(row) {
  rowOf(selected)?.classList.remove("is-selected");
  selected = Number(row.dataset.number);
  row.classList.add("is-selected");
  const any = Object.values(ALLOWED).some((allowed) => allowed(row));
  button.hidden = !any;
  // Moving it again under a press would lose the click.
  if (any && button.parentElement !== row) row.append(button);
}

// A new state replaces its row, and with it the selection and the button.
panel.addEventListener("rows:changed", () => {
  const row = rowOf(selected);
  if (row && !row.classList.contains("is-selected")) select(row);
  if (button.isConnected) return;
  button.hidden = true; // its row has left the page
  panel.append(button);
});

function items() {
  return [...menu.children].filter((item) => !item.hidden);
}

function open() {
  const row = rowOf(selected);
  if (!row) return;
  for (const item of menu.children) item.hidden = !ALLOWED[item.dataset.action](row);
  menu.showPopover();
  const at = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = at.bottom + height + 8 < innerHeight;
  menu.style.insetInlineStart = "auto";
  menu.style.left = `${Math.max(8, at.right - width)}px`;
  menu.style.top = `${below ? at.bottom + 4 : at.top - height - 4}px`;
  button.setAttribute("aria-expanded", "true");
  items()[0]?.focus();
}

function close({ refocus = false } = {}) {
  if (!menu.matches(":popover-open")) return;
  menu.hidePopover();
  button.setAttribute("aria-expanded", "false");
  if (refocus) scroller.focus({ preventScroll: true });
}

button.addEventListener("click", (event) => {
  event.stopPropagation();
  if (menu.matches(":popover-open")) close();
  else open();
});

menu.addEventListener("click", (event) => {
  const item = event.target.closest("[data-action]");
  if (!item) return;
  act(item.dataset.action, selected);
  close({ refocus: true });
});

menu.addEventListener("keydown", (event) => {
  const all = items();
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus();
  } else if (event.key === "Escape" || event.key === "Tab") {
    event.preventDefault();
    close({ refocus: true });
  }
});

document.addEventListener("click", (event) => {
  if (!menu.contains(event.target)) close();
});
scroller.addEventListener("scroll", () => close(), { passive: true });

// Of a mouse that moves: rows that scroll by under a resting one do not take the selection.
list.addEventListener("pointermove", (event) => {
  if (event.pointerType !== "mouse" || menu.matches(":popover-open")) return;
  const row = event.target.closest("li");
  if (row && !row.classList.contains("is-selected")) select(row);
});

list.addEventListener("click", (event) => {
  const undo = event.target.closest("[data-undo]");
  if (undo) {
    act("restore", Number(undo.dataset.undo));
    // The button goes with the row's state, and would take the focus with it.
    scroller.focus({ preventScroll: true });
    return;
  }
  const row = event.target.closest("li");
  if (row && !event.target.closest("a")) select(row);
});

// The stream takes the keyboard: j/k or arrows choose a comment, Enter opens its menu.
function step(by) {
  const rows = [...list.children].filter((row) => !row.hidden);
  if (!rows.length) return;
  const at = rows.findIndex((row) => Number(row.dataset.number) === selected);
  const next = at < 0 ? rows.length - 1 : Math.min(rows.length - 1, Math.max(0, at + by));
  select(rows[next]);
  rows[next].scrollIntoView({ block: "nearest" });
  read(textOf(rows[next]));
}

const KEYS = {
  j: () => step(1),
  ArrowDown: () => step(1),
  k: () => step(-1),
  ArrowUp: () => step(-1),
  d: () => act("remove", selected),
  u: () => act("restore", selected),
  Enter: () => !button.hidden && open(),
};

scroller.addEventListener("keydown", (event) => {
  if (event.target !== scroller || event.ctrlKey || event.metaKey || event.altKey) return;
  if (!KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
