// usage: page.mjs CHROMIUM WIDTH: serves web/, opens it, hands it a photo, says what it saw
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { chromium } from "playwright-core";

const root = path.resolve("web");
const types = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };
const server = http.createServer((request, response) => {
  const file = path.join(root, decodeURIComponent(new URL(request.url, "http://x").pathname));
  if (!file.startsWith(root) || !fs.existsSync(file) || !fs.statSync(file).isFile()) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": types[path.extname(file)] ?? "application/octet-stream" });
  fs.createReadStream(file).pipe(response);
}).listen(0, "127.0.0.1");
await new Promise((done) => server.once("listening", done));
const args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: process.argv[2], headless: true, args });
try {
  const page = await browser.newPage({ viewport: { width: Number(process.argv[3]), height: 800 } });
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`http://127.0.0.1:${server.address().port}/index.html`);
  await page.waitForFunction("window.result", null, { timeout: 60000 });
  const result = await page.evaluate("window.result");
  let answer = "";
  if (result.ok) {
    await page.evaluate(`(async () => {
      const canvas = new OffscreenCanvas(40, 30);
      canvas.getContext("2d").fillRect(5, 5, 20, 10);
      const files = new DataTransfer();
      files.items.add(new File([await canvas.convertToBlob()], "photo.png", { type: "image/png" }));
      document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: files, cancelable: true }));
    })()`);
    await page.waitForFunction(`!document.getElementById("log").textContent.startsWith("{")`, null, { timeout: 10000 });
    answer = await page.textContent("#log");
  }
  console.log(JSON.stringify({ result, errors, answer, scrolls: await page.evaluate("document.documentElement.scrollWidth > innerWidth") }));
} finally {
  await browser.close();
  server.close();
}
