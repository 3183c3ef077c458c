import { createHash } from "node:crypto";
import fs from "node:fs";
import * as ort from "onnxruntime-web/wasm";
import * as edge from "./web/model.js";

ort.env.wasm.numThreads = 1;
const golden = JSON.parse(fs.readFileSync("web/golden/golden.json", "utf8"));
const read = (entry) => new Float32Array(new Uint8Array(fs.readFileSync(`web/golden/${entry.file}`)).buffer);
const file = fs.readFileSync(`web/${edge.model.file}`);
const session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
const errors = [];
for (const { inputs: [x], outputs: [y] } of [golden, golden.image]) {
  const [input] = edge.model.inputs, values = read(x), data = edge.stored(input, values);
  const answers = await session.run({ [x.name]: new ort.Tensor(data === values ? "float32" : input.dtype, data, x.shape) });
  const got = answers[y.name].data;
  errors.push(read(y).reduce((most, v, i) => Math.max(most, Math.abs(v - got[i])), 0));
}
const { image } = golden;
const tensor = edge.tensorOf(new Uint8Array(fs.readFileSync("web/golden/image.u8")), image.height, image.width);
const sha256 = createHash("sha256").update(file).digest("hex") === edge.model.sha256;
console.log(JSON.stringify({ sha256, errors, atol: golden.atol, tensor: edge.matches(read(image.inputs[0]), tensor, image.input_atol) }));
