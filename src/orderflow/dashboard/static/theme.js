// Loaded before the page is drawn, so that it never appears in the wrong theme.
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

function show(theme) {
  root.dataset.theme = theme;
  dispatchEvent(new Event("themechange"));
}

const chosen = () => localStorage.getItem("theme");
show(chosen() ?? (system.matches ? "dark" : "light"));
system.addEventListener("change", () => chosen() ?? show(system.matches ? "dark" : "light"));
addEventListener("DOMContentLoaded", () => {
  document.getElementById("theme")?.addEventListener("click", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", theme);
    show(theme);
  });
  if (location.search === "?wrong") root.dataset.wrong = "";
});
