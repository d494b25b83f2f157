(...detail) => {
  document.dispatchEvent(new CustomEvent("compare-texts", { detail }));
  scrollTo({ top: 0 });
  return { __type__: "update", selected: "compare" };
}
