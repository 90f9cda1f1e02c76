//! Measures scoring on this machine: tokens computed and saved, times, and how times grow with sizes. Lengths of
//! typical items are in `lengths.json`.
//!
//!     bench-engine                      times the CPU, with the models that cargo xtask bench fetches
//!     bench-engine gpu FOLDER...        times the GPU, with these checkpoints
#![allow(clippy::unwrap_used, reason = "a program of the tests fails by panicking")]

mod growth;

use std::path::Path;
use std::time::Instant;

use pollster::block_on;
use rewardscope_engine::{
    Backbone, Cancel, Clock, Detail, DeviceChoice, Dtype, HeadConfig, LoadOptions, ModelFiles, Pooling, Reader,
    ReaderChoice, RewardHead, Scorer, TokenSequence, device,
};
use rewardscope_kernels::{Traffic, counted as count_of};
use rewardscope_store::Source;
use rewardscope_tests::{load as load_on_cpu, machine, median, minilm, model, root, write_bench};
use serde_json::{Value, json};

/// Number of timed repetitions, after one that is not counted. Results are medians.
const TIMES: usize = 5;

fn load(files: &ModelFiles, choice: DeviceChoice, dtype: Dtype) -> Scorer {
    let options = LoadOptions { dtype, ..LoadOptions::new(Clock::from_local_seconds(0)) };
    let device = block_on(device::open(choice)).unwrap();
    block_on(Scorer::load(files, None, device, options, &Cancel::default(), &mut |_| {})).unwrap()
}

fn ids(count: usize, first: usize) -> Vec<u32> {
    (0..count).map(|i| ((first * 131 + i * 7919) % 20_000 + 100) as u32).collect()
}

/// Completions of one prompt of `prompt` tokens, with these lengths. No two completions begin with the same token.
fn item(prompt: usize, completions: &[usize]) -> Vec<TokenSequence> {
    let sequence =
        |(i, &length): (usize, &usize)| TokenSequence::new([ids(prompt, 1), ids(length, 2 + i)].concat(), prompt);
    completions.iter().enumerate().map(sequence).collect()
}

/// `count` texts of `length` tokens that share no beginning.
fn batch(count: usize, length: usize) -> Vec<TokenSequence> {
    (0..count).map(|i| TokenSequence::new(ids(length, i), 1)).collect()
}

fn timed(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1e3
}

fn once(scorer: &Scorer, sequences: &[TokenSequence]) -> f64 {
    timed(|| drop(block_on(scorer.score_tokens(sequences, Detail::Score, &Cancel::default())).unwrap()))
}

/// The median of `times` results of `work`, after one that is not counted.
fn usual(times: usize, mut work: impl FnMut() -> f64) -> f64 {
    work();
    median((0..times).map(|_| work()).collect())
}

/// Milliseconds for an item with its prompt shared, and with each completion scored separately; measured alternately.
fn both(scorer: &Scorer, sequences: &[TokenSequence]) -> [f64; 2] {
    let alone = || sequences.iter().map(|one| once(scorer, std::slice::from_ref(one))).sum::<f64>();
    once(scorer, sequences);
    let times: Vec<[f64; 2]> = (0..TIMES).map(|_| [once(scorer, sequences), alone()]).collect();
    [0, 1].map(|side| median(times.iter().map(|pair| pair[side]).collect()))
}

struct Rows {
    machine: Value,
    rows: Vec<Value>,
}

impl Rows {
    fn push(&mut self, name: &str, values: Value) {
        println!("{name:<58} {values}");
        self.rows.push(json!({ "machine": self.machine, "name": name, "values": values }));
    }
}

/// Measures what a decoder saves by sharing prompts.
fn shared(rows: &mut Rows, name: &str, scorer: &Scorer) {
    let lengths: Value = serde_json::from_str(include_str!("lengths.json")).unwrap();
    for case in ["best-of-4", "ties-20"] {
        let of = &lengths[case];
        let completions: Vec<usize> = serde_json::from_value(of["completions"].clone()).unwrap();
        let sequences = item(of["prompt"].as_u64().unwrap() as usize, &completions);
        let seen: usize = sequences.iter().map(|sequence| sequence.input_ids.len()).sum();
        let computed = scorer.computed_tokens(&sequences).unwrap();
        let [shared_ms, alone_ms] = both(scorer, &sequences);
        // The largest possible speed-up, if every token cost the same.
        let bound = seen as f64 / computed as f64;
        rows.push(
            &format!("{name}, {case}: shared against each by itself"),
            json!({ "tokens_seen": seen, "tokens_computed": computed, "shared_ms": shared_ms, "alone_ms": alone_ms,
                "faster": alone_ms / shared_ms, "bound": bound, "of_the_bound": alone_ms / shared_ms / bound }),
        );
    }
}

/// Measures how a decoder's time grows with each of its sizes, and draws `growth.svg`.
fn grown(rows: &mut Rows, title: &str, files: &ModelFiles, scorer: &Scorer) {
    let mut panels = Vec::new();
    let mut panel = |rows: &mut Rows, what: &'static str, sizes: &[usize], work: &dyn Fn(usize) -> f64| {
        let points: Vec<(f64, f64)> = sizes
            .iter()
            .map(|&size| {
                // Long times vary little, so the second one is taken alone.
                let first = work(size);
                let ms = if first > 5e3 { work(size) } else { median((0..3).map(|_| work(size)).collect()) };
                rows.push(&format!("{title}, {what}: {size}"), json!({ "ms": ms }));
                (size as f64, ms)
            })
            .collect();
        panels.push(growth::Panel { what, points });
    };
    panel(rows, "tokens of one text", &[64, 128, 256, 512, 1024, 2048, 4096], &|n| once(scorer, &item(0, &[n])));
    panel(rows, "completions of 20 tokens, prompt of 80", &[1, 2, 4, 8, 16, 32], &|n| {
        once(scorer, &item(80, &vec![20; n]))
    });
    panel(rows, "items of four such completions", &[1, 2, 4, 8, 16], &|n| {
        (0..n).map(|_| once(scorer, &item(80, &[20; 4]))).sum()
    });
    let all = scorer.report().layers;
    let text = item(0, &[256]);
    let points = (1..=5).map(|fifth| (all * fifth / 5).max(1)).map(|layers| {
        // With a head on a layer, later layers are not computed.
        let (width, backbone) = (scorer.report().hidden_size, Backbone::of(scorer.report(), None));
        let (name, pooling) = ("zeros".to_owned(), Pooling::LastToken);
        let head = HeadConfig { name, backbone, layers, pooling };
        let short =
            load_on_cpu(files, Some(&RewardHead { config: head, weight: vec![0.0; width], report: None })).unwrap();
        let ms = usual(3, || once(&short, &text));
        rows.push(&format!("{title}, layers, one text of 256 tokens: {layers}"), json!({ "ms": ms }));
        (layers as f64, ms)
    });
    let points = points.collect();
    panels.push(growth::Panel { what: "layers, one text of 256 tokens", points });
    let path = root().join("target/bench/growth.svg");
    growth::draw(&path, &format!("{title} on {}", scorer.report().device.name), &panels);
}

/// Counts the bytes and multiply-adds of each kernel in one call, compared with the least that is needed.
fn counted(rows: &mut Rows, name: &str, scorer: &Scorer, sequences: &[TokenSequence]) {
    let (_, counts) = count_of(|| once(scorer, sequences));
    for count in counts {
        let traffic = |of: &Traffic| {
            json!({ "weight_bytes": of.weight_bytes, "read_bytes": of.read_bytes, "written_bytes": of.written_bytes,
                "multiply_adds": of.multiply_adds })
        };
        rows.push(
            &format!("{name}, counted: {}", count.kernel),
            json!({ "calls": count.calls, "done": traffic(&count.done), "least": traffic(&count.least) }),
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let choice =
        if arguments.first().is_some_and(|first| first == "gpu") { DeviceChoice::Gpu } else { DeviceChoice::Cpu };
    let opened = block_on(device::open(choice)).unwrap().report;
    let mut rows = Rows { machine: machine(&opened), rows: Vec::new() };
    println!("{}", rows.machine);
    if choice == DeviceChoice::Gpu {
        for folder in &arguments[1..] {
            on_gpu(&mut rows, Path::new(folder), opened.software);
        }
        return write_bench("engine-gpu", &rows.rows);
    }
    let path = root().join(".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let source = Source::file(&path).unwrap_or_else(|e| panic!("{e}; cargo xtask bench fetches it"));
    let smollm2 = ModelFiles::from_sources("SmolLM2", vec![source]).unwrap();
    read(&mut rows, &smollm2);
    let scorer = load(&smollm2, choice, Dtype::Auto);
    shared(&mut rows, "SmolLM2", &scorer);
    grown(&mut rows, "SmolLM2", &smollm2, &scorer);
    counted(&mut rows, "SmolLM2, 1 x 512", &scorer, &batch(1, 512));
    drop(scorer);
    for dtype in Dtype::ALL {
        let scorer = load(&smollm2, choice, dtype);
        let sequences = batch(1, 512);
        let ms = usual(TIMES, || once(&scorer, &sequences));
        let bytes = scorer.report().device_bytes;
        rows.push(&format!("SmolLM2, 1 x 512, {}", dtype.name()), json!({ "ms": ms, "weight_bytes": bytes }));
    }
    let scorer = load(&minilm(), choice, Dtype::Auto);
    let sequences = batch(4, 256);
    let ms = usual(TIMES, || once(&scorer, &sequences));
    rows.push("MiniLM, 4 x 256", json!({ "ms": ms }));
    counted(&mut rows, "MiniLM, 4 x 256", &scorer, &sequences);
    write_bench("engine", &rows.rows);
}

/// Times a reader beside a head, in turn: both read one token of each text.
fn read(rows: &mut Rows, files: &ModelFiles) {
    let with = |head: Option<&RewardHead>| {
        let options = LoadOptions {
            reader: ReaderChoice::Given(Box::new(Reader::named("criterion").unwrap())),
            instruction: head.is_none().then(|| "Is it true?".to_owned()),
            ..LoadOptions::new(Clock::from_local_seconds(0))
        };
        let device = block_on(device::open(DeviceChoice::Cpu)).unwrap();
        block_on(Scorer::load(files, head, device, options, &Cancel::default(), &mut |_| {})).unwrap()
    };
    let read = with(None);
    // A head over as many layers as the reader reads.
    let (report, name) = (read.report(), "a head".to_owned());
    let (backbone, layers) = (Backbone::of(report, None), report.layers);
    let config = HeadConfig { name, backbone, layers, pooling: Pooling::LastToken };
    let head = RewardHead { config, weight: vec![0.01; report.hidden_size], report: None };
    let headed = with(Some(&head));
    let sequences = batch(1, 512);
    let (mut head_ms, mut reader_ms) = (Vec::new(), Vec::new());
    for _ in 0..=TIMES {
        head_ms.push(once(&headed, &sequences));
        reader_ms.push(once(&read, &sequences));
    }
    // The first of each is not counted.
    let [head_ms, reader_ms] = [head_ms, reader_ms].map(|all| median(all[1..].to_vec()));
    rows.push("SmolLM2, 1 x 512: a reader beside a head", json!({ "head_ms": head_ms, "reader_ms": reader_ms }));
}

/// Times a checkpoint on the GPU in each weight type, with batches of different shapes.
fn on_gpu(rows: &mut Rows, folder: &Path, is_software: bool) {
    let files = model(folder);
    let name = files.name().to_owned();
    let is_encoder =
        block_on(files.inspect(None, &LoadOptions::new(Clock::from_local_seconds(0)))).unwrap().head == "pooled score";
    let shapes = match (is_encoder, is_software) {
        (_, true) => vec![(1, 16)],
        (true, false) => vec![(4, 256), (64, 256)],
        (false, false) => vec![(1, 512), (16, 512)],
    };
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Q8, Dtype::Q4] {
        let scorer = load(&files, DeviceChoice::Gpu, dtype);
        for &(count, length) in &shapes {
            let sequences = batch(count, length);
            let ms = usual(TIMES, || once(&scorer, &sequences));
            let report = scorer.report();
            let tokens = (count * length) as f64;
            // Two operations for each weight and token. An upper bound, because the embedding's weights are not
            // multiplied.
            let flops = 2.0 * tokens * report.parameters as f64;
            rows.push(
                &format!("{name}, {count} x {length}, {}", dtype.name()),
                json!({ "ms": ms, "tokens_a_second": tokens / ms * 1e3, "gflops_at_most": flops / ms / 1e6,
                    "load_ms": report.load_ms, "weight_bytes": report.device_bytes }),
            );
        }
        if dtype == Dtype::F32 && !is_encoder && !is_software {
            shared(rows, &name, &scorer);
        }
    }
}
