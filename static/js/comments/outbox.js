// Actions on their way. Each has a key, and is sent again with it until it is answered: after a lost
// connection, a lost answer, or an answer that says "perhaps". The key makes that harmless.

import { send } from "./link.js";
import { tell, tellRefusal, told } from "./notice.js";

const ANSWER_WITHIN = 10_000; // ms after which an unanswered action is sent again

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
 * `onAnswer` the answer's element, once, or null where this page gets none any more.
 */
export function request(action, { onState = () => {}, onAnswer = () => {} }) {
  const entry = { action: { key: newKey(), ...action }, onState, onAnswer, timer: 0 };
  waiting.set(entry.action.key, entry);
  attempt(entry);
}

function attempt(entry) {
  clearTimeout(entry.timer);
  if (send(entry.action)) {
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

// Answers come to #answers, one at a time, each for whoever in this page asked.
new MutationObserver(() => {
  for (const answer of [...answers.children]) {
    answer.remove();
    const { ack, refused, code, retryAfter } = answer.dataset;
    const entry = waiting.get(ack ?? refused);
    if (!entry) {
      if (refused !== undefined) tellRefusal(answer);
    } else if (code === "try_again") {
      // Nobody knows whether it was stored. The same key again finds out.
      clearTimeout(entry.timer);
      entry.timer = setTimeout(attempt, Number(retryAfter) * 1000, entry);
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
  for (const entry of waiting.values()) attempt(entry);
});
panel.addEventListener("link:closed", () => {
  for (const entry of waiting.values()) entry.onState("waiting");
});
panel.addEventListener("link:ended", () => {
  for (const entry of [...waiting.values()]) settle(entry, null);
});
