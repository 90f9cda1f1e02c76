// The peers, in a worker as ours is: ONNX Runtime Web, transformers.js and wllama, each from its
// own package, nothing of it changed.
import { feed } from "./ids.mjs";

const packages = new URL("./node_modules/", import.meta.url).href;

let ort, session, tokenizer, model, wllama;

const calls = {
  async ortLoad({ address, provider, threads }) {
    await session?.release();
    const file = provider === "webgpu" ? "ort.webgpu.bundle.min.mjs" : "ort.wasm.bundle.min.mjs";
    ort = await import(`${packages}onnxruntime-web/dist/${file}`);
    ort.env.wasm.wasmPaths = `${packages}onnxruntime-web/dist/`;
    ort.env.wasm.numThreads = threads;
    session = await ort.InferenceSession.create(address, { executionProviders: [provider], graphOptimizationLevel: "all" });
    return { version: ort.env.versions.web, threads: ort.env.wasm.numThreads };
  },
  async ortRun({ ids }) {
    const started = performance.now();
    const { logits } = await session.run(feed(ort.Tensor, session.inputNames, ids));
    const values = [...(await logits.getData())];
    return { ms: performance.now() - started, logits: values };
  },
  async transformersLoad({ folder, name, device, threads }) {
    const { AutoTokenizer, PreTrainedModel, env } = await import(`${packages}@huggingface/transformers/dist/transformers.min.js`);
    env.allowRemoteModels = false;
    env.allowLocalModels = true;
    env.localModelPath = folder;
    env.useBrowserCache = false;
    env.backends.onnx.wasm.wasmPaths = `${packages}@huggingface/transformers/node_modules/onnxruntime-web/dist/`;
    env.backends.onnx.wasm.numThreads = threads;
    tokenizer = await AutoTokenizer.from_pretrained(name);
    model = await PreTrainedModel.from_pretrained(name, { dtype: "fp32", device });
    return { version: env.version };
  },
  /** One row after the other, as its own pipelines would be called in a loop. */
  async transformersScore({ prompt, completions }) {
    const started = performance.now();
    const scores = [];
    let tokens = 0;
    for (const completion of completions) {
      const conversation = [...prompt, { role: "assistant", content: completion }];
      const inputs = tokenizer.apply_chat_template(conversation, { add_generation_prompt: false, return_dict: true });
      const { logits } = await model(inputs);
      tokens += inputs.input_ids.dims[1];
      scores.push(logits.data[0]);
    }
    return { ms: performance.now() - started, scores, tokens };
  },
  async wllamaLoad({ address, threads }) {
    const { Wllama } = await import(`${packages}@wllama/wllama/esm/index.js`);
    wllama = new Wllama({ default: `${packages}@wllama/wllama/esm/wasm/wllama.wasm` });
    const options = { n_threads: threads, n_ctx: 1024, n_batch: 1024, n_ubatch: 1024, embeddings: true, pooling_type: "last", n_gpu_layers: 0 };
    await wllama.loadModel([await (await fetch(address)).blob()], options);
    return { version: Wllama.getLibllamaVersion() };
  },
  async wllamaRun({ ids }) {
    const started = performance.now();
    const { data } = await wllama.createEmbedding({ input: ids, encoding_format: "float" });
    return { ms: performance.now() - started, width: data[0].embedding.length };
  },
};

self.onmessage = async ({ data: { id, call, args } }) => {
  try {
    self.postMessage({ id, result: await calls[call](args) });
  } catch (error) {
    self.postMessage({ id, error: `${call}: ${error instanceof Error ? (error.stack ?? error.message) : error}` });
  }
};
