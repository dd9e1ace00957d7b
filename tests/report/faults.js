// Faults of a page: elements that overlap, text that is wider than its box, what sticks out of the page.
() => {
  const faults = [];
  const name = (e) => `${e.tagName}.${e.getAttribute("class")} "${e.textContent.trim().slice(0, 40)}"`;
  const box = (e) => e.getBoundingClientRect();
  const all = (selector, root = document) =>
    [...root.querySelectorAll(selector)].filter((e) => box(e).width > 0 && box(e).height > 0);
  const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1
    || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
  const within = (inner, outer) => inner.left >= outer.left - 1 && inner.right <= outer.right + 1
    && inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1;

  const separate = (elements) => elements.forEach((one, i) => elements.slice(i + 1).forEach((other) => {
    if (!one.contains(other) && !other.contains(one) && !apart(box(one), box(other))) {
      faults.push(`overlap: ${name(one)} and ${name(other)}`);
    }
  }));
  separate(all("h1, h2, h3, main > p, .tile, .card, .verdict, figure, table, input, select, output, "
    + ".stages li"));
  for (const svg of all(".chart svg")) separate(all("text", svg));

  for (const text of all(".chart svg text")) {
    if (!within(box(text), box(text.ownerSVGElement))) faults.push(`cut: ${name(text)}`);
  }
  for (const element of all("main *")) {
    if (element.closest(".scroll, select, svg")) continue;
    const right = document.documentElement.clientWidth + 1, inline = element.clientWidth === 0;
    if (box(element).right > right) faults.push(`sticks out: ${name(element)}`);
    if (!inline && element.scrollWidth > element.clientWidth + 1) faults.push(`cut: ${name(element)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push("the page scrolls sideways");
  return faults;
}
