// The field in which select2 (of Django's autocomplete_fields) is typed into has no label of its own:
// it takes that of the list it belongs to. Can go when axe finds nothing without it.

// After select2 itself, which waits in the same queue.
window.django.jQuery(() => {
  for (const field of document.querySelectorAll(".select2-search__field")) {
    const list = field.closest(".select2-container").parentElement.querySelector("select");
    const words = list.labels[0]?.textContent.trim().replace(/:$/, "");
    if (words) field.setAttribute("aria-label", words);
  }
});
