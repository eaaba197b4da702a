// The name that one writes under, and its form.

import { tell, tellNameRefusal, told } from "./notice.js";
import { request } from "./outbox.js";
import { say } from "./words.js";

const myName = document.getElementById("my-name");
const rename = document.getElementById("rename");
const renameOpen = document.getElementById("rename-open");

function showRename(open) {
  rename.hidden = !open;
  if (told() === "name") tell("");
  renameOpen.setAttribute("aria-expanded", String(open));
  if (open) rename.elements.name.select();
  else renameOpen.focus();
}

function renamed(answer) {
  const name = answer?.dataset.name;
  if (name === undefined) {
    if (answer) tellNameRefusal(answer);
    return;
  }
  myName.textContent = name;
  rename.elements.name.value = name;
  showRename(false);
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
