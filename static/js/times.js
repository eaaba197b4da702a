/* Fills <time datetime data-format> in the reader's zone and habits.

   The server renders one text for everyone, in UTC; here it becomes the reader's own:
     clock     1:22                        hour and minute; the date is its title
     date      Oct 3, 2026, 7:30 PM        medium date, short time
     relative  in 2 hours, 1 hr 24 min ago (kept true while the page stands; the date is its title)
*/

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const REFRESH_MS = 30_000;

// The page's language for the words; of the reader's own locales the one that speaks it, because
// it knows whether they say 13:22 or 1:22 PM.
const language = document.documentElement.lang || "en";
const locale =
  navigator.languages.find((own) => own.split("-")[0] === language.split("-")[0]) ?? language;

const clock = new Intl.DateTimeFormat(locale, { hour: "numeric", minute: "2-digit" });
const date = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const relation = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const always = new Intl.RelativeTimeFormat(language, { numeric: "always" });

function inUnit(count, unit, unitDisplay) {
  return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay }).format(count);
}

/* "1 hr 24 min ago": no Intl object says two units and a direction, so the two units take the
   place that "84 minutes" has in "84 minutes ago". Where a language bends the words (they are not
   found) the plain sentence stays. */
function minutesAgo(minutes) {
  const plain = always.format(-minutes, "minute");
  if (minutes < 60) return plain;
  const hours = Math.floor(minutes / 60);
  const rest = minutes % 60;
  if (rest === 0) return always.format(-hours, "hour");
  const both = `${inUnit(hours, "hour", "short")} ${inUnit(rest, "minute", "short")}`;
  return plain.replace(inUnit(minutes, "minute", "long"), both);
}

/* The words for `seconds` from now; negative is past. */
export function relative(seconds) {
  const distance = Math.abs(seconds);
  const sign = Math.sign(seconds);
  if (distance < 45) return relation.format(0, "second");
  if (distance >= DAY) return relation.format(sign * Math.round(distance / DAY), "day");
  if (sign < 0) return minutesAgo(Math.max(1, Math.floor(distance / MINUTE)));
  if (distance < 90 * MINUTE) return always.format(Math.ceil(distance / MINUTE), "minute");
  return always.format(Math.round(distance / HOUR), "hour");
}

function fill(time) {
  const moment = new Date(time.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  switch (time.dataset.format) {
    case "clock":
      // Narrow, as it stands at the edge of every comment: the rest is in its title.
      time.textContent = clock
        .formatToParts(moment)
        .map(({ type, value }) => (type === "dayPeriod" ? "" : value))
        .join("")
        .trim();
      time.title = date.format(moment);
      break;
    case "date":
      time.textContent = date.format(moment);
      break;
    case "relative": {
      const words = relative((moment - Date.now()) / 1000);
      // Writing the same words again would make a screen reader say them again.
      if (time.textContent !== words) time.textContent = words;
      time.title = date.format(moment);
      break;
    }
  }
}

/* Localise every time in `root` (a document, a fragment or an element), and `root` itself. */
export function localise(root) {
  if (root instanceof Element && root.matches("time[data-format]")) fill(root);
  root.querySelectorAll("time[data-format]").forEach(fill);
}

localise(document);
setInterval(() => {
  if (!document.hidden) document.querySelectorAll('time[data-format="relative"]').forEach(fill);
}, REFRESH_MS);
