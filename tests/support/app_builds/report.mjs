// usage: report.mjs CHROMIUM PAGE WIDTH light|dark [SCREENSHOT]: opens a report from disk, uses every control, says what it saw
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, file, width, colorScheme, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu"] });

// what a person would not see, or could not read: cut at the right edge, or too little contrast (WCAG 2: 4.5 to 1)
const look = () => {
  const shown = (each) => each.checkVisibility() && each.getClientRects().length > 0;
  const luminance = (text) => {
    const [r, g, b] = text.match(/[\d.]+/g).map((part) => part / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (each) => {
    for (let at = each; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const words = (each) => `${each.tagName} ${each.textContent.trim().slice(0, 60)}`;
  const cut = [], faint = [];
  for (const each of document.querySelectorAll("body *")) {
    if (!shown(each)) continue;
    if (!each.closest("svg") && each.getBoundingClientRect().right > document.documentElement.clientWidth + 1) cut.push(words(each));
    if (![...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
    const style = getComputedStyle(each);
    const [a, b] = [luminance(each.closest("svg") ? style.fill : style.color), luminance(ground(each))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(words(each));
  }
  return { scrolls: document.documentElement.scrollWidth > document.documentElement.clientWidth, cut, faint };
};

try {
  const page = await browser.newPage({ viewport: { width: Number(width), height: 844 }, colorScheme });
  const requests = [], errors = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(pathToFileURL(file).href);
  const saw = [await page.evaluate(look)];
  const dead = [];
  const summaries = await page.locator("summary").all();
  for (const open of [true, false, true]) {
    for (const summary of summaries) {
      if (!(await summary.isVisible())) continue; // inside another that is closed
      const before = await summary.evaluate((each) => each.parentElement.open);
      if (before === open) continue;
      await summary.click();
      if ((await summary.evaluate((each) => each.parentElement.open)) === before) dead.push(await summary.textContent());
      saw.push(await page.evaluate(look));
    }
  }
  const links = await page.locator("a").all();
  for (const link of links) {
    await link.click();
    const place = (await link.getAttribute("href")).slice(1);
    const top = await page.evaluate((id) => document.getElementById(id)?.getBoundingClientRect().top, place);
    if (!(top >= -1 && top < 844)) dead.push(await link.textContent());
  }
  saw.push(await page.evaluate(look));
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const text = await page.evaluate(() => document.body.innerText);
  const bad = (kind) => [...new Set(saw.flatMap((each) => each[kind]))];
  console.log(JSON.stringify({
    scrolls: saw.some((each) => each.scrolls), cut: bad("cut"), faint: bad("faint"), dead, errors, ground, text,
    requests: requests.filter((url) => url.split("#")[0] !== pathToFileURL(file).href), controls: summaries.length + links.length,
  }));
} finally {
  await browser.close();
}
