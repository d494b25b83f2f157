// Runs once: a click on an example makes it the photo.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  window.pickedExample = {
    path: button.dataset.name,
    url: button.firstElementChild.src,
    orig_name: "example",
    meta: { _type: "gradio.FileData" },
  };
  trigger("pick");
});
