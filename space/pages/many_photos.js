// Which photo is looked at, and what the person says it is. Nothing of this waits for the server.

const photos = () => [...element.querySelectorAll("tr[data-row]")];
const buttons = () => [...element.querySelectorAll("[data-label]")];
const nameOf = (label) => buttons()[label].querySelector("span").textContent;
const categoryOf = ({ dataset }) => (dataset.set ? nameOf(dataset.set) : dataset.decision);
let chosen;

const choose = (row, focus) => {
  chosen?.setAttribute("tabindex", "-1");
  chosen?.removeAttribute("aria-selected");
  chosen = row;
  row.setAttribute("tabindex", "0");
  row.setAttribute("aria-selected", "true");
  const panel = element.querySelector(".panel");
  const [picture, why] = panel.querySelectorAll("img, .why");
  picture.src = row.querySelector("img").src;
  picture.alt = row.querySelector(".path").textContent;
  why.textContent = `${picture.alt}: ${row.dataset.why}`;
  const percents = row.dataset.probabilities.split(" ");
  panel.querySelectorAll("tbody tr").forEach((category, label) => {
    category.querySelectorAll("td .line").forEach((line, model) => {
      const percent = percents[model * buttons().length + label];
      line.querySelector(".bar span").style.width = `${percent}%`;
      line.lastChild.textContent = `${Math.round(percent)}%`;
    });
  });
  panel.hidden = false;
  press();
  if (focus) row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
  panel.scrollIntoView({ block: "nearest" });
};

const press = () => {
  for (const button of buttons()) {
    button.setAttribute("aria-pressed", nameOf(button.dataset.label) === categoryOf(chosen));
  }
};

const step = (by, focus) => {
  const next = photos()[photos().indexOf(chosen) + by];
  if (next) choose(next, focus);
};

const set = (label, focus) => {
  if (label === undefined) delete chosen.dataset.set;
  else chosen.dataset.set = label;
  const category = categoryOf(chosen) || "not set";
  chosen.querySelector(".category").textContent = category;
  element.querySelector("[role=status]").textContent =
    `${chosen.querySelector(".path").textContent}: ${category}.`;
  const corrected = element.querySelector("[data-set]");
  element.querySelector("[data-file='corrections.zip']").disabled = !corrected;
  press();
  if (label !== undefined) step(1, focus);
};

element.addEventListener("keydown", (event) => {
  if (!chosen || event.ctrlKey || event.metaKey || event.altKey) return;
  const { key } = event;
  if (key === "j" || key === "ArrowDown") step(1, true);
  else if (key === "k" || key === "ArrowUp") step(-1, true);
  else if (key === "0") set(undefined, true);
  else if (key >= "1" && Number(key) <= buttons().length) set(Number(key) - 1, true);
  else return;
  event.preventDefault();
  keep();
});

element.addEventListener("click", (event) => {
  const { label, file } = event.target.closest("button")?.dataset ?? {};
  const row = event.target.closest("tr[data-row]");
  if (row) choose(row, true);
  else if (label) set(Number(label), false);
  else if (file) {
    const corrected = [...element.querySelectorAll("[data-set]")];
    const corrections = corrected.map(({ dataset }) => [dataset.row, Number(dataset.set)]);
    trigger("download", { file, corrections: Object.fromEntries(corrections) });
  }
  if (chosen) keep();
});

// The server deletes the photos ten minutes after the last word from here.
let kept = 0;
const keep = () => {
  if (Date.now() - kept < 60000) return;
  kept = Date.now();
  trigger("keep");
};

// The next batch, while one is left, or an older drop's answer came after a newer one's. Asked
// again now and then: a queue that is full forgets who stood in it.
let newest = 0;
const more = () => {
  const drop = Number(element.querySelector("[data-drop]")?.dataset.drop ?? newest);
  newest = Math.max(newest, drop);
  if (drop === newest && !element.querySelector("[role=progressbar]")) return;
  keep();
  trigger("more");
};
setInterval(more, 3000);

watch("value", () => {
  const [first] = photos();
  chosen = undefined;
  if (first) choose(first, true);
  more();
});
