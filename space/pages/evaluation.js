// A cell of a confusion matrix, clicked or chosen by Enter or Space, asks for the photos behind it.
const ask = (event) => {
  const cell = event.target.closest(".cell");
  if (!cell) return;
  event.preventDefault();
  element.querySelector(".cell[aria-pressed]")?.removeAttribute("aria-pressed");
  cell.setAttribute("aria-pressed", "true");
  const [model, row, column] = cell.id.split("cell-")[1].split("-");
  trigger("cell", { model, row, column });
};
element.addEventListener("click", ask);
element.addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") ask(event);
});
