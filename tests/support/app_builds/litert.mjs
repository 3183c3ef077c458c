// usage: litert.mjs CHROMIUM PACKAGE GOLDEN: runs the golden answers of PACKAGE/model.tflite in LiteRT.js, says how far they are off
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { chromium } from "playwright-core";

const types = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };
const page = `<!doctype html><script type="importmap">{"imports": {"@litertjs/wasm-utils": "/node_modules/@litertjs/wasm-utils/dist/index.js"}}</script>
<script type="module">
import * as edge from "/package/model.js";
import { loadAndCompile, loadLiteRt, Tensor } from "/node_modules/@litertjs/core/dist/index.js";
const bytes = async (file) => (await fetch(file)).arrayBuffer();
const values = async ({ file }) => new Float32Array(await bytes("/golden/" + file));
try {
  await loadLiteRt("/node_modules/@litertjs/core/wasm/");
  const model = await loadAndCompile("/package/model.tflite", { accelerator: "wasm" });
  const golden = JSON.parse(new TextDecoder().decode(await bytes("/golden/golden.json")));
  const [input] = edge.model.inputs, [output] = edge.model.outputs, errors = [];
  for (const { inputs: [x], outputs: [y] } of [golden, golden.image]) {
    const [answer] = await model.run(new Tensor(edge.stored(input, await values(x)), input.shape));
    const got = output.dtype === "float32" ? await answer.data() : edge.real(output, await answer.data());
    errors.push((await values(y)).reduce((most, v, i) => Math.max(most, Math.abs(v - got[i])), 0));
  }
  window.result = { dtypes: [input.dtype, output.dtype], errors, atol: edge.model.goldenAtol };
} catch (error) { window.result = { error: String(error) }; }
</script>`;
const [, , program, made, golden] = process.argv;
const folders = { package: made, golden, node_modules: "node_modules" };
const server = http.createServer((request, response) => {
  const [, first, ...rest] = decodeURIComponent(new URL(request.url, "http://x").pathname).split("/");
  if (!first) return response.writeHead(200, { "Content-Type": "text/html" }).end(page);
  const file = path.join(folders[first] ?? "nowhere", ...rest);
  if (!fs.existsSync(file) || !fs.statSync(file).isFile()) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": types[path.extname(file)] ?? "application/octet-stream" });
  fs.createReadStream(file).pipe(response);
}).listen(0, "127.0.0.1");
await new Promise((done) => server.once("listening", done));
const args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: program, headless: true, args });
try {
  const opened = await browser.newPage();
  await opened.goto(`http://127.0.0.1:${server.address().port}/`);
  await opened.waitForFunction("window.result", null, { timeout: 60000 });
  console.log(JSON.stringify(await opened.evaluate("window.result")));
} finally {
  await browser.close();
  server.close();
}
