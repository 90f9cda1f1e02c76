//! Measures each kernel on the GPU and on the CPU: time, operations per second, and bytes per second of the least
//! traffic that it needs. With the argument `gpu` or `cpu`, only on that one.
#![allow(clippy::unwrap_used, reason = "a program of the tests fails by panicking")]

use std::time::Instant;

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use pollster::block_on;
use rewardscope_engine::{DeviceChoice, device};
use rewardscope_kernels::{Activation, Group, Heads, Norm, Packed, Packing, Plan, Sight, Stored, add_norm, attention};
use rewardscope_tests::{machine, median, write_bench};
use serde_json::{Value, json};

const TIMES: usize = 5;

/// Least milliseconds of a timing. A short kernel is dispatched many times with one readback at the end, so that its
/// own time is measured and not the round trip.
const LEAST_MS: f64 = 20.0;

/// Reads the last value back, and so waits until everything is computed.
fn wait(x: Tensor<2>) -> f32 {
    let [rows, columns] = x.dims();
    let last: Vec<f32> = x.narrow(0, rows - 1, 1).narrow(1, columns - 1, 1).into_data().try_to_vec().unwrap();
    last[0]
}

/// Median milliseconds of `work`, after one call that also compiles.
fn milliseconds(work: impl Fn() -> Tensor<2>) -> f64 {
    assert!(wait(work()).is_finite());
    let times = |count: usize| {
        let started = Instant::now();
        (1..count).for_each(|_| drop(work()));
        wait(work());
        started.elapsed().as_secs_f64() * 1e3 / count as f64
    };
    let count = ((LEAST_MS / times(1)) as usize).clamp(1, 200);
    median((0..TIMES).map(|_| times(count)).collect())
}

fn random(rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    Tensor::random([rows, columns], Distribution::Uniform(-0.1, 0.1), device)
}

fn packed(packing: Packing, rows: usize, columns: usize, device: &Device) -> Stored {
    let values: Vec<f32> = (0..rows * columns).map(|i| ((i * 7919) % 2003) as f32 / 1e4 - 0.1).collect();
    let Packed { words, pairs } = Packed::of(packing, &values);
    let tensor = |values: Vec<i32>| {
        let width = values.len() / rows;
        Tensor::<2, Int>::from_data(TensorData::new(values, [rows, width]), device)
    };
    let pairs = (!pairs.is_empty()).then(|| tensor(pairs));
    Stored::packed(packing, tensor(words), pairs)
}

/// `[tokens, inputs, outputs]` of matrix products in MiniLM and SmolLM2.
const PRODUCTS: [[usize; 3]; 4] = [[1024, 384, 1536], [1024, 1536, 384], [1024, 384, 384], [512, 576, 1536]];

/// `[tokens, inputs, outputs]` of products in Llama-3.2-1B and Llama-3.1-8B, which would take minutes on a software
/// GPU.
const LARGE_PRODUCTS: [[usize; 3]; 3] = [[512, 2048, 8192], [4096, 2048, 8192], [4096, 4096, 14_336]];

/// Name, sequences, tokens of each, query heads, key heads, width of a head, and which tokens are seen.
type Attended = (&'static str, usize, usize, usize, usize, usize, Sight);

const ATTENTIONS: [Attended; 2] = [
    ("attention around, 4 x 256, 12 heads of 32", 4, 256, 12, 12, 32, Sight::Around(None)),
    ("attention back, 1 x 512, 9 over 3 heads of 64", 1, 512, 9, 3, 64, Sight::Back(None)),
];

const LARGE_ATTENTIONS: [Attended; 2] = [
    ("attention back, 8 x 512, 32 over 8 heads of 64", 8, 512, 32, 8, 64, Sight::Back(None)),
    ("attention back, 1 x 4096, 32 over 8 heads of 128", 1, 4096, 32, 8, 128, Sight::Back(None)),
];

fn main() {
    let only = std::env::args().nth(1);
    let mut rows: Vec<Value> = Vec::new();
    for (name, choice) in [("gpu", DeviceChoice::Gpu), ("cpu", DeviceChoice::Cpu)] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let opened = block_on(device::open(choice)).unwrap();
        let machine = machine(&opened.report);
        println!("{machine}");
        let (device, is_large) = (opened.device, name == "gpu" && !opened.report.software);
        let mut row = |what: String, ms: f64, flops: f64, least_bytes: f64| {
            let (gflops, gbs) = (flops / ms / 1e6, least_bytes / ms / 1e6);
            println!("{name}: {what:<52} {ms:>9.3} ms {gflops:>9.1} GFLOP/s {gbs:>8.1} GB/s at least");
            rows.push(
                json!({ "machine": machine, "kernel": what, "ms": ms, "gflops": gflops, "least_gb_a_second": gbs }),
            );
        };
        let large = |of: &[[usize; 3]]| if is_large { of.to_vec() } else { Vec::new() };
        for [tokens, inputs, outputs] in PRODUCTS.into_iter().chain(large(&LARGE_PRODUCTS)) {
            let x = random(tokens, inputs, &device);
            let flops = 2.0 * (tokens * inputs * outputs) as f64;
            let around = 4 * (tokens * inputs + tokens * outputs);
            let plain = Stored::plain(random(outputs, inputs, &device));
            let bytes = (around + 4 * inputs * outputs) as f64;
            let ms = milliseconds(|| plain.project(x.clone(), None));
            row(format!("{tokens} x {inputs} x {outputs}, f32"), ms, flops, bytes);
            for packing in [Packing::F16, Packing::Q8, Packing::Q4] {
                let stored = packed(packing, outputs, inputs, &device);
                let bytes = (around + packing.bytes(inputs * outputs)) as f64;
                let ms = milliseconds(|| stored.project(x.clone(), None));
                row(format!("{tokens} x {inputs} x {outputs}, {packing:?}"), ms, flops, bytes);
            }
        }
        let large = if is_large { LARGE_ATTENTIONS.to_vec() } else { Vec::new() };
        for (what, sequences, length, queries, keys, head_dim, sight) in ATTENTIONS.into_iter().chain(large) {
            let tokens = sequences * length;
            let groups = (0..sequences).map(|i| {
                let span = i * length..(i + 1) * length;
                Group { queries: span.clone(), positions: (0..length).collect(), keys: vec![span] }
            });
            let plan = Plan::new(groups);
            let heads = Heads { queries, keys, scale: 0.2, softcap: None, sight };
            let [q, k, v] = [queries, keys, keys].map(|heads| random(tokens, heads * head_dim, &device));
            let seen = if matches!(sight, Sight::Back(_)) { length.div_ceil(2) } else { length };
            let flops = 4.0 * (tokens * seen * queries * head_dim) as f64;
            let bytes = 4.0 * (tokens * (2 * queries + 2 * keys) * head_dim) as f64;
            let ms = milliseconds(|| attention(q.clone(), k.clone(), v.clone(), &plan, heads));
            row(what.to_owned(), ms, flops, bytes);
        }
        let (x, y) = (random(1024, 384, &device), random(1024, 384, &device));
        let [weight, bias] = [1.0, 0.0].map(|value| Tensor::<1>::full([384], value, &device));
        let ms = milliseconds(|| add_norm(x.clone(), y.clone(), weight.clone(), bias.clone(), Norm::Layer(1e-6)).1);
        row("1024 x 384, sum and norm".to_owned(), ms, 1024.0 * 384.0 * 8.0, 4.0 * 1024.0 * 384.0 * 4.0);
        let x = random(1024, 1536, &device);
        let ms = milliseconds(|| Activation::Gelu.of(x.clone()));
        row("1024 x 1536, GELU".to_owned(), ms, 1024.0 * 1536.0 * 20.0, 4.0 * 1024.0 * 1536.0 * 2.0);
    }
    write_bench("kernels", &rows);
}
