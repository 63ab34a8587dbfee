// The case viewer: a heat map of scores opens a case, its slices and its surfaces.

const COLOURS = { truth: "#e69f00", a: "#56b4e9", b: "#f781bf" };
const DASHES = { truth: [], a: [], b: [7, 5] };
const REMOVED = 128; // as in viewer_volumes.py
const BAR = 20; // mm of the scale bar

// Escapes text, because plotly interprets some HTML.
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function startViewer(root, Plotly) {
  const data = JSON.parse(root.querySelector("script").textContent);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const chosen = (name) => Number(part(name).value);
  const view = startViews(part, data, drawAll);
  const values = (measure) => {
    const byTrial = data.values[part("postprocessing").value][measure][chosen("structure")];
    return view().trials.map((trial) => byTrial[trial]);
  };
  const canvas = part("slice");
  let volumes = null; // of the open case
  let surfacesWanted = false;

  function drawHeatmap() {
    const measure = part("measure").value;
    const larger = ["Dice", "Jaccard", "NSD"].some((name) => measure.startsWith(name));
    const grid = values(measure);
    const flat = grid.flat().filter((value) => value !== null).sort((a, b) => a - b);
    const share = (part) => flat[Math.round(part * (flat.length - 1))];
    const narrow = part("heatmap").clientWidth < 600;
    const names = view().labels.map((name) => (narrow && name.length > 14 ? `${name.slice(0, 13)}…` : name));
    const ids = data.cases.map((id) => (id.length > 8 ? `${id.slice(0, 5)}…` : id));
    const hover = grid.map((row, m) =>
      row.map((value, c) => plain(`${view().labels[m]}, case ${data.cases[c]}: ${measure} ${value ?? "not defined"}`)),
    );
    const [c, m] = [chosen("case"), chosen("a")];
    const bare = { fixedrange: true, showgrid: false, zeroline: false, ticks: "" };
    const frame = { type: "rect", x0: c - 0.5, x1: c + 0.5, y0: m - 0.5, y1: m + 0.5, line: { color: "#d00", width: 3 } };
    Plotly.react(
      part("heatmap"),
      [{
        type: "heatmap", z: grid, text: hover, hovertemplate: "%{text}<extra></extra>", xgap: 1, ygap: 1,
        texttemplate: narrow ? "" : `%{z:.${flat.at(-1) < 20 ? 1 : 0}f}`, textfont: { size: 11 },
        colorscale: "Viridis", reversescale: !larger, zmin: share(0.05), zmax: share(0.95),
        colorbar: { thickness: 10, outlinewidth: 0, title: { text: measure, side: "right" } },
      }],
      {
        width: part("heatmap").clientWidth, height: 90 + 24 * names.length, margin: { l: 10, r: 0, t: 70, b: 10 }, dragmode: false, shapes: m < 0 ? [] : [frame],
        font: { family: "inherit", size: narrow ? 10 : 12, color: "#1c2330" },
        xaxis: { ...bare, side: "top", tickvals: ids.map((_, n) => n), ticktext: ids.map(plain), tickangle: -60 },
        yaxis: { ...bare, autorange: "reversed", tickvals: names.map((_, n) => n), ticktext: names.map(plain), automargin: true },
      },
      { displayModeBar: false },
    );
  }

  async function openCase() {
    const id = data.cases[chosen("case")];
    const stored = root.querySelector(`[data-volumes="${chosen("case")}"]`);
    part("panes").hidden = !stored;
    part("no-picture").hidden = Boolean(stored);
    part("no-picture").textContent = `There is no picture of case ${id} on this page.`;
    volumes = null;
    if (stored) {
      const packed = JSON.parse(stored.textContent);
      const bytes = await unpack(packed.data);
      if (id !== data.cases[chosen("case")]) return; // the user has opened another case
      volumes = { ...packed, bytes };
      const [depth] = packed.size;
      part("position").max = depth - 1;
      part("position").value = largestSlice();
      resetWindow();
    }
    drawAll();
  }

  // Returns a function that tells whether a voxel of volume v belongs to the chosen structure (1: truth, 2…: trials).
  function insideOf(v) {
    const [depth, height, width] = volumes.size;
    const structure = chosen("structure") + 1;
    const asScored = part("postprocessing").value === "largest_component";
    return (x, y, z) => {
      const code = volumes.bytes[((v * depth + z) * height + y) * width + x];
      return (asScored ? code : code % REMOVED) === structure;
    };
  }

  function largestSlice() {
    const [depth, height, width] = volumes.size;
    const truth = insideOf(1);
    const area = (z) => {
      let count = 0;
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) count += truth(x, y, z);
      return count;
    };
    const areas = Array.from({ length: depth }, (_, z) => area(z));
    const most = Math.max(...areas);
    return most ? areas.indexOf(most) : Math.floor(depth / 2);
  }

  // Sets window and level. The window begins at the 2nd percentile of the image. It ends at the 90th percentile of the
  // image or the 99th of the structures, whichever is brighter, so that a few bright vessels do not darken the rest.
  function resetWindow() {
    const [depth, height, width] = volumes.size;
    const count = depth * height * width;
    const image = volumes.bytes.slice(0, count);
    const inside = image.filter((_, n) => volumes.bytes[count + n] > 0).sort();
    image.sort();
    const low = image[Math.floor(0.02 * count)];
    const high = Math.max(image[Math.floor(0.9 * count)], inside[Math.floor(0.99 * inside.length)] ?? 0);
    [part("window").value, part("level").value] = [high - low, (high + low) / 2];
  }

  // The place of a chosen method's trial among the volumes, or -1.
  const stored = (name) => volumes.trials.indexOf(view().trials[chosen(name)]);

  // What is drawn over the image: name, number of the volume and label.
  function overlays() {
    const methods = ["a", "b"].filter((name) => stored(name) >= 0);
    const shown = methods.map((name) => [name, stored(name) + 2, view().labels[chosen(name)]]);
    return part("truth").checked ? [["truth", 1, "Truth"], ...shown] : shown;
  }

  function drawSlice() {
    if (!volumes) return;
    const [depth, height, width] = volumes.size;
    const [sx, sy, sz] = volumes.spacing;
    const z = chosen("position");
    canvas.style.aspectRatio = `${width * sx} / ${height * sy}`;
    canvas.style.maxWidth = `calc(75vh * ${(width * sx) / (height * sy)})`;
    const ratio = window.devicePixelRatio || 1;
    const kx = (canvas.clientWidth * ratio) / width;
    const ky = (kx * sy) / sx;
    canvas.width = Math.round(kx * width);
    canvas.height = Math.round(ky * height);
    const context = canvas.getContext("2d");
    context.drawImage(greySlice(z), 0, 0, canvas.width, canvas.height);
    for (const [name, v] of overlays()) {
      const inside = insideOf(v);
      const path = outlinePath((x, y) => inside(x, y, z), width, height, kx, ky);
      if (root.querySelector("[name$=style]:checked").value === "fills") {
        context.globalAlpha = 0.25;
        context.fillStyle = COLOURS[name];
        context.fill(path, "evenodd");
        context.globalAlpha = 1;
      }
      for (const [colour, thickness] of [["#000a", 3.5], [COLOURS[name], 2]]) {
        context.setLineDash(DASHES[name].map((length) => length * ratio));
        context.strokeStyle = colour;
        context.lineWidth = thickness * ratio;
        context.stroke(path);
      }
    }
    context.setLineDash([]);
    context.fillStyle = "#fff";
    context.fillRect(10 * ratio, canvas.height - 12 * ratio, (BAR / sx) * kx, 3 * ratio);
    context.font = `${12 * ratio}px sans-serif`;
    context.fillText(`${BAR} mm`, 10 * ratio, canvas.height - 18 * ratio);
    const text = `Slice ${z + 1} of ${depth}, ${((z + 0.5) * sz).toFixed(1)} mm`;
    part("where").textContent = text;
    const over = overlays().map(([, , label]) => label).join(", ");
    canvas.setAttribute("aria-label", `Case ${data.cases[chosen("case")]}, ${text}, outlines: ${over}`);
  }

  function greySlice(z) {
    const [, height, width] = volumes.size;
    const image = new ImageData(width, height);
    const low = chosen("level") - chosen("window") / 2;
    for (let n = 0; n < width * height; n++) {
      const grey = ((volumes.bytes[z * width * height + n] - low) / chosen("window")) * 255;
      image.data.set([grey, grey, grey, 255], 4 * n); // the array clamps values to 0…255
    }
    const small = document.createElement("canvas");
    [small.width, small.height] = [width, height];
    small.getContext("2d").putImageData(image, 0, 0);
    return small;
  }

  function drawSurfaces() {
    if (!surfacesWanted || !volumes) return;
    if (!document.createElement("canvas").getContext("webgl")) {
      part("surface-note").textContent = "This browser has no WebGL: surfaces in 3D cannot be drawn.";
      return;
    }
    const [depth, height, width] = volumes.size;
    const traces = overlays().filter(([name]) => name !== "b").map(([name, v, label]) => ({
      type: "mesh3d", ...surfaceMesh(insideOf(v), [width, height, depth], volumes.spacing),
      name: plain(label), color: COLOURS[name], opacity: name === "truth" ? 0.4 : 1, showlegend: true, hoverinfo: "name",
      flatshading: false, lighting: { ambient: 0.45, diffuse: 0.8, specular: 0.15, roughness: 0.7 },
      lightposition: { x: -200, y: -1000, z: 600 },
    })).reverse(); // opaque surfaces first
    const axis = (title) => ({ title: { text: `${title} [mm]` }, showbackground: false, gridcolor: "#e3e6ea", zeroline: false, dtick: 20 });
    part("surface-note").textContent = "";
    Plotly.react(
      part("surface"),
      traces,
      {
        margin: { l: 0, r: 0, t: 0, b: 0 }, uirevision: "camera", font: { family: "sans-serif", size: 12 },
        legend: { orientation: "h", y: 0, yanchor: "top" },
        scene: { aspectmode: "data", xaxis: axis("x"), yaxis: axis("y"), zaxis: axis("z"),
          camera: { eye: { x: -0.4, y: -1.7, z: 0.5 } } },
      },
      { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["tableRotation", "resetCameraLastSave3d"] },
    );
  }

  function drawReadout() {
    const columns = ["Dice [%]", "95HD [mm]", "ASSD [mm]", "volume"];
    const c = chosen("case");
    const missing = (name) => volumes !== null && (stored(name) < 0 || volumes.missing.includes(view().trials[chosen(name)]));
    for (const name of ["truth", "a", "b"]) {
      const cells = part(`readout-${name}`).querySelectorAll("td");
      const method = name === "truth" ? -1 : chosen(name);
      part(`readout-${name}`).hidden = name !== "truth" && method < 0;
      if (name !== "truth" && method >= 0) {
        const empty = values("volume")[method][c] === 0;
        const remark = missing(name) ? " (no picture of it here)" : empty ? " (empty)" : "";
        part(`name-${name}`).textContent = view().labels[method] + remark;
      }
      columns.forEach((column, n) => {
        const predicted = method < 0 ? null : values(column)[method][c];
        const value = name === "truth" && column === "volume" ? data.truth[chosen("structure")]?.[c] : predicted;
        cells[n].textContent = value === null || value === undefined ? "–" : value.toFixed(1);
      });
    }
  }

  function drawAll() {
    if (data.views.length) drawHeatmap();
    drawReadout();
    drawSlice();
    drawSurfaces();
  }

  function moveSlice(step) {
    const before = chosen("position");
    part("position").value = before + step;
    drawSlice();
    return chosen("position") !== before;
  }

  part("case").addEventListener("change", openCase);
  for (const name of ["measure", "structure", "postprocessing", "a", "b", "truth"]) {
    part(name).addEventListener("change", drawAll);
  }
  for (const name of ["position", "window", "level"]) part(name).addEventListener("input", drawSlice);
  root.querySelectorAll("[name$=style]").forEach((radio) => radio.addEventListener("change", drawSlice));
  for (const [name, step] of [["previous", -1], ["next", 1]]) {
    part(name).addEventListener("click", () => {
      part("case").value = (chosen("case") + step + data.cases.length) % data.cases.length;
      openCase();
    });
  }
  part("reset").addEventListener("click", () => {
    if (volumes) resetWindow();
    drawSlice();
  });
  canvas.addEventListener("wheel", (event) => {
    if (moveSlice(event.deltaY < 0 ? 1 : -1)) event.preventDefault(); // the page scrolls at the last slice
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 5, PageDown: -5, Home: -1e6, End: 1e6 };
    if (!(event.key in steps)) return;
    moveSlice(steps[event.key]);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse" || event.buttons !== 1) return;
    part("window").value = chosen("window") + event.movementX;
    part("level").value = chosen("level") + event.movementY;
    drawSlice();
  });
  part("draw-surfaces").addEventListener("click", () => {
    surfacesWanted = true;
    part("draw-surfaces").hidden = true;
    drawSurfaces();
  });
  new ResizeObserver(drawSlice).observe(part("panes"));
  root.hidden = false;
  if (data.views.length) {
    new ResizeObserver(drawHeatmap).observe(part("heatmap"));
    drawHeatmap();
    part("heatmap").on("plotly_click", ({ points: [point] }) => {
      part("case").value = point.x;
      part("a").value = point.y;
      openCase();
    });
  }
  openCase();
}

async function startViewers() {
  const viewers = document.querySelectorAll(".viewer");
  if (!viewers.length) return;
  const script = document.createElement("script");
  script.src = await library("plotly");
  await new Promise((resolve, reject) => {
    [script.onload, script.onerror] = [resolve, reject];
    document.head.append(script);
  });
  viewers.forEach((viewer) => startViewer(viewer, window.Plotly));
}
