// What this tab remembers through a reload. Where nothing is stored, it lives as long as the page.

export function remember(name, text) {
  try {
    sessionStorage.setItem(name, text);
  } catch {
    forget(name); // full: better nothing than what is true no more
  }
}

function forget(name) {
  try {
    sessionStorage.removeItem(name);
  } catch {} // blocked
}

export function remembered(name) {
  try {
    return sessionStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}
