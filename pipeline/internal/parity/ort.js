// Runs a Whisper encoder with ONNX Runtime: node ort.js MODEL INPUT OUTPUT MELS FRAMES [LEVEL]. Input and output are little-endian float32;
// LEVEL is that of its optimizer.
// node ort.js decoder MODEL OUTPUT D_MODEL HEADS LAYERS [LEVEL] runs a decoder on four tokens, without a past, and writes the logits.
// node ort.js MODEL LEVEL OPTIMIZED writes what its optimizer makes of the model: LEVEL is basic, extended or all.
const fs = require("fs");
const ort = require(process.env.NPUW_ORT + "/node_modules/onnxruntime-node");

// feeds gives the inputs of a decoder: the encoder's states are sines. One that could have a past is told that there is none.
function feeds(session, d, heads, layers) {
  const states = Float32Array.from({ length: 5 * d }, (_, i) => Math.sin(i));
  const feeds = {
    input_ids: new ort.Tensor("int64", BigInt64Array.from([1n, 2n, 0n, 3n]), [1, 4]),
    encoder_hidden_states: new ort.Tensor("float32", states, [1, 5, d]),
    use_cache_branch: new ort.Tensor("bool", [false], [1]),
  };
  for (let i = 0; i < layers; i++)
    for (const name of ["decoder.key", "decoder.value", "encoder.key", "encoder.value"])
      feeds[`past_key_values.${i}.${name}`] = new ort.Tensor("float32", new Float32Array(0), [1, heads, 0, d / heads]);
  return Object.fromEntries(session.inputNames.map((name) => [name, feeds[name]]));
}

async function decoder([model, output, d, heads, layers, level]) {
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 2, graphOptimizationLevel: level || "all", logSeverityLevel: 3 });
  const y = (await session.run(feeds(session, Number(d), Number(heads), Number(layers)))).logits.data;
  fs.writeFileSync(output, Buffer.from(y.buffer, y.byteOffset, y.byteLength));
}

async function main([model, input, output, mels, frames, level, ...rest]) {
  if (model === "decoder") return decoder([input, output, mels, frames, level, ...rest]);
  if (mels === undefined) {
    await ort.InferenceSession.create(model, { graphOptimizationLevel: input, optimizedModelFilePath: output, logSeverityLevel: 3 });
    return;
  }
  const bytes = fs.readFileSync(input);
  const x = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 2, graphOptimizationLevel: level || "all", logSeverityLevel: 3 });
  const feeds = { [session.inputNames[0]]: new ort.Tensor("float32", x, [1, Number(mels), Number(frames)]) };
  const y = (await session.run(feeds))[session.outputNames[0]].data;
  fs.writeFileSync(output, Buffer.from(y.buffer, y.byteOffset, y.byteLength));
}

main(process.argv.slice(2)).catch((e) => {
  console.error(e.message);
  process.exit(1);
});
