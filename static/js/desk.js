// The desk's list of jobs: times in the reader's own words, and the end of a job said for the ear.

import { localise } from "./times.js";

const jobs = document.getElementById("jobs");
const announce = document.getElementById("announce");

const states = () => new Map([...jobs.children].map((job) => [job.id, job.dataset.state]));
let known = states();

jobs.addEventListener("htmx:ws:after:message:incoming", () => {
  localise(jobs);
  const now = states();
  for (const [id, state] of now) {
    const words = announce.dataset[state];
    if (words && known.has(id) && known.get(id) !== state) {
      const kind = document.getElementById(id).querySelector(".job-kind").textContent;
      announce.textContent = words.replace("%s", kind);
    }
  }
  known = now;
});
