// The comments of a video page. Loaded before htmx, whose first connection it has to see.

import { localise } from "../times.js";
import "./link.js";
import "./rows.js";
import "./composer.js";
import "./name.js";
import "./menu.js";

const panel = document.getElementById("panel");

// The video's state comes anew with its times as the server writes them.
panel.addEventListener("htmx:ws:after:message:incoming", () => {
  localise(document.getElementById("video-state"));
});
