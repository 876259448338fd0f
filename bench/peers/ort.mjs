#!/usr/bin/env node
// ONNX Runtime (onnxruntime-node, installed by `scripts/setup dev`) as a reference for values and a peer for speed.
//
//   ort.mjs run MODEL --input name=file.npy ... -o DIR [--optimize all|basic|disabled]
//   ort.mjs bench MODEL [--threads N] [--iters N] [--warmup N] [--input name=file.npy ...] [--raw]
//   ort.mjs inspect MODEL
//   ort.mjs memory MODEL [--threads N] [--no-prepack]
//                            bytes of private memory: before, with a session, after runs (node --expose-gc for less noise)
//   ort.mjs serve            one JSON request a line on stdin, one JSON answer a line on stdout
//
// `run` writes each output as DIR/<name with / and : replaced by _>.npy. Requests of `serve`:
//   {"op":"load","id":"a","model":"m.onnx","threads":1,"optimize":"all"}   -> {"ok":true,"inputs":[...],"outputs":[...]}
//   {"op":"run","id":"a","inputs":{"x":"x.npy"},"output_dir":"out"}          -> {"ok":true,"outputs":{"y":"out/y.npy"}}
//   {"op":"bench","id":"a","iters":10,"warmup":2,"inputs":{},"dims":{}}      -> {"ok":true,"samples":[ms,...]}
//   {"op":"unload","id":"a"}   {"op":"quit"}
// A request that fails answers {"ok":false,"error":"..."} and the server goes on.

import {createRequire} from 'node:module';
import {fileURLToPath} from 'node:url';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..');

function fail(message) {
  process.stderr.write(`ort.mjs: ${message}\n`);
  process.exit(2);
}

let ort;
try {
  ort = createRequire(path.join(root, '.cache', 'ort', 'package.json'))('onnxruntime-node');
} catch (error) {
  fail(`onnxruntime-node is not installed (${error.code ?? error.message}); run scripts/setup dev`);
}

// ---- .npy files (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html) ----

// ONNX Runtime's type name -> [npy descriptor, typed array]. float16 travels as raw 16-bit words.
const TYPES = {
  float32: ['<f4', Float32Array],
  float64: ['<f8', Float64Array],
  float16: ['<f2', Uint16Array],
  int64: ['<i8', BigInt64Array],
  uint64: ['<u8', BigUint64Array],
  int32: ['<i4', Int32Array],
  uint32: ['<u4', Uint32Array],
  int16: ['<i2', Int16Array],
  uint16: ['<u2', Uint16Array],
  int8: ['|i1', Int8Array],
  uint8: ['|u1', Uint8Array],
  bool: ['|b1', Uint8Array],
};

function readNpy(file) {
  const bytes = fs.readFileSync(file);
  if (bytes.length < 12 || bytes.toString('latin1', 0, 6) !== '\x93NUMPY') throw new Error(`${file}: not a .npy file`);
  const long = bytes[6] >= 2;
  const begin = long ? 12 : 10;
  const length = long ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8);
  const header = bytes.toString('latin1', begin, begin + length);
  const descr = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1].split(',').map(s => s.trim()).filter(s => s).map(Number);
  if (!descr || !shape || shape.some(n => !Number.isSafeInteger(n) || n < 0)) throw new Error(`${file}: bad .npy header`);
  if (/'fortran_order':\s*True/.test(header)) throw new Error(`${file}: Fortran order is not supported`);
  const type = Object.keys(TYPES).find(name => TYPES[name][0].slice(1) === descr.slice(1));
  if (!type || descr[0] === '>') throw new Error(`${file}: element type ${descr} is not supported`);
  const array = TYPES[type][1];
  const count = shape.reduce((a, b) => a * b, 1);
  const data = bytes.subarray(begin + length);
  if (data.length < count * array.BYTES_PER_ELEMENT) throw new Error(`${file}: shorter than its shape says`);
  // Copied, so that the array is aligned whatever the header's length.
  const copy = new Uint8Array(count * array.BYTES_PER_ELEMENT);
  copy.set(data.subarray(0, copy.length));
  return new ort.Tensor(type, new array(copy.buffer), shape);
}

function writeNpy(file, tensor) {
  const [descr] = TYPES[tensor.type] ?? [];
  if (!descr) throw new Error(`${file}: element type ${tensor.type} is not supported`);
  const dims = tensor.dims.map(Number);
  const shape = dims.length === 1 ? `${dims[0]},` : dims.join(', ');
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }`;
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n';
  const prefix = Buffer.alloc(10);
  prefix.write('\x93NUMPY\x01\x00', 'latin1');
  prefix.writeUInt16LE(header.length, 8);
  const data = tensor.data;
  fs.writeFileSync(file, Buffer.concat([prefix, Buffer.from(header, 'latin1'),
                                        Buffer.from(data.buffer, data.byteOffset, data.byteLength)]));
}

// ---- sessions ----

async function load(model, {threads = 1, optimize = 'all', prepack = true} = {}) {
  if (!fs.existsSync(model)) throw new Error(`${model}: no such file`);
  return ort.InferenceSession.create(model, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: optimize,
    executionProviders: ['cpu'],
    logSeverityLevel: 3,
    ...(prepack ? {} : {extra: {session: {disable_prepacking: '1'}}}),
  });
}

function describe(metadata) {
  return metadata.filter(m => m.isTensor).map(m => ({name: m.name, type: m.type, shape: [...m.shape]}));
}

// Mulberry32: a small generator with a fixed seed, so that every run feeds the same numbers.
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Inputs from files where given, else seeded random; a dynamic dimension is dims[name] or 1.
function feed(session, files = {}, dims = {}) {
  const feeds = {};
  const random = generator(1);
  for (const {name, type, shape} of describe(session.inputMetadata)) {
    if (files[name] !== undefined) {
      feeds[name] = readNpy(files[name]);
      continue;
    }
    const fixed = shape.map(d => (typeof d === 'number' && d > 0 ? d : (dims[d] ?? 1)));
    const array = TYPES[type]?.[1];
    if (!array) throw new Error(`input ${name}: element type ${type} is not supported`);
    const data = new array(fixed.reduce((a, b) => a * b, 1));
    for (let i = 0; i < data.length; ++i) {
      const r = random();
      data[i] = type.startsWith('float') ? r * 2 - 1 : type.endsWith('64') ? BigInt(Math.floor(r * 2)) : Math.floor(r * 2);
    }
    feeds[name] = new ort.Tensor(type, data, fixed);
  }
  for (const name of Object.keys(files)) {
    if (!(name in feeds)) throw new Error(`the model has no input '${name}'; inputs: ${session.inputNames.join(', ')}`);
  }
  return feeds;
}

async function runToFiles(session, files, folder) {
  const results = await session.run(feed(session, files));
  fs.mkdirSync(folder, {recursive: true});
  const outputs = {};
  for (const [name, tensor] of Object.entries(results)) {
    outputs[name] = path.join(folder, `${name.replace(/[/:]/g, '_')}.npy`);
    writeNpy(outputs[name], tensor);
  }
  return outputs;
}

async function measure(session, feeds, iters, warmup) {
  const samples = [];
  for (let i = 0; i < warmup + iters; ++i) {
    const begin = process.hrtime.bigint();
    await session.run(feeds);
    const end = process.hrtime.bigint();
    if (i >= warmup) samples.push(Number(end - begin) / 1e6);
  }
  return samples;
}

function quantile(sorted, q) {
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (at - low);
}

async function serve() {
  const sessions = new Map();
  const session = id => {
    if (!sessions.has(id)) throw new Error(`no model loaded as '${id}'`);
    return sessions.get(id);
  };
  const handlers = {
    async load({id, model, threads, optimize}) {
      const made = await load(model, {threads, optimize});
      sessions.set(id, made);
      return {inputs: describe(made.inputMetadata), outputs: describe(made.outputMetadata)};
    },
    async run({id, inputs, output_dir}) {
      return {outputs: await runToFiles(session(id), inputs, output_dir)};
    },
    async bench({id, inputs, dims, iters = 10, warmup = 0}) {
      return {samples: await measure(session(id), feed(session(id), inputs, dims), iters, warmup)};
    },
    async unload({id}) {
      await session(id).release();
      sessions.delete(id);
      return {};
    },
  };
  for await (const line of readline.createInterface({input: process.stdin})) {
    if (!line.trim()) continue;
    let answer;
    try {
      const request = JSON.parse(line);
      if (request.op === 'quit') break;
      if (!Object.hasOwn(handlers, request.op)) throw new Error(`unknown op '${request.op}'`);
      answer = {ok: true, ...(await handlers[request.op](request))};
    } catch (error) {
      answer = {ok: false, error: error.message};
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
  }
}

// ---- command line ----

const VALUES = {'--threads': Number, '--iters': Number, '--warmup': Number, '--optimize': String, '-o': String};

function parse(words) {
  const options = {inputs: {}};
  for (let i = 0; i < words.length; ++i) {
    const word = words[i];
    const value = () => words[++i] ?? fail(`${word} needs a value`);
    if (word === '--raw') {
      options.raw = true;
    } else if (word === '--no-prepack') {
      options.prepack = false;
    } else if (word === '--input') {
      const text = value();
      const at = text.lastIndexOf('=');
      if (at < 1) fail(`--input wants name=file.npy, not '${text}'`);
      options.inputs[text.slice(0, at)] = text.slice(at + 1);
    } else if (word in VALUES) {
      options[word.replace(/^-+/, '')] = VALUES[word](value());
    } else if (word.startsWith('-') || options.model !== undefined) {
      fail(`unexpected '${word}'`);
    } else {
      options.model = word;
    }
  }
  if (options.model === undefined) fail('which model?');
  for (const name of ['threads', 'iters', 'warmup']) {
    if (name in options && !(Number.isInteger(options[name]) && options[name] >= 0)) fail(`--${name} wants a whole number`);
  }
  return options;
}

const verbs = {
  async run(options) {
    if (!options.o) fail('run needs -o DIR');
    const outputs = await runToFiles(await load(options.model, options), options.inputs, options.o);
    console.log(JSON.stringify({outputs}));
  },
  async bench(options) {
    const session = await load(options.model, options);
    const samples = await measure(session, feed(session, options.inputs), options.iters ?? 20, options.warmup ?? 3);
    const sorted = [...samples].sort((a, b) => a - b);
    const result = {p50_ms: quantile(sorted, 0.5), p90_ms: quantile(sorted, 0.9), min_ms: sorted[0], samples: samples.length};
    if (options.raw) result.samples = samples;
    console.log(JSON.stringify(result));
  },
  async memory(options) {
    const now = () => {
      globalThis.gc?.();
      return 1024 * Number(/RssAnon:\s*(\d+)/.exec(fs.readFileSync('/proc/self/status', 'latin1'))[1]);
    };
    const before = now();
    const session = await load(options.model, options);
    const feeds = feed(session, options.inputs);
    const loaded = now();
    for (let i = 0; i < 3; ++i) await session.run(feeds);
    console.log(JSON.stringify({before, loaded, after: now()}));
  },
  async inspect(options) {
    const session = await load(options.model, options);
    console.log(JSON.stringify({inputs: describe(session.inputMetadata), outputs: describe(session.outputMetadata)}));
  },
};

const [verb, ...words] = process.argv.slice(2);
try {
  if (verb === 'serve') await serve();
  else if (Object.hasOwn(verbs, verb)) await verbs[verb](parse(words));
  else fail('usage: ort.mjs run|bench|inspect|memory MODEL ...  or  ort.mjs serve');
} catch (error) {
  fail(error.message);
}
