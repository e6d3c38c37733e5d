// Times ONNX Runtime on the networks that reference.py exported: node reference.mjs DIRECTORY vision|stride4|text...
import {createRequire} from 'node:module';
const ort = createRequire(process.cwd() + '/')('onnxruntime-node');
const [directory, ...works] = process.argv.slice(2);
const options = {intraOpNumThreads: 2, interOpNumThreads: 1, graphOptimizationLevel: 'all'};

async function time(file, feeds, count, work, runs) {
  const session = await ort.InferenceSession.create(`${directory}/${file}`, options);
  await session.run(feeds);
  const times = [], used = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now(), before = process.cpuUsage();
    await session.run(feeds);
    times.push((performance.now() - start) / count);
    const cpu = process.cpuUsage(before);
    used.push((cpu.user + cpu.system) / 1000 / count);
  }
  const median = (list) => +list.sort((a, b) => a - b)[runs >> 1].toFixed(2);
  console.log(JSON.stringify({peer: 'ONNX Runtime 1.30', work, dtype: 'f32', ms: median(times), cpu_ms: median(used)}));
  await session.release();
}

const noise = (n) => Float32Array.from({length: n}, () => Math.random() - 0.5);
const pixels = (n) => ({input: new ort.Tensor('float32', noise(n * 3 * 224 * 224), [n, 3, 224, 224])});
const prompts = (n) => {
  const ids = new BigInt64Array(n * 77);
  for (let i = 0; i < n; i++) {
    ids[i * 77] = 49406n;
    for (let j = 1; j < 8; j++) ids[i * 77 + j] = BigInt(Math.floor(Math.random() * 49000));
    ids[i * 77 + 8] = 49407n;
  }
  return {input: new ort.Tensor('int64', ids, [n, 77])};
};
const known = {
  async vision() {
    await time('vision.onnx', pixels(8), 8, 'vision batch 8, per image', 5);
    await time('vision.onnx', pixels(1), 1, 'vision batch 1', 7);
  },
  stride4: () => time('vision-stride4.onnx', pixels(1), 1, 'vision stride 4', 3),
  text: () => time('text.onnx', prompts(50), 50, 'text, 50 prompts padded to 77, per prompt', 3),
};
for (const work of works) await known[work]();
