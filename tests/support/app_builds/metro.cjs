// usage: metro.cjs NODE_MODULES PACKAGES PLATFORM, in an empty folder: an app of React Native that imports the npm packages of a bundle from
// its own node_modules, bundled by Metro; prints the models it took with their hashes, and the size of the bundle
const crypto = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const [modules, packages] = process.argv.slice(2, 4).map((given) => path.resolve(given));
const platform = process.argv[4];
const needs = (name) => require(require.resolve(name, { paths: [modules] }));
const app = fs.realpathSync(".");
const names = fs.readdirSync(packages);
fs.mkdirSync("node_modules");
for (const name of names) fs.cpSync(path.join(packages, name), path.join("node_modules", name), { recursive: true });
const lines = names.flatMap((name, i) => {
  const file = fs.readdirSync(path.join(packages, name)).find((each) => /\.(tflite|onnx)$/.test(each));
  return [
    `import { run as run${i} } from "${name}";`,
    `import { model as model${i} } from "${name}/model.js";`,
    `console.log(run${i}, model${i}.sha256, require("${name}/${file}"));`,
  ];
});
fs.writeFileSync("index.js", `${lines.join("\n")}\n`);

const Metro = needs("metro");
const { getDefaultConfig, mergeConfig } = needs("@react-native/metro-config");
const defaults = getDefaultConfig(app);
const config = mergeConfig(defaults, {
  projectRoot: app,
  watchFolders: [app, modules],
  maxWorkers: 2,
  cacheStores: [],
  reporter: { update() {} },
  // the one line that an app's metro.config.js needs
  resolver: { assetExts: [...defaults.resolver.assetExts, "tflite", "onnx"], nodeModulesPaths: [modules], useWatchman: false },
});
(async () => {
  const out = path.join(app, "bundle.js");
  const made = await Metro.runBuild(config, { entry: "index.js", platform, dev: false, minify: false, assets: true, out });
  const models = {};
  for (const asset of made.assets) {
    if (!["tflite", "onnx"].includes(asset.type)) continue;
    models[`${asset.name}.${asset.type}`] = crypto.createHash("sha256").update(fs.readFileSync(asset.files[0])).digest("hex");
  }
  console.log(JSON.stringify({ models, bytes: fs.statSync(out).size }));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
