/* The player: HLS where the browser cannot play it itself, calm words where nothing plays, and
   what a change of state (it comes over the socket, in #video-state) means for the picture and for
   the shelf that the header names. */

const player = document.querySelector(".player");
const video = player?.querySelector("video") ?? null;

/* Show one of the messages over the poster, and only that one. */
function say(when) {
  for (const message of player.querySelectorAll("[data-when]")) {
    message.hidden = message.dataset.when !== when;
  }
}

/* Without a source the poster comes back; without controls nothing invites a press in vain. */
function giveUp() {
  video.removeAttribute("src");
  video.load();
  video.controls = false;
  say("error");
}

async function playHls() {
  const { default: Hls } = await import("../vendor/hls.js@1.7.4/hls.light.min.mjs");
  if (!Hls.isSupported()) {
    giveUp();
    return;
  }
  // Without a worker: one would need worker-src blob: in the page's policy.
  const hls = new Hls({ enableWorker: false });
  let recovered = false;
  hls.on(Hls.Events.ERROR, (_name, { fatal, type }) => {
    if (!fatal) return;
    if (type === Hls.ErrorTypes.MEDIA_ERROR && !recovered) {
      recovered = true;
      hls.recoverMediaError();
      return;
    }
    hls.destroy();
    giveUp();
  });
  hls.on(Hls.Events.MANIFEST_PARSED, () => {
    // Browsers may refuse to start by themselves; the controls are there.
    if (video.autoplay) video.play().catch(() => {});
  });
  hls.loadSource(video.dataset.hls);
  hls.attachMedia(video);
}

function start() {
  const { hls: playlist } = video.dataset;
  if (playlist && !video.canPlayType("application/vnd.apple.mpegurl")) {
    playHls().catch(giveUp);
    return;
  }
  // Errors of media do not bubble, and one may have come before this module did.
  video.addEventListener("error", giveUp);
  if (playlist) video.src = playlist;
  else if (video.error) giveUp();
}

/* In the header, the shelf that the video stands on now. */
function markShelf(state) {
  for (const link of document.querySelectorAll(".site-shelves a")) {
    if (link.dataset.state === state) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

/* Upcoming to live: the page that was loaded may not load the source, so it offers a new one.
   Live to ended: the picture runs out instead of beginning again. */
function followState(status) {
  let state = player.dataset.state;
  new MutationObserver(() => {
    const now = status.querySelector("#video-state")?.dataset.state;
    if (!now || now === state) return;
    markShelf(now);
    if (now === "live" && !video) say("started");
    if (now === "ended" && video) video.loop = false;
    if (now === "ended" && !video) say("ended");
    state = now;
  }).observe(status, { attributes: true, childList: true, subtree: true });
}

/* A link to a moment of a recording: #t=754, in seconds. */
function seek() {
  const at = /^#t=(\d{1,6})$/.exec(location.hash);
  if (!at || player.dataset.state !== "ended") return;
  const go = () => {
    video.currentTime = Number(at[1]);
  };
  if (video.readyState >= HTMLMediaElement.HAVE_METADATA) go();
  else video.addEventListener("loadedmetadata", go, { once: true });
}

if (player) {
  if (video) {
    start();
    seek();
    addEventListener("hashchange", seek);
  }
  const status = document.querySelector(".watch-status");
  if (status) followState(status);
}
