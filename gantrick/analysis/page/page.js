"use strict";
// What stands in the page as text is sorted here, curves, samples and configs are drawn from #data and #numbers.
// Names and configs are untrusted: they reach the page by textContent, and Plotly with their markup escaped.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const COLOURS = ["#3b82d6", "#e07b1a", "#2ca25f", "#d1495b", "#9467bd", "#17a2b3", "#c2a000", "#e377c2", "#8c6d52", "#7f8c99"];
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
  const AT_FIRST = 10; // groups that are shown before anyone chooses
  const SHADED = 20; // runs whose extremes are shaded when every run is drawn
  const GRID = 200; // points at which runs with clocks of their own are averaged
  const colour = (group) => COLOURS[group % COLOURS.length];
  const dash = (group) => DASHES[Math.floor(group / COLOURS.length) % DASHES.length];
  const count = (number) => number.toLocaleString("en-US");
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const made = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const swatch = () => made("span", undefined, { class: "swatch", "aria-hidden": "true" });

  // --- tables ---

  const order = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    table.tHead.addEventListener("click", (event) => {
      const head = event.target.closest("th");
      if (!head) return;
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const key = (row) => row.cells[head.cellIndex].dataset.sort;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        return x === "" || y === "" ? (x === "") - (y === "") : sign * order(x, y); // what is missing stands last
      });
      table.tBodies[0].append(...rows);
    });
  }
  for (const row of document.querySelectorAll("tr[data-group]")) row.style.setProperty("--swatch", colour(Number(row.dataset.group)));

  // --- which groups are shown ---

  const shown = new Set(data.groups.slice(0, AT_FIRST).keys());
  const chips = data.groups.map((group, number) => {
    const chip = made("button", undefined, { type: "button", title: group.name });
    chip.style.setProperty("--swatch", colour(number));
    chip.append(swatch(), group.name);
    chip.addEventListener("click", () => {
      if (!shown.delete(number)) shown.add(number);
      refresh();
    });
    $("groups").append(chip);
    return chip;
  });
  $("all").addEventListener("click", () => { for (const number of data.groups.keys()) shown.add(number); refresh(); });
  $("none").addEventListener("click", () => { shown.clear(); refresh(); });
  const visible = () => [...shown].sort((a, b) => a - b);

  // --- samples ---

  const moments = [...new Set(data.pictures.flatMap((entry) => entry.steps))].sort((a, b) => a - b);
  function drawSamples() {
    if (!data.pictures.length) return;
    const now = moments[Number($("moment").value)];
    $("moment-step").textContent = count(now);
    $("moment").setAttribute("aria-valuetext", `step ${count(now)}`);
    for (const entry of data.pictures) {
      const last = entry.steps.findLastIndex((step) => step <= now);
      const at = Math.max(0, last);
      entry.figure.hidden = !shown.has(entry.group);
      if (entry.image.src !== entry.urls[at]) entry.image.src = entry.urls[at];
      const run = data.runs[entry.run];
      const said = `step ${count(entry.steps[at])}, seed ${run.seed}${run.state === "finished" ? "" : `, ${run.state}`}`;
      entry.image.alt = `Samples of ${data.groups[entry.group].name}, ${said}`;
      entry.said.textContent = said;
    }
    $("no-grids").hidden = data.pictures.some((entry) => shown.has(entry.group));
  }
  if (data.pictures.length) {
    for (const entry of data.pictures) {
      entry.figure = made("figure");
      entry.image = made("img");
      entry.said = made("span", "", { class: "faint" });
      const caption = made("figcaption");
      caption.style.setProperty("--swatch", colour(entry.group));
      caption.append(swatch(), data.groups[entry.group].name, made("br"), entry.said);
      entry.figure.append(entry.image, caption);
      $("grids").append(entry.figure);
    }
    $("grids").append(made("p", "No samples of the shown groups are in this page.", { id: "no-grids", class: "faint" }));
    $("moment").hidden = moments.length < 2;
    $("moment").max = moments.length - 1;
    $("moment").value = moments.length - 1;
    $("moment").addEventListener("input", drawSamples);
  }

  // --- configs ---

  function drawConfigs() {
    if (!$("config")) return;
    const groups = visible();
    const of = (group, key) => data.groups[group].config[key] ?? data.shared[key];
    const every = [...new Set([...data.varying, ...groups.flatMap((group) => Object.keys(data.groups[group].config)), ...($("every-key").checked ? Object.keys(data.shared) : [])])];
    const part = $("key").value.trim().toLowerCase();
    const head = made("tr");
    head.append(made("th", "key", { scope: "col" }));
    for (const group of groups) {
      const cell = made("th", undefined, { scope: "col" });
      cell.style.setProperty("--swatch", colour(group));
      cell.append(swatch(), data.groups[group].name);
      head.append(cell);
    }
    const body = made("tbody");
    for (const key of every) {
      const values = groups.map((group) => of(group, key));
      const differs = new Set(values).size > 1;
      if (!key.toLowerCase().includes(part) || !(differs || $("every-key").checked)) continue;
      const row = made("tr", undefined, differs ? {} : { class: "same" });
      row.append(made("th", key, { scope: "row" }), ...values.map((value) => made("td", value ?? "–")));
      body.append(row);
    }
    if (!body.rows.length) {
      const row = made("tr");
      row.append(made("td", groups.length < 2 ? "Show two groups or more to see what differs between them." : "No key differs.", { colspan: groups.length + 1 }));
      body.append(row);
    }
    const top = made("thead");
    top.append(head);
    $("config").replaceChildren(top, body);
  }
  for (const id of ["every-key", "key"]) $(id)?.addEventListener("input", drawConfigs);

  // --- numbers ---

  const bytesOf = (id) => Uint8Array.from(atob($(id).textContent.trim()), (character) => character.charCodeAt(0));
  const unpacked = (id) => new Response(new Blob([bytesOf(id)]).stream().pipeThrough(new DecompressionStream("gzip")));
  let clocks, values;
  const ofRun = new Map(); // "run,metric" → a curve's entry
  const numbers = async () => {
    const buffer = await unpacked("numbers").arrayBuffer();
    clocks = new Float32Array(buffer, 0, data.clocks);
    values = new Uint16Array(buffer, 4 * data.clocks);
    for (const entry of data.curves) ofRun.set(`${entry[0]},${entry[1]}`, entry);
  };
  const half = (bits) => {
    const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  };
  function curve(run, metric, clock) {
    const entry = ofRun.get(`${run},${metric}`);
    if (!entry) return null;
    const [, , axis, offset, exponent, exact] = entry;
    const [length, ...starts] = data.axes[axis];
    const scale = clock === 2 ? 1 / span.seconds : 1;
    const x = Array.from(clocks.subarray(starts[clock], starts[clock] + length), (value) => value * scale);
    const line = (which) => Array.from(values.subarray(offset + which * length, offset + (which + 1) * length), (bits) => half(bits) * 2 ** exponent);
    const mean = line(0);
    return { x, mean, low: exact ? null : line(1), high: exact ? null : line(2), run };
  }
  const span = { seconds: 3600, word: "hours" }; // of the time axis; short runs are told in minutes or seconds
  function chooseSpan() {
    let longest = 0;
    for (const [length, , , start] of data.axes) longest = Math.max(longest, clocks[start + length - 1] || 0);
    if (longest < 180) Object.assign(span, { seconds: 1, word: "seconds" });
    else if (longest < 10800) Object.assign(span, { seconds: 60, word: "minutes" });
  }

  // The mean over runs at common places, each run interpolated within its own reach, and the band around it.
  function averaged(curves, band) {
    const same = curves.every((each) => each.x.length === curves[0].x.length && each.x.every((x, i) => x === curves[0].x[i]));
    let x = curves[0].x;
    if (!same) {
      const [from, to] = [Math.min(...curves.map((c) => c.x[0])), Math.max(...curves.map((c) => c.x.at(-1)))];
      const points = Math.min(GRID, Math.max(2, ...curves.map((c) => c.x.length)));
      x = Array.from({ length: points }, (_, i) => from + ((to - from) * i) / (points - 1));
    }
    const lines = same ? curves.map((each) => each.mean) : curves.map((each) => interpolated(each, x));
    const result = { x, mean: [], low: [], high: [], n: [] };
    for (let i = 0; i < x.length; i++) {
      const found = lines.map((line) => line[i]).filter(Number.isFinite);
      const n = found.length;
      const mean = n ? found.reduce((sum, value) => sum + value, 0) / n : NaN;
      let [low, high] = [Math.min(...found), Math.max(...found)];
      if (band === "interval" && n > 1) {
        const half = data.t[n] * Math.sqrt(found.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1) / n);
        [low, high] = [mean - half, mean + half];
      }
      if (n < 2) low = high = mean;
      result.mean.push(mean);
      result.low.push(low);
      result.high.push(high);
      result.n.push(n);
    }
    return result;
  }
  function interpolated({ x, mean }, at) {
    const line = [];
    let i = 0;
    for (const place of at) {
      while (i < x.length - 2 && x[i + 1] < place) i++;
      const inside = place >= x[0] && place <= x.at(-1);
      const share = x[i + 1] > x[i] ? (place - x[i]) / (x[i + 1] - x[i]) : 0;
      line.push(!inside ? NaN : i + 1 < x.length ? mean[i] + share * (mean[i + 1] - mean[i]) : mean[i]);
    }
    return line;
  }

  // --- charts ---

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Plotly's own button would send the chart to its makers.
  const CONFIG = { displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: "", modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const printing = () => "print" in document.documentElement.dataset;
  const PAPER = 680; // pixels that fit on A4 and on letter, at 96 an inch and with usual margins
  function layout(more) {
    const axis = { gridcolor: css("--grid"), zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true, exponentformat: "e", minexponent: 4 };
    return {
      autosize: !printing(), width: printing() ? PAPER : undefined,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: css("--ink") },
      hoverlabel: { bgcolor: css("--raised"), bordercolor: css("--line"), font: { color: css("--ink") }, namelength: 60 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--faint"), activecolor: css("--ink") },
      margin: { l: 56, r: 16, t: 12, b: 44 }, ...more,
      xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
    };
  }
  function shaded(x, low, high, group) {
    const at = x.map((_, i) => i).filter((i) => Number.isFinite(low[i]) && Number.isFinite(high[i]) && Number.isFinite(x[i]));
    return {
      x: [...at.map((i) => x[i]), ...at.reverse().map((i) => x[i])], y: [...at.map((i) => high[i]).reverse(), ...at.map((i) => low[i])],
      fill: "toself", fillcolor: colour(group) + "2e", line: { width: 0 }, mode: "lines", hoverinfo: "skip", type: "scatter",
    };
  }
  const short = (value) => (Number.isFinite(value) ? Number(value.toPrecision(4)).toString() : "–");
  function traces(metric, clock, lines) {
    const [bands, strokes] = [[], []];
    const few = visible().flatMap((group) => data.groups[group].runs).length <= SHADED;
    for (const group of visible()) {
      const curves = data.groups[group].runs.map((run) => curve(run, metric, clock)).filter((c) => c && c.x.some(Number.isFinite));
      if (!curves.length) continue;
      const name = escaped(data.groups[group].name);
      const stroke = (x, y, text, width, label) => strokes.push({
        x, y, text, name: label, mode: x.length < 2 ? "markers" : "lines", type: "scatter", meta: group,
        line: { color: colour(group), dash: dash(group), width }, marker: { color: colour(group), size: 6 },
        hovertemplate: `%{text}<extra>${label}</extra>`,
      });
      if (lines === "runs" || curves.length === 1) {
        for (const c of curves) {
          if (c.low && (few || lines !== "runs")) bands.push(shaded(c.x, c.low, c.high, group));
          const text = c.mean.map((m, i) => short(m) + (c.low ? ` (${short(c.low[i])} to ${short(c.high[i])})` : ""));
          stroke(c.x, c.mean, text, lines === "runs" && curves.length > 1 ? 1.2 : 1.8, curves.length > 1 ? `${name}, seed ${escaped(data.runs[c.run].seed)}` : name);
        }
      } else {
        const mean = averaged(curves, lines);
        bands.push(shaded(mean.x, mean.low, mean.high, group));
        const text = mean.mean.map((m, i) => `${short(m)} (${short(mean.low[i])} to ${short(mean.high[i])}, ${mean.n[i]} seeds)`);
        stroke(mean.x, mean.mean, text, 1.8, name);
      }
    }
    return [...bands, ...strokes];
  }
  function drawCurves() {
    if (!$("curve") || !window.Plotly) return;
    const [metric, clock] = [Number($("metric").value), Number(document.querySelector("input[name=axis]:checked").value)];
    const drawn = traces(metric, clock, $("lines").value);
    const strokes = drawn.filter((trace) => trace.name).length;
    const logarithmic = $("log").checked;
    const thousands = clock < 2 && drawn.some(({ x }) => Math.max(x[0], x.at(-1)) >= 1000);
    Plotly.react($("curve"), drawn, layout({
      hovermode: strokes > 0 && strokes <= 12 ? "x unified" : "closest",
      xaxis: { title: { text: ["steps", "images", span.word][clock] }, tickformat: thousands ? "~s" : "", hoverformat: clock < 2 ? ",.0f" : ".4~g" },
      yaxis: { title: { text: escaped(data.metrics[metric]) }, type: logarithmic ? "log" : "linear" },
    }), CONFIG);
    $("curve").setAttribute("aria-label", `${data.metrics[metric]} against ${["steps", "images", span.word][clock]}`);
    const missing = visible().filter((group) => !data.groups[group].runs.some((run) => ofRun.has(`${run},${metric}`)));
    $("curve-note").textContent = !shown.size ? "No group is shown: choose some above." : missing.length ? `Without ${data.metrics[metric]}: ${missing.map((group) => data.groups[group].name).join("; ")}` : "";
  }
  function drawForest() {
    if (!$("forest") || !window.Plotly || !$("effect").value) return;
    const [figure, at] = JSON.parse($("effect").value);
    const every = data.effects.filter((each) => each.figure === figure && each.at === at);
    const rows = every.filter((each) => each.mean !== null).reverse();
    const better = every[0].better ? ` (${every[0].better} is better)` : "";
    const clear = (each) => each.low !== null && each.high !== null && (each.low > 0 || each.high < 0);
    $("forest").style.height = `${90 + 34 * Math.max(1, rows.length)}px`;
    Plotly.react($("forest"), [{
      type: "scatter", mode: "markers", x: rows.map((each) => each.mean), y: rows.map((_, i) => i),
      error_x: {
        type: "data", symmetric: false, thickness: 1.6, width: 5, color: css("--faint"),
        array: rows.map((each) => (each.high === null ? 0 : each.high - each.mean)),
        arrayminus: rows.map((each) => (each.low === null ? 0 : each.mean - each.low)),
      },
      marker: { size: 10, color: rows.map((each) => (clear(each) ? css("--accent") : css("--paper"))), line: { width: 2, color: css("--accent") } },
      text: rows.map((each) => `${short(each.mean)}${each.low === null ? "" : ` (${short(each.low)} to ${short(each.high)})`}<br>${escaped(each.verdict)}`),
      hovertemplate: "%{text}<extra></extra>",
    }], layout({
      hovermode: "closest", height: 90 + 34 * Math.max(1, rows.length),
      xaxis: { title: { text: escaped(`change of ${figure}, ${at}${better}`) }, zeroline: true, zerolinewidth: 2, zerolinecolor: css("--faint") },
      yaxis: { tickvals: rows.map((_, i) => i), ticktext: rows.map((each) => escaped(each.part)), range: [-0.7, rows.length - 0.3], zeroline: false },
    }), CONFIG);
  }

  // --- all together ---

  function refresh() {
    chips.forEach((chip, number) => chip.setAttribute("aria-pressed", String(shown.has(number))));
    drawSamples();
    drawConfigs();
    drawCurves();
  }
  function redraw() {
    drawCurves();
    drawForest();
  }
  async function charts() {
    if (!$("curve") && !$("forest")) return;
    for (const id of ["curve", "forest"]) $(id)?.replaceChildren(made("p", "Drawing …", { class: "faint" }));
    const [source] = await Promise.all([unpacked("library").text(), $("curve") ? numbers() : null]);
    const script = made("script");
    script.textContent = source;
    document.head.append(script);
    for (const id of ["curve", "forest"]) $(id)?.replaceChildren();
    if ($("curve")) {
      chooseSpan();
      document.querySelector("input[name=axis][value='2']").nextSibling.textContent = span.word;
      data.metrics.forEach((name, number) => $("metric").append(made("option", name, { value: number })));
      for (const control of document.querySelectorAll("#metric, #lines, #log, input[name=axis]")) control.addEventListener("change", drawCurves);
    }
    if ($("forest")) {
      const kinds = [...new Set(data.effects.filter((each) => each.mean !== null).map((each) => JSON.stringify([each.figure, each.at])))];
      for (const kind of kinds) $("effect").append(made("option", JSON.parse(kind).join(", "), { value: kind }));
      $("effect").addEventListener("change", drawForest);
      if (!kinds.length) for (const none of [$("forest"), $("effect").closest(".controls")]) none.hidden = true;
    }
    redraw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    addEventListener("beforeprint", () => { document.documentElement.dataset.print = ""; redraw(); });
    addEventListener("afterprint", () => {
      delete document.documentElement.dataset.print;
      redraw();
      for (const id of ["curve", "forest"]) if ($(id)) Plotly.Plots.resize($(id));
    });
  }
  $("bar").hidden = data.groups.length < 2;
  refresh();
  charts().then(
    () => { document.documentElement.dataset.ready = ""; },
    (error) => {
      for (const id of ["curve", "forest"]) $(id)?.replaceChildren(made("p", `The charts cannot be drawn: ${error.message}. A browser of 2023 or later is needed.`));
      throw error;
    },
  );
})();
