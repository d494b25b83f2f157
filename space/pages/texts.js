(...boxes) => {
  const texts = (lines) => lines.split(/\r?\n/).map((text) => text.trim()).filter(Boolean);
  const set = CATEGORIES.map((category, index) => [category, texts(boxes[index])]);
  return JSON.stringify(Object.fromEntries(set), null, 1);
}
