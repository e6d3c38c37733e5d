// The read-out in the browser: scores of patches to labels of pixels, as the service's own does it, so that sliders answer
// without a request. Scores lie at patch centres and are up-sampled bilinearly; the edge is replicated.
'use strict';

// decodeFloats reads base64 of little-endian float32.
function decodeFloats(text) {
  const raw = atob(text);
  const view = new DataView(new ArrayBuffer(raw.length));
  for (let i = 0; i < raw.length; i++) view.setUint8(i, raw.charCodeAt(i));
  const values = new Float32Array(raw.length / 4);
  for (let i = 0; i < values.length; i++) values[i] = view.getFloat32(4 * i, true);
  return values;
}

// raise adds to each label's scores what the photo as a whole says for it.
function raise(scores, offsets) {
  if (offsets) for (let i = 0; i < scores.length; i++) scores[i] += offsets[i % offsets.length];
  return scores;
}

// axis tells for each of n pixels, which cover `length` pixels of the photo, the cell before it and how far on it lies.
function axis(n, length, first, step, cells) {
  const cell = new Int32Array(n), share = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    const at = Math.min(cells - 1, Math.max(0, ((i + 0.5) * length / n - first) / step));
    cell[i] = Math.min(Math.floor(at), Math.max(0, cells - 2));
    share[i] = cells > 1 ? at - cell[i] : 0;
  }
  return { cell, share };
}

// segment gives each pixel of a picture of width x height its label, or the number of labels for the background.
function segment(answer, width, height, logitScale, background) {
  const { grid, scores } = answer, labels = answer.labels.length;
  const xs = axis(width, answer.width, grid.x0, grid.dx, grid.columns);
  const ys = axis(height, answer.height, grid.y0, grid.dy, grid.rows);
  const ids = new Uint16Array(width * height), counts = new Float64Array(labels + 1);
  const line = new Float32Array(grid.columns * labels);
  const right = grid.columns > 1 ? labels : 0, down = grid.rows > 1 ? grid.columns * labels : 0;
  for (let y = 0; y < height; y++) {
    const top = ys.cell[y] * grid.columns * labels, v = ys.share[y];
    for (let i = 0; i < line.length; i++) line[i] = scores[top + i] + v * (scores[top + down + i] - scores[top + i]);
    for (let x = 0; x < width; x++) {
      const at = xs.cell[x] * labels, u = xs.share[x];
      let best = -Infinity, id = labels;
      for (let l = 0; l < labels; l++) {
        const s = line[at + l] + u * (line[at + right + l] - line[at + l]);
        if (s > best) { best = s; id = l; }
      }
      if (background > 0 && id < labels) {
        let sum = 0;
        for (let l = 0; l < labels; l++) {
          sum += Math.exp(logitScale * (line[at + l] + u * (line[at + right + l] - line[at + l]) - best));
        }
        if (1 / sum < background) id = labels;
      }
      ids[y * width + x] = id;
      counts[id]++;
    }
  }
  return { ids, shares: Array.from(counts, (n) => n / (width * height)) };
}

// upsample gives one label's scores at each pixel.
function upsample(answer, label, width, height) {
  const { grid, scores } = answer, labels = answer.labels.length;
  const xs = axis(width, answer.width, grid.x0, grid.dx, grid.columns);
  const ys = axis(height, answer.height, grid.y0, grid.dy, grid.rows);
  const right = grid.columns > 1 ? labels : 0, down = grid.rows > 1 ? grid.columns * labels : 0;
  const plane = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (ys.cell[y] * grid.columns + xs.cell[x]) * labels + label, u = xs.share[x], v = ys.share[y];
      const a = scores[at] + u * (scores[at + right] - scores[at]);
      const b = scores[at + down] + u * (scores[at + down + right] - scores[at + down]);
      plane[y * width + x] = a + v * (b - a);
    }
  }
  return plane;
}

// scoresAt gives all labels' scores and their shares in the softmax at one place of the photo.
function scoresAt(answer, x, y, logitScale) {
  const { grid, scores } = answer, labels = answer.labels.length;
  const place = (at, first, step, cells) => {
    const p = Math.min(cells - 1, Math.max(0, (at - first) / step));
    const cell = Math.min(Math.floor(p), Math.max(0, cells - 2));
    return [cell, Math.min(cell + 1, cells - 1), p - cell];
  };
  const [c0, c1, u] = place(x, grid.x0, grid.dx, grid.columns);
  const [r0, r1, v] = place(y, grid.y0, grid.dy, grid.rows);
  const value = (r, c, l) => scores[(r * grid.columns + c) * labels + l];
  const list = [];
  for (let l = 0; l < labels; l++) {
    const a = value(r0, c0, l) + u * (value(r0, c1, l) - value(r0, c0, l));
    const b = value(r1, c0, l) + u * (value(r1, c1, l) - value(r1, c0, l));
    list.push({ label: l, score: a + v * (b - a) });
  }
  const best = Math.max(...list.map((e) => e.score));
  const sum = list.reduce((s, e) => s + Math.exp(logitScale * (e.score - best)), 0);
  for (const e of list) e.share = Math.exp(logitScale * (e.score - best)) / sum;
  return list.sort((a, b) => b.score - a.score);
}
