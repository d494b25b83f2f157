// Runs once, when the table is first shown: edits of names and texts, and questions for the heat
// maps of a row, become `describe` events.
// Gradio changes the table in place afterwards, so the focus stays where the user types.

const rows = () =>
  [...element.querySelectorAll("tbody tr")].map((row) => ({
    trained: row.dataset.trained,
    name: row.querySelector(".name").value,
    text: row.querySelector(".text").value,
  }));

// The attribute tells Gradio what the field holds; without it, an answer to an older state of the
// field would overwrite what was typed in the meantime.
const describe = (described, explained = null) => {
  clearTimeout(timer);
  for (const field of element.querySelectorAll(".name, .text")) {
    field.setAttribute("value", field.value);
  }
  trigger("describe", { rows: described, explained });
};

let timer;
element.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => describe(rows()), 350);
});

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const described = rows();
  if (button.matches(".remove")) {
    const row = button.closest("tr");
    const index = [...row.parentElement.children].indexOf(row);
    if (described[index].trained) described[index].text = "";
    else described.splice(index, 1);
    describe(described);
  } else if (button.matches(".add")) {
    element.classList.add("editing");
    describe([...described, { trained: "", name: "", text: "" }]);
    focusNext = "tbody tr:last-child .name";
  } else if (button.matches(".why")) {
    describe(described, [+button.dataset.vgg16, +button.dataset.zeroShot]);
    focusNext = ".explanation";
    asked = button;
  } else if (button.matches(".close")) {
    describe(described);
    asked.focus();
  } else if (button.matches(".restore")) {
    trigger("restore");
  } else if (button.matches(".fold")) {
    element.classList.toggle("editing");
  }
});

let asked;
let focusNext = "";
watch("value", () => {
  if (focusNext) element.querySelector(focusNext).focus();
  focusNext = "";
});

// Gradio leaves the example photos, which may come later than the table, without words.
const nameExamples = () => {
  for (const image of document.querySelectorAll('#photo .gallery-item img[alt=""]')) {
    image.alt = "Example photo: " + image.src.split("/").pop().replace(/-\d+\.jpg$/, "");
  }
};
nameExamples();
new MutationObserver(nameExamples).observe(document.body, { childList: true, subtree: true });
