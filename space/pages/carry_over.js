(...detail) => {
  document.dispatchEvent(new CustomEvent("compare-texts", { detail }));
  return { __type__: "update", selected: "compare" };
}
