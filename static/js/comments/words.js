// The words of the page's language, as the server wrote them into <template id="words">.

const words = document.getElementById("words").dataset;

/** The sentence `name` with each %s filled in, in turn. */
export function say(name, ...values) {
  return words[name].replaceAll("%s", () => values.shift()); // a function: "$&" in a name means nothing
}
