//! A model with Llama-3.1-8B's dimensions in 4 bits: the memory planned before anything is read, how matrices are
//! split, and the memory that loading needs beside the weights. The values are made up, and all layers share one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pollster::block_on;
use rewardscope_engine::{
    Cancel, Clock, Detail, DeviceChoice, Dtype, LoadOptions, ModelFiles, Scorer, TokenSequence, device,
};
use rewardscope_store::Source;
use rewardscope_tests::{fixture, peak_bytes, reset_peak_bytes};
use serde_json::json;

const HIDDEN: usize = 4096;
const VOCABULARY: usize = 128_256;
const LAYERS: usize = 32;
const INNER: usize = 14_336;
const KEYS: usize = 1024;

/// Bytes of the largest buffer binding that every WebGPU device must support.
const PROMISED_BINDING: u64 = 128 << 20;

/// Most bytes that loading may hold beside the weights.
const MOST_BESIDE: usize = 256 << 20;

/// `values` weights as Q4_1 blocks of 32, of about the size that a Gaussian layer has.
fn blocks(values: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values / 32 * 20);
    let mut state = 1u32;
    for _ in 0..values / 32 {
        // The scale is 2^-8, the minimum -8 times the scale.
        bytes.extend([0x00, 0x1c, 0x00, 0xa8]);
        for _ in 0..4 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.extend((state ^ state >> 16).to_le_bytes());
        }
    }
    bytes
}

/// The checkpoint's files and its number of weights.
fn checkpoint() -> (ModelFiles, u64) {
    let layer = |part: &str, rows: usize, columns: usize| (format!("LAYER.{part}.weight"), vec![rows, columns], true);
    let norm = |name: &str| (name.to_owned(), vec![HIDDEN], false);
    let once = [
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN], true),
        layer("self_attn.q_proj", HIDDEN, HIDDEN),
        layer("self_attn.k_proj", KEYS, HIDDEN),
        layer("self_attn.v_proj", KEYS, HIDDEN),
        layer("self_attn.o_proj", HIDDEN, HIDDEN),
        layer("mlp.gate_proj", INNER, HIDDEN),
        layer("mlp.up_proj", INNER, HIDDEN),
        layer("mlp.down_proj", HIDDEN, INNER),
        norm("LAYER.input_layernorm.weight"),
        norm("LAYER.post_attention_layernorm.weight"),
        norm("model.norm.weight"),
        ("score.weight".to_owned(), vec![1, HIDDEN], false),
    ];
    let mut header = serde_json::Map::new();
    let (mut types, mut data, mut parameters) = (serde_json::Map::new(), Vec::new(), 0);
    for (name, shape, is_packed) in once {
        let start = data.len();
        let values: usize = shape.iter().product();
        let mut stored = shape.clone();
        if is_packed {
            data.extend(blocks(values));
            *stored.last_mut().unwrap() = shape[1] / 32 * 20;
        } else {
            data.extend((0..values).flat_map(|i| (0.9 + (i % 7) as f32 / 40.0).to_le_bytes()));
        }
        let layers: Vec<String> = match name.strip_prefix("LAYER.") {
            Some(part) => (0..LAYERS).map(|i| format!("model.layers.{i}.{part}")).collect(),
            None => vec![name],
        };
        for name in layers {
            parameters += values as u64;
            let dtype = if is_packed { "U8" } else { "F32" };
            header
                .insert(name.clone(), json!({ "dtype": dtype, "shape": stored, "data_offsets": [start, data.len()] }));
            if is_packed {
                types.insert(name, json!("Q4_1"));
            }
        }
    }
    header.insert("__metadata__".to_owned(), json!({ "rewardscope.blocks": json!(types).to_string() }));
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let weights = [&(header.len() as u64).to_le_bytes(), header.as_slice(), &data].concat();
    let config = json!({
        "architectures": ["LlamaForSequenceClassification"], "model_type": "llama", "num_labels": 1,
        "hidden_size": HIDDEN, "head_dim": 128, "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_hidden_layers": LAYERS, "intermediate_size": INNER, "vocab_size": VOCABULARY,
        "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "hidden_act": "silu",
        "rope_scaling": { "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3" },
        "tie_word_embeddings": false, "attention_bias": false, "mlp_bias": false,
    });
    let tokenizer = |file: &str| Source::file(&fixture("parity/llama_plain").join(file)).unwrap().named(file);
    let sources = vec![
        Source::memory("config.json", config.to_string().into_bytes()),
        Source::memory("model.safetensors", weights),
        tokenizer("tokenizer.json"),
        tokenizer("tokenizer_config.json"),
    ];
    (ModelFiles::from_sources("8B", sources).unwrap(), parameters)
}

fn load(files: &ModelFiles, dtype: Dtype, most_bytes: u64, most_bound_bytes: u64) -> Result<Scorer, String> {
    let device = block_on(device::open(DeviceChoice::Cpu)).unwrap().limited(most_bytes, most_bound_bytes);
    let options = LoadOptions { dtype, ..LoadOptions::new(Clock::from_local_seconds(0)) };
    block_on(Scorer::load(files, None, device, options, &Cancel::default(), &mut |_| {})).map_err(|e| e.to_string())
}

/// Takes 6 GB and a few minutes, so it runs only with `--all`.
#[test]
fn eight_billion_weights_are_planned_split_and_streamed() {
    if std::env::var("REWARDSCOPE_ALL").unwrap_or_default().is_empty() {
        return;
    }
    let (files, parameters) = checkpoint();
    assert_eq!(
        parameters,
        7_504_924_672 + 4096,
        "Llama-3.1-8B without its head of the vocabulary, with one of a score"
    );
    let plan = block_on(files.inspect(None, &LoadOptions::new(Clock::from_local_seconds(0)))).unwrap();
    assert_eq!(plan.parameters, parameters);
    let need = |dtype: Dtype| plan.needs.iter().find(|need| need.dtype == dtype).unwrap().weight_bytes;
    println!("planned: {:?}", plan.needs);
    // Twenty bytes for each group of 32 weights; norms and the head are f32, and too small to count.
    let quantised = parameters / 32 * 20;
    assert!(need(Dtype::Q4).abs_diff(quantised) * 1000 < quantised, "{} and {quantised}", need(Dtype::Q4));
    assert_eq!(need(Dtype::F32), 4 * parameters);

    // A model larger than the device is refused before anything is read. The sentence says what would fit, or that
    // nothing would.
    let refused = load(&files, Dtype::F32, 8 << 30, PROMISED_BINDING).unwrap_err();
    println!("{refused}");
    assert!(refused.contains(&need(Dtype::F32).to_string()) && refused.contains("load it as stored"), "{refused}");
    let refused = load(&files, Dtype::Q4, 4 << 30, PROMISED_BINDING).unwrap_err();
    println!("{refused}");
    assert!(refused.contains("choose the GPU or a smaller model"), "{refused}");

    let sequences = [TokenSequence::new(vec![5, 90_000, 7, 128_000], 2), TokenSequence::new(vec![5, 90_000, 8], 2)];
    let mut scores = Vec::new();
    for most_bound_bytes in [PROMISED_BINDING, u64::MAX] {
        reset_peak_bytes();
        let before = peak_bytes();
        let scorer = load(&files, Dtype::Q4, 8 << 30, most_bound_bytes).unwrap();
        let report = scorer.report();
        let grown = peak_bytes() - before;
        println!("{} bytes on the device, the process grew by {grown}, {:.0} ms", report.device_bytes, report.load_ms);
        assert_eq!(report.device_bytes, need(Dtype::Q4));
        assert!(report.device_bytes * 100 <= quantised * 115);
        assert!(grown <= report.device_bytes as usize + MOST_BESIDE, "{grown}");
        let found = block_on(scorer.score_tokens(&sequences, Detail::Score, &Cancel::default())).unwrap();
        scores.push(found.into_iter().map(|score| score.score).collect::<Vec<_>>());
    }
    let [split, whole] = scores.try_into().unwrap();
    println!("{split:?} in parts, {whole:?} whole");
    for (split, whole) in split.iter().zip(&whole) {
        assert!(split.is_finite() && (split - whole).abs() <= 1e-5 * whole.abs().max(1.0), "{split} and {whole}");
    }
}
