// The connection: asks for what the page lacks, says what state it is in, and sends actions.
// htmx's hx-ws opens and reopens the socket; this module gives it the cursor and the delays.

import { say } from "./words.js";

const CONNECT_WITHIN = 15_000; // ms
const FIRST_DELAY = 1000; // ms; doubled with every failure in a row
const LONGEST_DELAY = 30_000;
const QUIET_CONNECTING = 2000; // ms; that a page which opens is connecting need not be said before
const DEAD_AFTER = 40_000; // ms without a frame; the server's heartbeat comes every 15 to 17 s
// Of one frame, as the server counts it (docs/contract.md); four times as much closes the socket.
const FRAME_BYTES = 16 * 1024;
// The network, a restart, a server in trouble. All other codes blame a message of ours.
const BLAMELESS = new Set([1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015]);

const panel = document.getElementById("panel");
const list = document.getElementById("comments");
const state = document.getElementById("link-state"); // for the ear
const line = document.getElementById("link-line"); // for the eye

let connection = null; // hx-ws's own record of the socket
let failures = 0;
let wasOpen = false;
let leaving = false;
let ended = false; // closed for good: the page does not come back by itself
let retryAt = 0; // by the clock of timers, which does not jump when the computer's is set
let heard = 0; // when the last frame came, by the clock that goes on in sleep
let current = false; // a frame came over this connection: what was missed is there
let watched = null; // the socket that the last look found, and since when
let watchedSince = 0;
let ticking = 0;

/** Whether a frame sent now would reach the server. */
export function isOpen() {
  return connection?.socket?.readyState === WebSocket.OPEN;
}

const isConnecting = () => connection?.socket?.readyState === WebSocket.CONNECTING;

/** Whether the page shows what it missed while it was away. */
export const isCurrent = () => isOpen() && current;

/** Whether this page follows no more, until it is reloaded. */
export const hasEnded = () => ended;

/** Whether the server would read this action. */
export const fits = (action) =>
  new TextEncoder().encode(JSON.stringify(action)).length <= FRAME_BYTES;

/** Send an action now; false when there is no connection to send it over. */
export function send(action) {
  if (!isOpen()) return false;
  connection.socket.send(JSON.stringify(action));
  return true;
}

function show(name, words = "", spoken = words) {
  panel.dataset.link = name;
  line.textContent = words;
  line.hidden = !words;
  // Written again it would be read again.
  if (state.textContent !== spoken) state.textContent = spoken;
}

function withCursor() {
  const url = new URL(connection.url);
  url.searchParams.set("cursor", list.dataset.cursor);
  // Whose rows these are: who is not a moderator any more is to be given others.
  const isStaff = document.getElementById("role").dataset.staff === "true";
  url.searchParams.set("audience", isStaff ? "staff" : "public");
  connection.url = url.href;
}

function countDown() {
  clearTimeout(ticking);
  if (isOpen() || ended) return;
  const seconds = Math.ceil((retryAt - performance.now()) / 1000);
  show("offline", seconds > 0 ? say("offline", seconds) : say("offlineNow"), say("offlineSaid"));
  if (seconds > 0) ticking = setTimeout(countDown, 1000);
}

panel.addEventListener("htmx:ws:before:connection", (event) => {
  connection = event.detail.connection;
  withCursor();
  if (failures || wasOpen) return;
  show("connecting");
  ticking = setTimeout(show, QUIET_CONNECTING, "connecting", say("connecting"));
});

panel.addEventListener("htmx:ws:after:connection", () => {
  clearTimeout(ticking);
  wasOpen = true;
  current = false;
  heard = Date.now();
  show("open");
  panel.dispatchEvent(new CustomEvent("link:open"));
});

/** The connection is gone: say so, and draw the delay after which to try again. */
function lost() {
  panel.dispatchEvent(new CustomEvent("link:closed"));
  // Full jitter, so that everybody who was cut at once does not come back at once.
  const ceiling = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** (failures + 1));
  const delay = Math.round(Math.random() * ceiling);
  failures += 1;
  retryAt = performance.now() + delay;
  countDown();
  return delay;
}

/** Open the socket again now; hx-ws does so when a page is shown whose socket is closed. */
function reopen() {
  if (!connection || isOpen() || ended || document.hidden) return;
  clearTimeout(connection.timer);
  document.dispatchEvent(new Event("visibilitychange"));
}

/** Leave a socket that the browser takes for alive: it would wait a minute for a dead peer. */
function giveUp() {
  connection.abortController.abort();
  connection.socket.close();
  connection.socket = null;
  withCursor();
  connection.timer = setTimeout(reopen, lost());
}

panel.addEventListener("htmx:ws:close", (event) => {
  const { code, reason } = event.detail;
  if (reason === "removed" || (leaving && code === 1000)) return;
  withCursor(); // hx-ws reopens a hidden tab's socket without asking again
  if (code >= 4000) {
    ended = true;
    clearTimeout(ticking);
    show("ended", say("closed"));
    panel.dispatchEvent(new CustomEvent("link:ended"));
    return;
  }
  if (!BLAMELESS.has(code)) {
    panel.dispatchEvent(new CustomEvent("link:blamed", { detail: { code } }));
  }
  if (document.hidden) {
    panel.dispatchEvent(new CustomEvent("link:closed"));
    return;
  }
  // hx-ws waits for the delay that is drawn here: its own jitter is too narrow. And it comes back
  // after every code that is not for good: of its own accord it would, after some, do so never.
  Object.assign(connection.config, {
    reconnectCodes: [code],
    reconnectDelay: lost(),
    reconnectJitter: 0,
  });
  connection.attempt = 0;
});

// Only a frame shows that the server can serve: one that accepts and closes again is no success.
panel.addEventListener("htmx:ws:after:message:incoming", (event) => {
  heard = Date.now();
  // What was missed comes first, but where it has to be read an answer may be faster.
  if (!current && !String(event.detail.message.data).includes('hx-target="#answers"')) {
    current = true;
    panel.dispatchEvent(new CustomEvent("link:current"));
  }
  if (!failures) return;
  failures = 0;
  show("open", say("back"));
  ticking = setTimeout(() => isOpen() && show("open"), 4000);
});

// A link can be dead without the browser knowing: after sleep, on a lost network.
setInterval(() => {
  heard = Math.min(heard, Date.now()); // set back, the clock would hide the silence for as long
  const silent = isOpen() && Date.now() - heard > DEAD_AFTER;
  // When a socket was made, only hx-ws knows: at a timer, when the page is shown, late after sleep.
  if (watched !== connection?.socket) {
    watched = connection?.socket;
    watchedSince = performance.now();
  }
  const stuck = isConnecting() && performance.now() - watchedSince > CONNECT_WITHIN;
  if (silent || stuck) giveUp();
}, 5000);
addEventListener("offline", () => isOpen() && giveUp());

// Back on line: do not wait for the timer.
addEventListener("online", reopen);

// Leaving the page, hx-ws closes its socket and forgets it; from the back/forward cache the page
// is processed anew and resumes from its cursor.
addEventListener("pagehide", () => {
  leaving = true;
});
addEventListener("pageshow", (event) => {
  leaving = false;
  if (!event.persisted) return;
  ended = false;
  window.htmx.process(panel, true);
});
