// Light, dark, or as the system: kept in this browser.
import { signal } from "../lib/html.js";

const KEY = "conveyor-theme";

/** "light", "dark", or "" for the system's. */
export const theme = signal(stored());
/** Grows when colours change, for what is drawn on a canvas. */
export const themeChanged = signal(0);

export const themeName = () => theme.value || "as the system";

export function turnTheme() {
  setTheme({ "": "dark", dark: "light", light: "" }[theme.value]);
}

function setTheme(value) {
  theme.value = value;
  try {
    if (value) localStorage.setItem(KEY, value);
    else localStorage.removeItem(KEY);
  } catch {
    // Without storage the choice lasts for this page.
  }
  apply();
}

function stored() {
  try {
    return localStorage.getItem(KEY) || "";
  } catch {
    return "";
  }
}

function apply() {
  if (theme.value) document.documentElement.dataset.theme = theme.value;
  else delete document.documentElement.dataset.theme;
  themeChanged.value += 1;
}

apply();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  themeChanged.value += 1;
});
