// Runs once, when the table is first shown. One question at a time goes to the server, as an `ask`
// event: while one is under way only the newest wish is kept, and an answer to an older one is
// dropped. The rows live in the table's fields, and what the models saw of the photo in its
// pictures: the server keeps nothing.

let number = 0; // of the newest wish
let asked = 0; // of the question that is under way; 0: none
let photo = null; // an upload that no answer has shown yet; "": no photo; null: see the pictures
let explained = null;
let focusNext = "";
let button; // that asked for the heat maps
let typing = 0; // the timer of a text that is being typed
let patience;
let failures = 0;

const all = (selector) => [...element.querySelectorAll(selector)];
const rows = () =>
  all("tbody tr").map((row) => ({
    trained: row.dataset.trained,
    name: row.querySelector(".name").value,
    text: row.querySelector(".text").value,
  }));
const seen = () =>
  Object.fromEntries(all("img[data-model]").map((image) => [image.dataset.model, image.src]));
const say = (text) => {
  const place = element.querySelector(".busy");
  if (place.textContent !== text) place.textContent = text;
};

// What is shown no longer answers what is asked.
const outdate = () => {
  number += 1;
  clearTimeout(typing);
  typing = 0;
  element.classList.add("waiting");
  element.setAttribute("aria-busy", "true");
};
const wish = (rowsToExplain = null) => {
  outdate();
  explained = rowsToExplain;
  failures = 0;
  ask();
};
const ask = () => {
  if (asked || typing) return;
  asked = number;
  // The attribute tells Gradio what the field holds; without it, an answer to an older state of
  // the field would overwrite what was typed in the meantime.
  for (const field of all(".name, .text")) field.setAttribute("value", field.value);
  const pictures = photo === null ? seen() : {};
  trigger("ask", { number, rows: rows(), explained, photo: photo || null, seen: pictures });
  clearTimeout(patience);
  patience = setTimeout(() => say("The demo is busy; the answer will come."), 8000);
};

document.addEventListener("compare-answer", ({ detail }) => {
  const of = Number(/data-number="(\d+)"/.exec(detail)[1]);
  if (of === asked) asked = 0;
  clearTimeout(patience);
  failures = 0;
  if (of !== number) return ask();
  element.classList.remove("waiting");
  element.removeAttribute("aria-busy");
  props.value = detail;
  queueMicrotask(() => {
    // A photo that could not be read is asked for again by the next wish.
    if (photo && all("img[data-model]").length) photo = null;
    if (focusNext) element.querySelector(focusNext)?.focus();
    focusNext = "";
  });
});

// A full queue, or a server that failed: the same is asked again, more and more patiently.
document.addEventListener("compare-failed", () => {
  asked = 0;
  clearTimeout(patience);
  say("The demo is busy; it asks again by itself.");
  const wait = Math.min(1000 * 2 ** failures, 30000);
  failures += 1;
  setTimeout(ask, wait);
});

document.addEventListener("compare-photo", ({ detail }) => {
  photo = detail?.path ?? "";
  wish();
});

// From the Texts tab, a text a category.
document.addEventListener("compare-texts", ({ detail }) => {
  const categories = about("categories");
  const textOf = ({ trained, text }) => detail[categories.indexOf(trained)] ?? text;
  show(about("study").map((row) => ({ ...row, text: textOf(row) })));
  wish();
});

const about = (name) => JSON.parse(element.querySelector(".answer").dataset[name]);
const fill = (row, { trained, name, text }) => {
  row.dataset.trained = trained;
  row.querySelector(".name").value = name;
  row.querySelector(".text").value = text;
};
const add = (row) => {
  const body = element.querySelector("tbody");
  const added = body.firstElementChild.cloneNode(true);
  for (const part of added.querySelectorAll(".number, .ask, .mark, .score small")) {
    part.textContent = "";
  }
  for (const bar of added.querySelectorAll(".bar span")) bar.style.width = "0";
  body.append(added);
  fill(added, row);
  return added;
};
const show = (wanted) => {
  const table = all("tbody tr");
  table.slice(wanted.length).forEach((row) => row.remove());
  wanted.forEach((row, index) => (table[index] ? fill(table[index], row) : add(row)));
};

element.addEventListener("input", () => {
  outdate();
  explained = null;
  typing = setTimeout(() => wish(), 350);
});

element.addEventListener("click", (event) => {
  const pressed = event.target.closest("button");
  if (!pressed) return;
  if (pressed.matches(".fold")) {
    element.classList.toggle("editing");
  } else if (pressed.matches(".why")) {
    button = pressed;
    focusNext = ".explanation";
    const row = all("tbody tr").indexOf(pressed.closest("tr"));
    const rowsOfModels = JSON.parse(pressed.dataset.rows);
    wish(row < 0 ? rowsOfModels : rowsOfModels.map(() => row));
  } else if (pressed.matches(".close")) {
    wish();
    button?.focus();
  } else if (pressed.matches(".restore")) {
    show(about("study"));
    wish();
  } else if (pressed.matches(".add")) {
    element.classList.add("editing");
    pressed.disabled = rows().length + 1 >= about("limit");
    add({ trained: "", name: "", text: "" }).querySelector(".name").focus();
    wish();
  } else if (pressed.matches(".remove")) {
    const row = pressed.closest("tr");
    if (row.dataset.trained) row.querySelector(".text").value = "";
    else row.remove();
    element.querySelector(".verdict .why")?.remove(); // it counts the rows that were
    wish();
  }
});
