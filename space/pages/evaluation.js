// A number of a confusion matrix asks for the photos behind it.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-model]");
  if (!button) return;
  element.querySelector("button[aria-pressed]")?.removeAttribute("aria-pressed");
  button.setAttribute("aria-pressed", "true");
  trigger("cell", { ...button.dataset });
});
