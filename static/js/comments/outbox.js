// Actions on their way. Each has a key, and is sent again with it until it is answered: after a lost
// connection, a lost answer, or an answer that says "perhaps". The key makes that harmless.

import { fits, hasEnded, isCurrent, isOpen, send } from "./link.js";
import { tell, tellRefusal, told } from "./notice.js";
import { say } from "./words.js";

const ANSWER_WITHIN = 10_000; // ms after which an unanswered action is sent again
const TRY_AGAIN_AFTER = 2000; // ms, where "perhaps" does not say
// An outage of a minute is gone through, but nothing is tried for ever: what cuts each connection
// that it is sent over, or is never answered, must not hold the page for good.
const TRIES = 30;
// Refused with one of these and without a key: a frame that was not even read.
const UNREAD = new Set(["too_long", "malformed"]);

const panel = document.getElementById("panel");
const answers = document.getElementById("answers");
const waiting = new Map(); // key -> what is on its way

// randomUUID exists in secure contexts only; a phone on the local network is none.
export const newKey = () =>
  crypto.randomUUID?.() ??
  "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (c) =>
    (c ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (c / 4)))).toString(16),
  );

/**
 * Send an action, now or as soon as there is a connection. `onState` hears "sending" or "waiting";
 * `onAnswer` the answer's element, once, or null where this page gets none any more: the refusal may
 * be the page's own, and come at once. An action with `isOvertaken` waits until the page has what it
 * missed, and is sent (again) only while that is false.
 */
export function request(action, { isOvertaken = null, onState = () => {}, onAnswer = () => {} }) {
  const entry = { action: { key: newKey(), as: panel.dataset.as, ...action }, isOvertaken, onState, onAnswer };
  Object.assign(entry, { timer: 0, tries: 0, isOut: false });
  waiting.set(entry.action.key, entry);
  if (!fits(entry.action)) refuse(entry, "tooMuch", "too_long");
  else if (hasEnded()) end(entry);
  else attempt(entry);
}

function attempt(entry) {
  clearTimeout(entry.timer);
  if (entry.isOvertaken && isOpen()) {
    if (!isCurrent()) return;
    if (entry.isOvertaken()) {
      waiting.delete(entry.action.key);
      return;
    }
  }
  if (entry.tries === TRIES) {
    refuse(entry, "unanswered", "unanswered");
  } else if (send(entry.action)) {
    entry.tries += 1;
    entry.isOut = true;
    entry.onState("sending");
    entry.timer = setTimeout(attempt, ANSWER_WITHIN, entry);
  } else {
    entry.onState("waiting");
  }
}

function settle(entry, answer) {
  clearTimeout(entry.timer);
  waiting.delete(entry.action.key);
  entry.onAnswer(answer);
}

/** Take back what was never sent: nobody hears of it any more. */
export function withdraw(key) {
  clearTimeout(waiting.get(key)?.timer);
  waiting.delete(key);
}

/** Answer with a refusal of the page's own, in the form of the server's where it cannot say whose
 * frame it refuses: without a key. */
function refuse(entry, word, code) {
  const answer = document.createElement("p");
  Object.assign(answer.dataset, { refused: "", code });
  answer.textContent = say(word);
  settle(entry, answer);
}

function end(entry) {
  // Where the server has said why, that stays.
  if (!told() || told() === "kept") tell(say("closed"), "ended");
  settle(entry, null);
}

/** What the server has, perhaps, and has not answered. */
const out = () => [...waiting.values()].filter((entry) => entry.isOut);

// Answers come to #answers, one at a time, each for whoever in this page asked.
new MutationObserver(() => {
  for (const answer of [...answers.children]) {
    answer.remove();
    const { ack, refused, code, retryAfter } = answer.dataset;
    const entry = waiting.get(ack ?? refused);
    if (!entry) {
      if (refused !== undefined) tellRefusal(answer);
      else panel.dispatchEvent(new CustomEvent("answer:late", { detail: answer }));
      if (refused === "" && UNREAD.has(code)) for (const unread of out()) settle(unread, answer);
    } else if (code === "try_again") {
      // Nobody knows whether it was stored. The same key again finds out.
      clearTimeout(entry.timer);
      entry.isOut = false;
      entry.timer = setTimeout(attempt, Number(retryAfter) * 1000 || TRY_AGAIN_AFTER, entry);
      entry.onState("waiting");
      tell(answer.textContent, code);
    } else {
      if (told() === "try_again") tell("");
      settle(entry, answer);
    }
  }
}).observe(answers, { childList: true });

panel.addEventListener("link:open", () => {
  if (told() === "kept") tell("");
  for (const entry of [...waiting.values()]) attempt(entry);
});
panel.addEventListener("link:current", () => {
  for (const entry of [...waiting.values()]) if (entry.isOvertaken) attempt(entry);
});
panel.addEventListener("link:closed", () => {
  for (const entry of waiting.values()) {
    entry.isOut = false;
    entry.onState("waiting");
  }
});
// Sent again, it would close the next connection too.
panel.addEventListener("link:blamed", ({ detail }) => {
  const [word, code] = detail.code === 1009 ? ["tooMuch", "too_long"] : ["notTaken", "not_taken"];
  for (const entry of out()) refuse(entry, word, code);
});
panel.addEventListener("link:ended", () => {
  for (const entry of [...waiting.values()]) end(entry);
});
