#!/usr/bin/env node
// Compare pacl's hub cache with that of Hugging Face's own JavaScript library: each finds what the other loaded.
//
//   npm install --prefix /tmp/hub --ignore-scripts @huggingface/hub
//   go build -o /tmp/pacl ./cmd/pacl
//   node scripts/crosscheck/cache.mjs /tmp/pacl /tmp/hub/node_modules encoder/testdata/siglip
//
// A server on the loopback address speaks the hub's protocol and serves a directory as example/model; files of more than
// 100 kB lie on another path, named by their SHA-256, the others by git's SHA-1.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [program, modules, directory] = process.argv.slice(2).map((path) => resolve(path));
const { scanCacheDir, downloadFileToCacheDir } = await import(pathToFileURL(join(modules, "@huggingface/hub/dist/index.mjs")));

const id = "example/model", commit = "0123456789abcdef0123456789abcdef01234567";
const files = new Map(readdirSync(directory).map((name) => {
  const content = readFileSync(join(directory, name));
  const large = content.length > 100_000;
  const git = createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
  return [name, { content, large, git, etag: large ? createHash("sha256").update(content).digest("hex") : git }];
}));

let contents = 0; // requests for the bytes of files
const server = createServer(async (request, response) => {
  const path = new URL(request.url, "http://x").pathname;
  const json = (value) => response.setHeader("Content-Type", "application/json").end(JSON.stringify(value));
  if (path.startsWith(`/api/models/${id}/revision/`)) {
    return json({ sha: commit, siblings: [...files.keys()].map((rfilename) => ({ rfilename })) });
  }
  if (path.startsWith(`/api/models/${id}/paths-info/`)) {
    let body = "";
    for await (const part of request) body += part;
    return json(JSON.parse(body).paths.map((name) => {
      const f = files.get(name);
      const lfs = f.large ? { oid: f.etag, size: f.content.length, pointerSize: 100 } : undefined;
      return { path: name, type: "file", oid: f.git, size: f.content.length, lfs, lastCommit: { id: commit, title: "", date: new Date().toISOString() } };
    }));
  }
  const name = decodeURIComponent(path.split("/").at(-1)), f = files.get(name);
  if (!f) return response.writeHead(404).end();
  if (f.large && path.startsWith(`/${id}/resolve/`)) {
    response.setHeader("X-Linked-Etag", `"${f.etag}"`).setHeader("X-Linked-Size", f.content.length).setHeader("X-Repo-Commit", commit);
    return response.writeHead(302, { Location: `/store/${name}` }).end();
  }
  response.setHeader("ETag", `"${f.large ? "of-the-store" : f.etag}"`).setHeader("X-Repo-Commit", commit);
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const part = range ? f.content.subarray(+range[1], range[2] ? +range[2] + 1 : undefined) : f.content;
  if (range) response.setHeader("Content-Range", `bytes ${range[1]}-${+range[1] + part.length - 1}/${f.content.length}`);
  response.writeHead(range ? 206 : 200, { "Content-Length": part.length });
  if (request.method === "GET") contents++;
  response.end(request.method === "GET" ? part : undefined);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const hubUrl = `http://127.0.0.1:${server.address().port}`;

const check = (good, what) => {
  console.log(`${good ? "ok  " : "FAIL"} ${what}`);
  if (!good) process.exitCode = 1;
};
const pull = (cache) => new Promise((done) => {
  const child = spawn(program, ["--quiet", "pull", id], { stdio: "inherit", env: { ...process.env, HF_ENDPOINT: hubUrl, HF_HUB_CACHE: cache, HF_TOKEN: "" } });
  child.on("exit", done);
});
// What each name of the snapshot leads to, and the content behind it.
const snapshot = (cache) => {
  const dir = join(cache, "models--example--model", "snapshots", commit);
  return JSON.stringify(readdirSync(dir).sort().map((name) =>
    [name, readlinkSync(join(dir, name)), createHash("sha1").update(readFileSync(join(dir, name))).digest("hex")]));
};

const ours = mkdtempSync(join(tmpdir(), "pacl-cache-")), theirs = mkdtempSync(join(tmpdir(), "pacl-cache-"));
check((await pull(ours)) === 0, "pacl pull");
const found = await scanCacheDir(ours);
const repo = found.repos[0], revision = repo?.revisions[0];
check(found.warnings.length === 0 && found.repos.length === 1 && repo.id.name === id, "the library finds one model without a warning");
check(revision?.commitOid === commit && revision.refs.includes("main"), "of the right commit, which main names");
check(JSON.stringify(revision?.files.map((f) => [f.path.split("/").at(-1), f.blob.size]).sort()) ===
  JSON.stringify([...files].map(([name, f]) => [name, f.content.length]).sort()), "with all files in their sizes");
let before = contents;
for (const path of files.keys()) await downloadFileToCacheDir({ repo: id, path, revision: commit, hubUrl, cacheDir: ours });
check(contents === before, "it takes them from there and loads nothing again");

console.debug = () => {};
for (const path of files.keys()) await downloadFileToCacheDir({ repo: id, path, hubUrl, cacheDir: theirs });
before = contents;
check((await pull(theirs)) === 0 && contents === before, "pacl takes what the library loaded and loads nothing again");
check(snapshot(ours) === snapshot(theirs), "both snapshots have the same links and contents");
for (const dir of [ours, theirs]) rmSync(dir, { recursive: true });
server.close();
