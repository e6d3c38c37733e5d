// The page: a photo, words, and what the service says about them. State that is worth sharing is in the address; the photo
// is not.
'use strict';

const $ = (id) => document.getElementById(id);
const page = {
  models: [],
  limits: { bytes: 32 << 20 },
  photo: null, // { blob, name, bitmap, width, height, id }
  sides: [side(), side()], // A, and B while comparing
  active: 0,
  comparing: false,
  opacity: 60, background: 0, temperature: 0, grid: 0, divider: 50,
  hover: null, // { side, label }
  pinned: null, // a label whose heat map was asked for by a click or a key
  probe: null, // [x, y] in the photo
  history: [],
};

function side() {
  return { words: [], bad: new Set(), model: '', answer: null, result: null, request: null };
}

// --- Talking to the service ---

class Refused extends Error {
  constructor(status, detail) {
    super(detail.message);
    this.status = status;
    this.code = detail.code;
    this.word = detail.word;
    this.suggestions = detail.suggestions ?? [];
  }
}

async function call(path, options = {}) {
  for (let tries = 0; ; tries++) {
    const headers = { ...options.headers };
    const token = sessionStorage.getItem('token');
    if (token) headers.Authorization = `Bearer ${token}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new Error(t.unreachable);
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => ({ error: { code: 'unknown', message: `HTTP ${response.status}` } }));
    if (response.status === 401 && await askToken()) continue;
    if ((response.status === 429 || response.status === 503) && tries < 5) {
      say(t.busy);
      await new Promise((resolve) => setTimeout(resolve, 1000 * (Number(response.headers.get('Retry-After')) || 1)));
      continue;
    }
    throw new Refused(response.status, body.error);
  }
}

function askToken() {
  const dialog = $('token-dialog');
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      const token = $('token').value.trim();
      if (token) sessionStorage.setItem('token', token);
      resolve(token !== '');
    }, { once: true });
    $('token').value = '';
    dialog.showModal();
  });
}

function strides(s) { return model(s)?.strides ?? [16]; }
function model(s) { return page.models.find((m) => m.name === s.model) ?? page.models[0]; }
function stride(s) { return strides(s)[Math.min(page.grid, strides(s).length - 1)]; }
function logitScale(s) { return (model(s)?.logit_scale ?? 100) / 2 ** (page.temperature / 4); }
function threshold() { return page.background / 100; }

async function ensureImage(s, signal) {
  if (page.photo.id) return page.photo.id;
  const photo = page.photo;
  const query = new URLSearchParams({ model: model(s).name, stride: stride(s) });
  const response = await call(`v1/images?${query}`, {
    method: 'POST', body: photo.blob, headers: { 'Content-Type': 'application/octet-stream' }, signal,
  });
  photo.id = (await response.json()).id;
  return photo.id;
}

// ask posts a request about the photo, which is sent again when the service has forgotten it.
async function ask(path, s, body, signal) {
  for (let again = false; ; again = true) {
    const id = await ensureImage(s, signal);
    try {
      return await call(path, {
        method: 'POST', headers: { 'Content-Type': 'application/json' }, signal,
        body: JSON.stringify({ image_id: id, model: model(s).name, labels: goodWords(s), ...body }),
      });
    } catch (error) {
      if (again || error.code !== 'unknown_image') throw error;
      page.photo.id = null;
    }
  }
}

const goodWords = (s) => s.words.filter((w) => !s.bad.has(w));

// refresh gets the scores of one side's words. A later call ends an earlier one.
async function refresh(s) {
  s.request?.abort();
  if (!page.photo || goodWords(s).length === 0) {
    s.answer = s.result = s.request = null;
    draw();
    return;
  }
  const control = s.request = new AbortController();
  busy(page.photo.id ? t.scoring : t.encoding);
  try {
    const response = await ask('v1/heatmaps', s, { options: { stride: stride(s) } }, control.signal);
    const answer = await response.json();
    if (s.request !== control) return;
    answer.scores = raise(decodeFloats(answer.scores), answer.offsets);
    s.answer = answer;
    s.result = null;
    s.request = null;
    if (s === page.sides[page.active]) colourChips();
    draw();
    say(t.done(describe(s)));
  } catch (error) {
    if (error.name === 'AbortError' || s.request !== control) return;
    s.request = null;
    const unknown = error.code === 'unknown_label' ? goodWords(s).filter((w) => w.split('|').some((one) => plain(one) === error.word)) : [];
    if (unknown.length > 0) {
      unknown.forEach((w) => s.bad.add(w));
      complain(t.unknownWord(error.word, error.suggestions.length > 0), error.suggestions.map((word) => [word, () => replaceWord(s, unknown[0], word)]));
      render();
      return refresh(s);
    }
    s.answer = s.result = null;
    complain(error instanceof Refused ? t.failed(error.message) : error.message);
    draw();
  } finally {
    if (!page.sides.some((x) => x.request)) busy('');
  }
}

function refreshAll() {
  return Promise.all([refresh(page.sides[0]), page.comparing ? refresh(page.sides[1]) : null]);
}

// --- Messages ---

function say(text) { $('status').textContent = text; }

// complain shows what went wrong, with buttons [label, what it does] for what could be done about it.
function complain(text, ways = []) {
  $('notice').hidden = text === '';
  $('notice-text').textContent = text;
  $('notice-ways').replaceChildren(...ways.map(([label, does]) => {
    const button = element('button', { type: 'button', textContent: label });
    button.addEventListener('click', () => { complain(''); does(); });
    return button;
  }));
}
function busy(text) {
  $('busy').hidden = text === '';
  $('busy').firstElementChild.textContent = text;
}

// --- Photo ---

async function usePhoto(blob, name) {
  complain('');
  if (blob.size > page.limits.bytes) {
    complain(t.tooLarge((blob.size / 1e6).toFixed(1), (page.limits.bytes / 1e6).toFixed(0)));
    return;
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    complain(t.notPicture);
    return;
  }
  page.photo = { blob, name, bitmap, width: bitmap.width, height: bitmap.height, id: null };
  page.sides.forEach((s) => { s.answer = s.result = null; });
  page.probe = page.hover = page.pinned = null;
  $('welcome').hidden = true;
  $('work').hidden = false;
  $('new-photo').hidden = false;
  render();
  if (goodWords(page.sides[0]).length === 0) $('words').focus({ preventScroll: true });
  await refreshAll();
}

function forgetPhoto() {
  page.sides.forEach((s) => { s.request?.abort(); s.request = s.answer = s.result = null; });
  if (page.photo?.id) call(`v1/images/${page.photo.id}`, { method: 'DELETE' }).catch(() => {});
  page.photo = null;
  $('welcome').hidden = false;
  $('work').hidden = true;
  $('new-photo').hidden = true;
  complain('');
  $('choose').focus();
}

// --- State: address, undo ---

const remembered = () => ({
  words: page.sides.map((s) => [...s.words]), models: page.sides.map((s) => s.model), comparing: page.comparing, active: page.active,
  opacity: page.opacity, background: page.background, temperature: page.temperature, grid: page.grid,
});

// change does something that undo takes back. Steps of one slider in a row are one change.
function change(what, does) {
  const last = page.history.at(-1);
  if (!last || last.what !== what || !what.startsWith('slide')) page.history.push({ what, state: remembered() });
  if (page.history.length > 100) page.history.shift();
  does();
  saveAddress();
}

function undo() {
  const last = page.history.pop();
  if (!last) return;
  const state = last.state;
  page.sides.forEach((s, i) => {
    s.words = state.words[i];
    s.model = state.models[i];
  });
  Object.assign(page, {
    comparing: state.comparing, active: state.active, opacity: state.opacity, background: state.background,
    temperature: state.temperature, grid: state.grid,
  });
  page.hover = page.pinned = null;
  saveAddress();
  render();
  refreshAll();
  say(t.undone);
}

function saveAddress() {
  const query = new URLSearchParams();
  const put = (key, value, usual) => { if (value !== usual) query.set(key, value); };
  put('w', page.sides[0].words.join(','), '');
  put('m', page.sides[0].model, page.models[0]?.name);
  if (page.comparing) {
    query.set('c', 1);
    put('w2', page.sides[1].words.join(','), '');
    put('m2', page.sides[1].model, page.models[0]?.name);
  }
  put('o', page.opacity, 60);
  put('b', page.background, 0);
  put('t', page.temperature, 0);
  put('g', page.grid, 0);
  const text = query.toString();
  history.replaceState(null, '', text ? `#${text}` : location.pathname);
}

function loadAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  const number = (key, usual, least, most) => {
    const value = Number(query.get(key) ?? usual);
    return Number.isFinite(value) ? Math.min(most, Math.max(least, Math.round(value))) : usual;
  };
  page.comparing = query.get('c') === '1';
  ['', '2'].forEach((suffix, i) => {
    page.sides[i].words = splitWords(query.get('w' + suffix) ?? '');
    const named = query.get('m' + suffix);
    page.sides[i].model = page.models.some((m) => m.name === named) ? named : page.models[0]?.name ?? '';
  });
  page.opacity = number('o', 60, 0, 100);
  page.background = number('b', 0, 0, 100);
  page.temperature = number('t', 0, -20, 20);
  page.grid = number('g', 0, 0, 8);
}

// --- Words ---

const plain = (text) => text.replace(/\s+/g, ' ').trim();

function splitWords(text) {
  const seen = new Set();
  return text.split(/[,\n،、，]/).map(plain).filter((w) => {
    const key = w.split('|')[0].trim().toLowerCase();
    if (key === '' || seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

function addWords(text) {
  const s = page.sides[page.active];
  const next = splitWords([...s.words, ...splitWords(text)].join(','));
  if (next.length === s.words.length) return;
  change('words', () => { s.words = next; });
  render();
  refresh(s);
}

function replaceWord(s, old, word) {
  change('words', () => { s.words = splitWords(s.words.map((w) => (w === old ? word : w)).join(',')); });
  render();
  refresh(s);
}

function removeWord(index) {
  const s = page.sides[page.active];
  change('words', () => { s.words = s.words.filter((_, i) => i !== index); });
  page.hover = page.pinned = null;
  render();
  refresh(s);
}

// --- Drawing ---

const longest = 900; // of the picture that is drawn; downloads have the photo's own size

function drawSize() {
  const scale = Math.min(1, longest / Math.max(page.photo.width, page.photo.height));
  return [Math.max(1, Math.round(page.photo.width * scale)), Math.max(1, Math.round(page.photo.height * scale))];
}

function resultOf(s) {
  if (!s.answer) return null;
  const key = [threshold(), threshold() > 0 ? logitScale(s) : 0].join();
  if (!s.result || s.result.key !== key) {
    const [w, h] = drawSize();
    s.result = { key, ...segment(s.answer, w, h, logitScale(s), threshold()) };
  }
  return s.result;
}

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

// paintMask fills a layer with a side's colours, stronger where two labels meet.
function paintMask(pixels, s, w, h, from, to) {
  const { ids } = resultOf(s), colours = s.answer.labels.map((l) => rgb(l.color)), alpha = page.opacity * 2.55;
  const edge = Math.min(255, alpha * 1.5 + 30) * (page.opacity > 0);
  for (let y = 0; y < h; y++) {
    for (let x = from; x < to; x++) {
      const at = y * w + x, id = ids[at];
      if (id >= colours.length) continue;
      const border = (x + 1 < w && ids[at + 1] !== id) || (y + 1 < h && ids[at + w] !== id) || (x > 0 && ids[at - 1] !== id) || (y > 0 && ids[at - w] !== id);
      const c = colours[id];
      pixels[4 * at] = c[0]; pixels[4 * at + 1] = c[1]; pixels[4 * at + 2] = c[2]; pixels[4 * at + 3] = border ? edge : alpha;
    }
  }
}

// The colours of heat, from dark to light, equally far apart to the eye.
const heatStops = [[20, 14, 54], [86, 21, 110], [163, 44, 96], [226, 89, 51], [249, 165, 42], [252, 240, 170]];
function heatColour(v) {
  const p = v * (heatStops.length - 1), i = Math.min(heatStops.length - 2, Math.floor(p)), u = p - i;
  return heatStops[i].map((c, k) => c + u * (heatStops[i + 1][k] - c));
}
const heatTable = Array.from({ length: 256 }, (_, i) => heatColour(i / 255));

function paintHeat(pixels, s, label, w, h, from, to) {
  const plane = upsample(s.answer, label, w, h);
  let low = Infinity, high = -Infinity;
  for (const v of plane) { if (v < low) low = v; if (v > high) high = v; }
  const span = Math.max(high - low, 1e-6);
  for (let y = 0; y < h; y++) {
    for (let x = from; x < to; x++) {
      const at = y * w + x, c = heatTable[Math.round((plane[at] - low) / span * 255)];
      pixels[4 * at] = c[0]; pixels[4 * at + 1] = c[1]; pixels[4 * at + 2] = c[2]; pixels[4 * at + 3] = 205;
    }
  }
}

let drawing = 0;
function draw() {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(drawNow);
}

function drawNow() {
  if (!page.photo) return;
  const canvas = $('view'), [w, h] = drawSize();
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  $('frame').style.width = `min(100%, calc(var(--tall) * ${w / h}))`;
  const context = canvas.getContext('2d');
  context.drawImage(page.photo.bitmap, 0, 0, w, h);
  const layer = new ImageData(w, h);
  const middle = page.comparing ? Math.round(w * page.divider / 100) : w;
  const heat = page.hover ?? page.pinned;
  page.sides.forEach((s, i) => {
    const [from, to] = i === 0 ? [0, middle] : [middle, w];
    if (!s.answer || from >= to) return;
    const label = heat && (heat.side === i || page.comparing) ? labelOf(s, heat) : -1;
    if (label >= 0) paintHeat(layer.data, s, label, w, h, from, to);
    else paintMask(layer.data, s, w, h, from, to);
  });
  const scratch = drawNow.scratch ??= document.createElement('canvas');
  scratch.width = w; scratch.height = h;
  scratch.getContext('2d').putImageData(layer, 0, 0);
  context.drawImage(scratch, 0, 0);
  if (page.comparing) {
    context.fillStyle = 'rgb(255 255 255 / .9)';
    context.fillRect(middle - 1, 0, 2, h);
  }
  if (page.probe) {
    const [x, y] = [page.probe[0] / page.photo.width * w, page.probe[1] / page.photo.height * h];
    for (const [width, style] of [[4, 'rgb(0 0 0 / .55)'], [2, '#fff']]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.beginPath();
      context.arc(x, y, 7, 0, 2 * Math.PI);
      context.stroke();
    }
  }
  canvas.setAttribute('aria-label', t.picture(describe(page.sides[page.active])));
  showGrid();
  showLegend();
  showProbe();
}

// labelOf finds the label of a word on another side, too, so that a heat map is compared as the mask is.
function labelOf(s, heat) {
  return s.answer.labels.findIndex((l) => l.name === heat.name);
}

// percent has a decimal where whole numbers would hide a small share, or that a large one is not all.
const percent = (v) => v > 0 && v < 0.0005 ? '< 0.1 %' : `${(100 * v).toFixed((v > 0 && v < 0.0995) || (v >= 0.995 && v < 1) ? 1 : 0)} %`;

function describe(s) {
  const result = s.answer && resultOf(s);
  if (!result) return '';
  return s.answer.labels.map((l, i) => [l.name, result.shares[i]]).filter(([, v]) => v > 0).sort((a, b) => b[1] - a[1])
    .map(([name, v]) => `${name} ${percent(v)}`).join(', ');
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function bar(share, colour) {
  const fill = element('i');
  fill.style.width = `${100 * Math.max(0, Math.min(1, share))}%`;
  fill.hidden = share <= 0;
  fill.style.background = colour;
  return element('span', { className: 'bar', ariaHidden: 'true' }, fill);
}

function dot(colour) {
  const made = element('span', { className: 'dot', ariaHidden: 'true' });
  if (colour) made.style.background = colour;
  return made;
}

// heated makes an element show a word's heat map while it is pointed at or focused, and keep it after a click.
function heated(button, side, name) {
  const show = (on) => {
    const next = on ? { side, name } : null;
    if (page.hover?.name === next?.name && page.hover?.side === next?.side) return;
    page.hover = next;
    draw();
  };
  button.addEventListener('pointerenter', (event) => { if (event.pointerType === 'mouse') show(true); });
  button.addEventListener('pointerleave', () => show(false));
  button.addEventListener('focus', () => { if (button.matches(':focus-visible')) show(true); });
  button.addEventListener('blur', () => show(false));
  button.addEventListener('click', () => {
    const same = page.pinned?.name === name && page.pinned?.side === side;
    page.pinned = same ? null : { side, name };
    page.hover = null;
    if (!same) say(t.heatNow(name));
    render();
  });
  button.setAttribute('aria-label', t.heat(name));
  button.setAttribute('aria-pressed', String(page.pinned?.name === name && page.pinned?.side === side));
}

function showGrid() {
  const grid = page.sides[page.active].answer?.grid;
  $('grid-value').textContent = grid ? `${grid.columns} × ${grid.rows}` : '';
}

let legendKey = '';
function showLegend() {
  const s = page.sides[page.active], result = s.answer && resultOf(s);
  $('legend-field').hidden = !result;
  const key = result ? [page.active, result.key, s.answer.labels.map((l) => l.name), result.shares, page.pinned?.name].join() : '';
  if (key === legendKey) return;
  legendKey = key;
  const rows = result ? s.answer.labels.map((l, i) => ({ ...l, share: result.shares[i] })).sort((a, b) => b.share - a.share) : [];
  const focused = document.activeElement?.dataset?.name;
  $('legend').replaceChildren(...rows.map((l) => {
    const button = element('button', { type: 'button' }, dot(l.color), element('span', { className: 'name', textContent: l.name }), ' ',
      bar(l.share, l.color), element('span', { className: 'number', textContent: percent(l.share) }));
    button.dataset.name = l.name;
    heated(button, page.active, l.name);
    button.setAttribute('aria-label', `${l.name} ${percent(l.share)}. ${t.heat(l.name)}`);
    return element('li', {}, button);
  }));
  if (result && result.shares.at(-1) > 0) {
    const row = element('li', {}, element('button', { type: 'button', disabled: true }, dot(''), element('span', { className: 'name', textContent: t.none }),
      bar(result.shares.at(-1), 'var(--soft)'), element('span', { className: 'number', textContent: percent(result.shares.at(-1)) })));
    $('legend').append(row);
  }
  if (focused) [...$('legend').querySelectorAll('button')].find((b) => b.dataset.name === focused)?.focus();
}

function showProbe() {
  const right = page.comparing && page.probe && page.probe[0] / page.photo.width * 100 > page.divider ? 1 : 0;
  const s = page.sides[right];
  $('probe').hidden = !page.probe || !s.answer;
  if ($('probe').hidden) return;
  $('probe-place').textContent = `${Math.floor(page.probe[0])}, ${Math.floor(page.probe[1])}${page.comparing ? ` (${'AB'[right]})` : ''}`;
  const list = scoresAt(s.answer, page.probe[0], page.probe[1], logitScale(s)).slice(0, 12);
  $('probe-list').replaceChildren(...list.map((e) => {
    const l = s.answer.labels[e.label];
    return element('li', {}, dot(l.color), element('span', { className: 'name', textContent: l.name }), bar(e.share, l.color),
      element('span', { className: 'number', textContent: (e.score - (s.answer.offsets?.[e.label] ?? 0)).toFixed(3) }));
  }));
}

// colourChips gives the words their labels' colours once the service has named them.
function colourChips() {
  const colours = new Map((page.sides[page.active].answer?.labels ?? []).map((l) => [l.name, l.color]));
  for (const button of $('chip-list').querySelectorAll('.word')) {
    button.firstElementChild.style.background = colours.get(button.dataset.name) ?? '';
  }
}

// render brings all controls in line with the state.
function render() {
  const s = page.sides[page.active];
  $('chip-list').replaceChildren(...s.words.map((word, i) => {
    const name = word.split('|')[0].trim();
    const show = element('button', { type: 'button', className: 'word' }, dot(''), word);
    show.dataset.name = name;
    heated(show, page.active, name);
    const remove = element('button', { type: 'button', className: 'remove', textContent: '×', ariaLabel: t.remove(word) });
    remove.addEventListener('click', () => { removeWord(i); $('words').focus(); });
    return element('li', { className: s.bad.has(word) ? 'chip bad' : 'chip' }, show, remove);
  }));
  colourChips();
  $('words').placeholder = s.words.length ? t.wordsMore : t.wordsPlaceholder;
  const known = (model(s)?.examples ?? []).filter((w) => !s.words.includes(w)).slice(0, 6);
  $('suggestions').hidden = s.words.length > 0 || known.length === 0;
  $('suggestions').replaceChildren(t.suggestions, ...known.map((word) => {
    const button = element('button', { type: 'button', textContent: word });
    button.addEventListener('click', () => addWords(word));
    return button;
  }));
  $('tabs').hidden = !page.comparing;
  [0, 1].forEach((i) => {
    $(`tab-${i}`).setAttribute('aria-selected', String(page.active === i));
    $(`tab-${i}`).tabIndex = page.active === i ? 0 : -1;
    $(`tag-${i}`).hidden = !page.comparing;
    const other = page.models.length > 1 ? ` · ${page.sides[i].model}` : '';
    $(`tag-${i}`).textContent = 'AB'[i] + other;
  });
  $('divider').hidden = !page.comparing;
  $('divider').value = page.divider;
  $('compare').setAttribute('aria-pressed', String(page.comparing));
  $('undo').disabled = page.history.length === 0;
  $('model-field').hidden = page.models.length < 2;
  $('model').replaceChildren(...page.models.map((m) => element('option', { value: m.name, textContent: m.name, selected: m.name === model(s).name })));
  $('opacity').value = page.opacity;
  $('opacity-value').textContent = `${page.opacity} %`;
  $('background').value = page.background;
  $('background-value').textContent = page.background ? `${page.background} %` : t.off;
  $('temperature').value = page.temperature;
  $('temperature-value').textContent = page.temperature ? `× ${(2 ** (page.temperature / 4)).toPrecision(2)}` : t.own;
  const list = strides(s);
  $('grid').max = Math.max(1, list.length - 1);
  $('grid').disabled = list.length < 2;
  $('grid').value = Math.min(page.grid, list.length - 1);
  showGrid();
  document.querySelectorAll('[data-format]').forEach((b) => { b.disabled = goodWords(s).length === 0; });
  draw();
}

// --- Downloads ---

async function download(format) {
  const s = page.sides[page.active];
  busy(t.scoring);
  try {
    const response = await ask('v1/segment', s, {
      format,
      options: { stride: stride(s), background: threshold(), temperature: 1 / logitScale(s), opacity: page.opacity / 100 },
    });
    const stem = (page.photo.name || 'photo').replace(/\.[^.]*$/, '');
    const name = stem + { png: '.mask.png', overlay: '.overlay.png', json: '.json', coco: '.coco.json' }[format];
    const link = element('a', { href: URL.createObjectURL(await response.blob()), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(t.saved(name));
  } catch (error) {
    complain(error instanceof Refused ? t.failed(error.message) : error.message);
  } finally {
    busy('');
  }
}

// --- Camera ---

let stream = null;
async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    $('file-camera').click(); // a phone opens its own camera
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 1600 } } });
  } catch {
    complain(t.noCamera);
    return;
  }
  $('video').srcObject = stream;
  $('camera-dialog').showModal();
  await $('video').play();
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $('video').srcObject = null;
}

function shoot() {
  const video = $('video'), canvas = element('canvas', { width: video.videoWidth, height: video.videoHeight });
  if (!video.videoWidth) return;
  canvas.getContext('2d').drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    $('camera-dialog').close();
    if (blob) usePhoto(blob, 'camera.jpg');
  }, 'image/jpeg', 0.92);
}

// --- Gallery ---

async function showGallery() {
  const s = page.sides[0];
  const list = await (await call(`examples?${new URLSearchParams({ model: model(s).name })}`)).json();
  const korean = language === 'ko' && model(s).languages?.includes('ko');
  $('gallery').replaceChildren(...list.map((e, i) => {
    const labels = korean ? e.labels_ko : e.labels;
    const button = element('button', { type: 'button' },
      element('img', { src: e.src.slice(1), alt: e[language], width: 280, height: 210, loading: 'lazy' }),
      element('span', { textContent: labels.join(', '), ariaHidden: 'true' }));
    button.addEventListener('click', async () => {
      try {
        const blob = await (await call(e.src.slice(1))).blob();
        change('words', () => { page.sides[0].words = [...labels]; });
        await usePhoto(blob, `${t.example}-${i + 1}.png`);
      } catch (error) {
        complain(error.message);
      }
    });
    return element('li', {}, button);
  }));
}

// --- Events ---

function listen() {
  const pick = (input) => {
    const file = input.files[0];
    input.value = '';
    if (file) usePhoto(file, file.name);
  };
  $('choose').addEventListener('click', () => $('file').click());
  $('file').addEventListener('change', () => pick($('file')));
  $('file-camera').addEventListener('change', () => pick($('file-camera')));
  $('camera').addEventListener('click', openCamera);
  $('camera-close').addEventListener('click', () => $('camera-dialog').close());
  $('camera-dialog').addEventListener('close', closeCamera);
  $('shoot').addEventListener('click', shoot);
  $('new-photo').addEventListener('click', forgetPhoto);
  $('notice-close').addEventListener('click', () => complain(''));

  let inside = 0;
  const carries = (event) => event.dataTransfer?.types.includes('Files');
  addEventListener('dragenter', (event) => { if (carries(event)) { inside++; $('drop-veil').hidden = false; } });
  addEventListener('dragleave', (event) => { if (carries(event) && --inside <= 0) { inside = 0; $('drop-veil').hidden = true; } });
  addEventListener('dragover', (event) => { if (carries(event)) event.preventDefault(); });
  addEventListener('drop', (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    inside = 0;
    $('drop-veil').hidden = true;
    const file = event.dataTransfer.files[0];
    if (file) usePhoto(file, file.name);
  });
  addEventListener('paste', (event) => {
    const file = [...event.clipboardData.items].find((i) => i.kind === 'file')?.getAsFile();
    if (file) {
      event.preventDefault();
      usePhoto(file, file.name);
    }
  });

  const words = $('words');
  $('chips').addEventListener('click', (event) => { if (event.target === $('chips')) words.focus(); });
  words.addEventListener('keydown', (event) => {
    if (event.isComposing) return; // Enter that ends a Korean syllable
    if (event.key === 'Enter' || event.key === ',') {
      event.preventDefault();
      const text = words.value;
      words.value = '';
      addWords(text);
    } else if (event.key === 'Backspace' && words.value === '' && page.sides[page.active].words.length > 0) {
      removeWord(page.sides[page.active].words.length - 1);
    }
  });
  words.addEventListener('input', () => {
    // Phones and pasted lists bring commas without a key.
    if (/[,\n、，]/.test(words.value)) {
      const parts = words.value.split(/[,\n、，]/);
      words.value = parts.pop().trimStart();
      addWords(parts.join(','));
    }
  });
  words.addEventListener('blur', () => {
    const text = words.value;
    words.value = '';
    if (text.trim()) addWords(text);
  });

  const slide = (id, does) => $(id).addEventListener('input', () => {
    change(`slide ${id}`, () => { page[id] = Number($(id).value); });
    render();
    does?.();
  });
  slide('opacity');
  slide('background');
  slide('temperature');
  slide('grid', refreshAll);
  $('divider').addEventListener('input', () => { page.divider = Number($('divider').value); draw(); });
  $('model').addEventListener('change', () => {
    const s = page.sides[page.active];
    change('model', () => { s.model = $('model').value; s.bad.clear(); });
    render();
    refresh(s);
  });
  $('undo').addEventListener('click', undo);
  $('compare').addEventListener('click', () => {
    change('compare', () => {
      page.comparing = !page.comparing;
      page.active = page.comparing ? 1 : 0;
      const [a, b] = page.sides;
      if (page.comparing && b.words.length === 0) {
        b.words = [...a.words];
        b.model = (page.models.find((m) => m.name !== a.model) ?? page.models[0]).name;
      }
    });
    page.hover = page.pinned = null;
    render();
    refreshAll();
  });
  [0, 1].forEach((i) => {
    $(`tab-${i}`).addEventListener('click', () => { page.active = i; render(); });
    $(`tab-${i}`).addEventListener('keydown', (event) => {
      if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
        page.active = 1 - i;
        render();
        $(`tab-${1 - i}`).focus();
      }
    });
  });
  document.querySelectorAll('[data-format]').forEach((b) => b.addEventListener('click', () => download(b.dataset.format)));

  const canvas = $('view');
  canvas.addEventListener('click', (event) => {
    const box = canvas.getBoundingClientRect();
    page.probe = [(event.clientX - box.left) / box.width * page.photo.width, (event.clientY - box.top) / box.height * page.photo.height];
    draw();
  });
  canvas.addEventListener('keydown', (event) => {
    const step = event.shiftKey ? 0.1 : 0.01;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (event.key === 'Escape') page.probe = null;
    else if (move || event.key === 'Enter' || event.key === ' ') {
      const { width, height } = page.photo;
      const [x, y] = page.probe ?? [width / 2, height / 2];
      page.probe = [
        Math.min(width - 1, Math.max(0, x + (move?.[0] ?? 0) * width)), Math.min(height - 1, Math.max(0, y + (move?.[1] ?? 0) * height)),
      ];
    } else return;
    event.preventDefault();
    draw();
  });
  addEventListener('keydown', (event) => {
    const typing = event.target.matches?.('input[type=text], input[type=password]') && event.target.value !== '';
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === 'z' && !typing) {
      event.preventDefault();
      undo();
    }
  });
  addEventListener('hashchange', () => { loadAddress(); render(); refreshAll(); });
}

async function begin() {
  translatePage();
  listen();
  try {
    const answer = await (await call('v1/models')).json();
    page.models = answer.models;
    page.limits = answer.limits;
    loadAddress();
    render();
    await showGallery();
  } catch (error) {
    complain(error.message);
  }
  document.documentElement.dataset.ready = 'true';
}

begin();
