// Runs a Whisper encoder with ONNX Runtime: node ort.js MODEL INPUT OUTPUT MELS FRAMES [LEVEL]. Input and output are little-endian float32;
// LEVEL is that of its optimizer.
// node ort.js MODEL LEVEL OPTIMIZED writes what its optimizer makes of the model: LEVEL is basic, extended or all.
const fs = require("fs");
const ort = require(process.env.NPUW_ORT + "/node_modules/onnxruntime-node");

async function main([model, input, output, mels, frames, level]) {
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
