"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const images = data.images.map(([classId, name, score, picture, overlay]) => (
    { classId, name, score, picture, overlay, defective: classId > 0 }));
  const defects = images.filter((image) => image.defective).length;
  const goods = images.length - defects;
  let threshold = data.calibrated ?? data.best;

  // What a threshold says.

  const verdict = (image) => image.score > threshold
    ? (image.defective ? "found" : "false alarm")
    : (image.defective ? "missed" : "passed");

  function tell() {
    const count = { found: 0, missed: 0, "false alarm": 0, passed: 0 };
    for (const image of images) count[verdict(image)] += 1;
    const share = (part, whole) => (whole ? (part / whole).toFixed(3) : "not defined");
    const raised = count.found + count["false alarm"];
    $("found").textContent = count.found;
    $("missed").textContent = count.missed;
    $("alarms").textContent = count["false alarm"];
    $("passed").textContent = count.passed;
    $("precision").textContent = share(count.found, raised);
    $("recall").textContent = share(count.found, defects);
    $("rate").textContent = share(count["false alarm"], goods);
    $("f1").textContent = share(2 * count.found, raised + defects);
    place(rocPoint, count["false alarm"] / goods, count.found / defects);
    place(prPoint, count.found / defects, count.found / raised);
  }

  // Drawing.

  function draw(name, attributes, parent) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    parent.append(element);
    return element;
  }

  function write(text, x, y, anchor, parent) {
    draw("text", { x, y, "text-anchor": anchor }, parent).textContent = text;
  }

  const BOX = { left: 34, top: 8, side: 200 };

  function plot(parent, across, up, points) {
    const { left, top, side } = BOX;
    const svg = draw("svg", { viewBox: "0 0 244 246", role: "img", "aria-label": `${up} over ${across}` }, parent);
    draw("rect", { x: left, y: top, width: side, height: side, class: "axis" }, svg);
    for (const at of [0, 0.5, 1]) {
      write(at, left + at * side, top + side + 14, "middle", svg);
      write(at, left - 5, top + (1 - at) * side + 4, "end", svg);
    }
    write(across, left + side / 2, top + side + 30, "middle", svg);
    draw("text", { transform: `translate(10 ${top + side / 2}) rotate(-90)`, "text-anchor": "middle" }, svg)
      .textContent = up;
    const path = points.map(([x, y]) => `${(left + x * side).toFixed(2)} ${(top + (1 - y) * side).toFixed(2)}`);
    if (path.length) draw("path", { d: `M${path.join("L")}`, class: "curve" }, svg);
    return draw("circle", { r: 5, class: "point" }, svg);
  }

  function place(point, x, y) {
    const defined = Number.isFinite(x) && Number.isFinite(y);
    point.setAttribute("visibility", defined ? "visible" : "hidden");
    if (!defined) return;
    point.setAttribute("cx", BOX.left + x * BOX.side);
    point.setAttribute("cy", BOX.top + (1 - y) * BOX.side);
  }

  // Points of both curves, from the highest score down; equal scores are one step.
  const roc = [], pr = [];
  let area = 0, average = 0;
  if (defects && goods) {
    roc.push([0, 0]);
    const sorted = [...images].sort((a, b) => b.score - a.score);
    let found = 0, alarms = 0;
    sorted.forEach((image, i) => {
      image.defective ? found++ : alarms++;
      if (sorted[i + 1]?.score === image.score) return;
      const [before, height] = roc.at(-1);
      const recall = found / defects, precision = found / (found + alarms);
      area += (alarms / goods - before) * (recall + height) / 2;
      average += (recall - height) * precision;
      roc.push([alarms / goods, recall]);
      pr.push([height, precision], [recall, precision]);
    });
  }
  $("roc-area").textContent = roc.length ? area.toFixed(3) : "not defined";
  $("pr-area").textContent = pr.length ? average.toFixed(3) : "not defined";
  const rocPoint = plot($("roc"), "false-alarm rate", "recall", roc);
  const prPoint = plot($("pr"), "recall", "precision", pr);

  // The histogram and the slider below it share an axis.

  const NEAREST = 1e-6; // to 0 and 1, for the axis on which these are infinitely far
  const AXES = {
    even: { to: (score) => score, from: (value) => value },
    ends: {
      to: (score) => { const p = Math.min(Math.max(score, NEAREST), 1 - NEAREST); return Math.log(p / (1 - p)); },
      from: (value) => 1 / (1 + Math.exp(-value)),
    },
  };
  const lowest = images.reduce((low, image) => Math.min(low, image.score), Infinity);
  const highest = images.reduce((high, image) => Math.max(high, image.score), -Infinity);
  const STEPS = Number($("slider").max), BINS = 60, EDGE = 8, HEIGHT = 84;
  let axis, first, last, limitLine;

  function chooseAxis() {
    axis = AXES[$("axis").value];
    const marks = [lowest, highest, data.calibrated ?? lowest].map(axis.to);
    const margin = 0.03 * (Math.max(...marks) - Math.min(...marks)) || 0.05;
    first = Math.min(...marks) - margin;
    last = Math.max(...marks) + margin;
    drawHistogram();
    showThreshold();
  }

  const along = (score) => Math.min(Math.max((axis.to(score) - first) / (last - first), 0), 1);

  function ticks() {
    if (axis === AXES.ends) {
      return [1e-5, 1e-4, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999];
    }
    const rough = (last - first) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
    const start = Math.ceil(first / step);
    return Array.from({ length: 7 }, (_, i) => Number(((start + i) * step).toPrecision(6)));
  }

  function drawHistogram() {
    const parent = $("histogram"), width = parent.clientWidth, inner = width - 2 * EDGE;
    parent.replaceChildren();
    const svg = draw("svg", {
      viewBox: `0 0 ${width} ${2 * HEIGHT + 20}`, role: "img",
      "aria-label": "how many good and defective images have which score",
    }, parent);
    const counts = [new Array(BINS).fill(0), new Array(BINS).fill(0)];
    for (const image of images) counts[+image.defective][Math.min(Math.floor(along(image.score) * BINS), BINS - 1)] += 1;
    counts.forEach((row, defective) => row.forEach((count, bin) => {
      if (!count) return;
      const height = Math.max(2, (HEIGHT - 18) * count / Math.max(...row));
      const bar = draw("rect", {
        x: EDGE + inner * bin / BINS, width: Math.max(1, inner / BINS - 1), height,
        y: defective ? HEIGHT + 1 : HEIGHT - height, class: defective ? "bad" : "good",
      }, svg);
      draw("title", {}, bar).textContent = `${count} ${defective ? "defective" : "good"}`;
    }));
    draw("path", { d: `M${EDGE} ${HEIGHT + 0.5}h${inner}`, class: "axis" }, svg);
    write(`${goods} good, above; at most ${Math.max(...counts[0])} a bar`, EDGE, 12, "start", svg);
    write(`${defects} defective, below; at most ${Math.max(...counts[1])}`, EDGE, 2 * HEIGHT, "start", svg);
    let free = -Infinity;
    for (const score of ticks()) {
      const x = EDGE + inner * along(score);
      if (axis.to(score) < first || axis.to(score) > last || x < free) continue;
      write(score, x, 2 * HEIGHT + 18, "middle", svg);
      free = x + 56;
    }
    const line = (kind) => draw("path", { d: `M0 0V${2 * HEIGHT}`, class: kind }, svg);
    if (data.calibrated !== null) move(line("calibrated"), data.calibrated);
    limitLine = line("limit");
  }

  function move(line, score) {
    line.setAttribute("transform", `translate(${EDGE + ($("histogram").clientWidth - 2 * EDGE) * along(score)} 0)`);
  }

  function showThreshold() {
    move(limitLine, threshold);
    $("slider").value = Math.round(along(threshold) * STEPS);
    $("slider").setAttribute("aria-valuetext", threshold.toPrecision(4));
    if (document.activeElement !== $("exact")) $("exact").value = Number(threshold.toPrecision(6));
  }

  function setThreshold(value) {
    threshold = value;
    showThreshold();
    tell();
    const isSorted = $("sort").value === "near";
    if ($("show").value || isSorted) fill();
    for (const image of images) label(image);
  }

  // The gallery.

  const gallery = $("gallery");
  let current = null;

  function make(tag, className, text, parent) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== null) element.textContent = text;
    parent.append(element);
    return element;
  }

  function build(image) {
    const card = document.createElement("li");
    const frame = make("div", "frame", null, card);
    for (let i = 0; i < 2; i++) make("img", "", null, frame).alt = "";
    const caption = make("div", "caption", null, card);
    make("bdi", "", data.classes[image.classId], caption);
    make("b", "", image.score.toPrecision(3), caption);
    image.said = make("div", "verdict", "", card);
    make("bdi", "name", image.name, card);
    card.tabIndex = -1;
    card.image = image;
    image.card = card;
    near.observe(card);
  }

  // Pictures are decoded when they come near the window.
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      const [picture, overlay] = target.querySelectorAll("img");
      picture.src = target.image.picture;
      overlay.src = target.image.overlay;
      near.unobserve(target);
    }
  }, { rootMargin: "600px" });

  function label(image) {
    const now = verdict(image);
    if (image.card.dataset.verdict === now) return;
    image.card.dataset.verdict = now;
    image.said.textContent = now;
  }

  const ORDERS = {
    high: (a, b) => b.score - a.score,
    low: (a, b) => a.score - b.score,
    near: (a, b) => Math.abs(a.score - threshold) - Math.abs(b.score - threshold),
    name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }),
  };

  function fill() {
    const show = $("show").value, wanted = $("class").value;
    const shown = images.filter((image) => {
      if (wanted && image.classId !== Number(wanted)) return false;
      const now = verdict(image);
      return !show || now === show || (show === "errors" && (now === "missed" || now === "false alarm"));
    }).sort(ORDERS[$("sort").value]);
    gallery.replaceChildren(...shown.map((image) => image.card));
    $("shown").textContent = `${shown.length} of ${images.length} images.`;
    if (!current?.isConnected) choose(gallery.firstElementChild);
  }

  // One card at a time is reached by Tab, the others from there by arrow keys.
  function choose(card) {
    if (current) current.tabIndex = -1;
    current = card;
    if (current) current.tabIndex = 0;
  }

  gallery.addEventListener("focusin", (event) => choose(event.target.closest("li")));
  gallery.addEventListener("click", (event) => event.target.closest("li")?.focus());
  gallery.addEventListener("keydown", (event) => {
    const cards = [...gallery.children], at = cards.indexOf(current);
    const columns = getComputedStyle(gallery).gridTemplateColumns.split(" ").length;
    const target = {
      ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns,
      Home: 0, End: cards.length - 1,
    }[event.key];
    if (target === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    cards[target]?.focus();
  });

  // All together.

  data.classes.forEach((name, id) => { make("option", "", name, $("class")).value = id; });
  gallery.style.setProperty("--ratio", gallery.dataset.ratio);
  images.forEach(build);
  images.forEach(label);
  fill();
  chooseAxis();
  tell();
  $("to-calibrated").hidden = data.calibrated === null;
  $("to-calibrated").addEventListener("click", () => setThreshold(data.calibrated));
  $("to-best").addEventListener("click", () => setThreshold(data.best));
  $("axis").addEventListener("change", chooseAxis);
  $("slider").addEventListener("input", () => (
    setThreshold(axis.from(first + (last - first) * $("slider").value / STEPS))));
  $("exact").addEventListener("input", () => {
    if (Number.isFinite($("exact").valueAsNumber)) setThreshold($("exact").valueAsNumber);
  });
  for (const id of ["sort", "class", "show"]) $(id).addEventListener("change", fill);
  $("overlays").addEventListener("change", () => gallery.classList.toggle("overlays", $("overlays").checked));
  new ResizeObserver(() => { drawHistogram(); move(limitLine, threshold); }).observe($("histogram"));
})();
