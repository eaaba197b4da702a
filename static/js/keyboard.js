/* The keyboard of a phone. Safari on iOS lays it over the page (it knows no interactive-widget); the
   page of a video then takes the height that is left, which watch.css reads from a property. */

const view = window.visualViewport;
const root = document.documentElement;

function fit() {
  // Zoomed in, less of the page is in view, but no less of it is there.
  root.style.setProperty("--window-height", `${view.height * view.scale}px`);
  // To show what is typed, Safari pushes up also a page that does not scroll.
  const isWhole = root.scrollHeight <= root.clientHeight;
  if (isWhole && view.scale === 1) scrollTo({ top: 0, behavior: "instant" });
}

if (view) {
  view.addEventListener("resize", fit);
  fit();
}
