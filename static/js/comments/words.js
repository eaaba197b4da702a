// The words of the page's language, as the server wrote them into <template id="words">.

const words = document.getElementById("words").dataset;

/** The sentence `name` with %s filled in. */
export function say(name, value = "") {
  return words[name].replace("%s", () => value); // a function: "$&" in a name means nothing
}
