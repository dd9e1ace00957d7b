"use strict";
// Explanations of terms: hover, focus or tap shows what the glossary says.
{
  const tip = document.body.appendChild(document.createElement("div"));
  tip.id = "tip";
  tip.setAttribute("aria-hidden", "true"); // readers get the glossary by aria-describedby
  tip.hidden = true;
  const hide = () => { tip.hidden = true; };
  const show = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    tip.textContent = document.querySelector(event.currentTarget.hash + " dd").textContent;
    tip.hidden = false;
    const left = Math.min(box.left, innerWidth - tip.offsetWidth - 8);
    const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? box.bottom + 6 : Math.max(8, box.top - tip.offsetHeight - 6)}px`;
  };
  for (const term of document.querySelectorAll("a.term")) {
    for (const kind of ["pointerenter", "focus"]) term.addEventListener(kind, show);
    for (const kind of ["pointerleave", "blur"]) term.addEventListener(kind, hide);
    term.addEventListener("click", (event) => { event.preventDefault(); term.focus(); show(event); });
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  addEventListener("scroll", hide, { passive: true });
}

// The section browser.  Points of the grid are numbered (u * nv + v) * nw + w.
if (document.getElementById("maps")) {
  const data = JSON.parse(document.getElementById("maps").textContent);
  const browser = document.querySelector(".browser");
  const [nu, nv, nw] = data.shape, step = [nv * nw, nw, 1];
  const orbits = new Map(), grids = [];

  // Number of the symmetry orbit of each point, in the order of their first points.
  function orbitsOf(operations) {
    const key = JSON.stringify(operations);
    if (!orbits.has(key)) {
      const of = new Int32Array(nu * nv * nw).fill(-1);
      let count = 0, at = 0;
      for (let u = 0; u < nu; u++) for (let v = 0; v < nv; v++) for (let w = 0; w < nw; w++, at++) {
        if (of[at] >= 0) continue;
        for (const rows of operations) {
          let mate = 0;
          for (let i = 0; i < 3; i++) {
            const [a, b, c, shift] = rows[i], n = data.shape[i];
            mate += ((((a * u + b * v + c * w + shift) % n) + n) % n) * step[i];
          }
          of[mate] = count;
        }
        count++;
      }
      orbits.set(key, of);
    }
    return orbits.get(key);
  }

  // A map, one byte for each point.
  function grid(number) {
    if (!grids[number]) {
      const { operations, values } = data.maps[number];
      const bytes = Uint8Array.from(atob(values), (character) => character.charCodeAt(0));
      grids[number] = orbitsOf(operations).map((orbit) => bytes[orbit]);
    }
    return grids[number];
  }

  // Linear interpolation at fractions along the two axes of a plane, 0 to 255.
  function sampler(number, plane, index) {
    const values = grid(number), from = index * step[plane.normal];
    const n = data.shape[plane.horizontal], m = data.shape[plane.vertical];
    const across = step[plane.horizontal], up = step[plane.vertical];
    return (x, y) => {
      const i = Math.floor(x * n), j = Math.floor(y * m), s = x * n - i, t = y * m - j;
      const left = from + (i % n) * across, right = from + ((i + 1) % n) * across;
      const low = (j % m) * up, high = ((j + 1) % m) * up;
      return (1 - t) * ((1 - s) * values[left + low] + s * values[right + low])
        + t * ((1 - s) * values[left + high] + s * values[right + high]);
    };
  }

  const inks = { density: [16, 24, 32], probability: [8, 72, 140] }, outline = [228, 87, 46];
  const WIDTH = 400; // pixels of a picture; the page makes it larger
  const slider = browser.querySelector("input[type=range]"), place = browser.querySelector("output");
  const panels = [...browser.querySelectorAll("figure")].map((figure) => ({
    canvas: figure.querySelector("canvas"), select: figure.querySelector("select"),
    value: figure.querySelector(".value") }));
  const at = data.planes.map((plane) => plane.start);
  let chosen = 0;

  // Size and placement of a plane in a canvas: pixels to fractions and back.
  function frame(plane, width) {
    const [[a, b], [, d]] = plane.matrix;
    const low = Math.min(0, b), extent = Math.max(a, a + b, b) - low, scale = width / extent;
    const height = Math.round(d * scale);
    return { width, height, scale,
      fractions: (px, py) => {
        const y = (height - py) / scale / d;
        return [(px / scale + low - b * y) / a, y];
      },
      pixel: (x, y) => [(a * x + b * y - low) * scale, height - d * y * scale] };
  }

  function draw(panel) {
    const plane = data.planes[chosen], layer = data.layers[panel.select.value], index = at[chosen];
    const { canvas } = panel, view = frame(plane, WIDTH), { width, height } = view;
    canvas.width = width;
    canvas.height = height;
    canvas.style.maxWidth = `${Math.round(520 * Math.min(1, 1.25 * width / height))}px`;
    panel.view = view;
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    const seen = panel.seen = sampler(layer.map, plane, index);
    const mask = layer.mask === null ? null : sampler(layer.mask, plane, index);
    const [first, last] = layer.range, [white, black] = layer.shown, ink = inks[layer.kind];
    const near = new Float32Array(width * height).fill(-1);
    for (let py = 0, k = 0; py < height; py++) for (let px = 0; px < width; px++, k++) {
      const [x, y] = view.fractions(px + 0.5, py + 0.5);
      if (x < 0 || y < 0 || x > 1 || y > 1) continue;
      const value = first + seen(x, y) / 255 * (last - first);
      const level = Math.min(1, Math.max(0, (value - white) / (black - white)));
      for (let c = 0; c < 3; c++) image.data[4 * k + c] = 255 + level * (ink[c] - 255);
      image.data[4 * k + 3] = 255;
      if (mask) near[k] = mask(x, y);
    }
    if (mask) drawOutline(image, near, width, height);
    context.putImageData(image, 0, 0);
    drawSites(context, layer.sites, plane, view, index);
    canvas.setAttribute("aria-label", `${layer.name}, ${place.textContent}`);
  }

  // The line where the mask is 1/2, as wide as in the still pictures.
  function drawOutline(image, mask, width, height) {
    for (let py = 1; py < height - 1; py++) for (let px = 1; px < width - 1; px++) {
      const k = py * width + px, [e, w, s, n] = [k + 1, k - 1, k + width, k - width];
      if (Math.min(mask[k], mask[e], mask[w], mask[s], mask[n]) < 0) continue;
      const slope = Math.hypot(mask[e] - mask[w], mask[s] - mask[n]) / 2;
      const share = Math.min(1, Math.max(0, 1.9 - Math.abs(mask[k] - 127.5) / Math.max(slope, 1e-3)));
      for (let c = 0; c < 3; c++) {
        image.data[4 * k + c] += share * (outline[c] - image.data[4 * k + c]);
      }
    }
  }

  // Sites within 2 A of the plane.
  function drawSites(context, sites, plane, view, index) {
    context.lineWidth = 2;
    context.strokeStyle = "#0a8f6a";
    for (const site of sites) {
      const away = site[plane.normal] - index / data.shape[plane.normal];
      const distance = Math.abs(away - Math.round(away)) * plane.thickness;
      if (distance > 2) continue;
      const [x, y] = view.pixel(site[plane.horizontal], site[plane.vertical]);
      context.beginPath();
      context.arc(x, y, Math.sqrt(Math.max(2 ** 2 - distance ** 2, 0.5)) * view.scale, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  function drawAll() {
    const { normal, names } = data.planes[chosen], n = data.shape[normal];
    const fraction = at[chosen] / n;
    place.textContent = `${names[1]} = ${fraction.toFixed(3)} (${(fraction * data.lengths[normal]).toFixed(1)} Å `
      + `along ${names[0]})`;
    slider.max = n - 1;
    slider.value = at[chosen];
    slider.setAttribute("aria-valuetext", place.textContent);
    panels.forEach(draw);
  }

  function move(index) {
    const n = data.shape[data.planes[chosen].normal];
    at[chosen] = ((Math.round(index) % n) + n) % n;
    drawAll();
  }

  for (const button of browser.querySelectorAll("input[type=radio]")) {
    button.addEventListener("change", () => { chosen = Number(button.value); drawAll(); });
  }
  slider.addEventListener("input", () => move(Number(slider.value)));
  for (const panel of panels) {
    const { canvas } = panel;
    let start = null;
    panel.select.addEventListener("change", () => draw(panel));
    canvas.addEventListener("pointerdown", (event) => {
      start = { x: event.clientX, index: at[chosen] };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      if (start) {
        const n = data.shape[data.planes[chosen].normal];
        move(start.index + (event.clientX - start.x) / box.width * n);
      }
      tell(panel, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, () => { start = null; });
    }
    canvas.addEventListener("pointerleave", () => { panel.value.textContent = ""; });
  }

  // What is under the pointer.
  function tell(panel, across, down) {
    const plane = data.planes[chosen], layer = data.layers[panel.select.value], { view } = panel;
    const [x, y] = view.fractions(across * view.width, down * view.height);
    if (x < 0 || y < 0 || x > 1 || y > 1) return;
    const fractions = [0, 0, 0];
    fractions[plane.normal] = at[chosen] / data.shape[plane.normal];
    fractions[plane.horizontal] = x;
    fractions[plane.vertical] = y;
    const value = layer.range[0] + panel.seen(x, y) / 255 * (layer.range[1] - layer.range[0]);
    panel.value.textContent = `${layer.kind === "density" ? `${value.toFixed(1)} σ` : value.toFixed(2)} at `
      + fractions.map((f) => f.toFixed(3)).join(", ");
  }

  browser.hidden = false;
  drawAll();
}
