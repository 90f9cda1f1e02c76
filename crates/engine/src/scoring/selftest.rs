//! Tests a device against known answers before any score: a stored model with its log-probabilities from
//! transformers, and matrix products in the loaded model's own shapes whose results are whole numbers.
//!
//! A kernel that failed to build does not fail loudly in a browser: a later readback returns whatever was in
//! memory. So the answers are compared, and a device with wrong answers is refused.

use burn::tensor::{Int, Tensor};
use rewardscope_models::{Description, GgufDescription, Summary, describe, project};
use rewardscope_store::Source;
use rewardscope_weights::Checkpoint;
use serde::{Deserialize, Serialize};

use crate::device::{OpenDevice, now_ms};
use crate::error::EngineError;
use crate::scoring::forward::{Forward, Row};
use crate::{Cancel, Dtype};

/// A llama of two layers with Q4_1 and Q8_0 blocks, grouped-query attention and tied embeddings.
const MODEL: &[u8] = include_bytes!("../../selftest/selftest.gguf");

/// What transformers gives for it; `cargo xtask oracle` writes both.
const EXPECTED: &str = include_str!("../../selftest/expected.json");

/// Largest absolute error of a log-probability. Correct devices are seen to stay under 1e-5.
const LOG_PROBABILITY_TOLERANCE: f64 = 1e-3;

/// Most tokens in a batch; the cases have fewer.
const BUDGET: usize = 4096;

/// Largest absolute error of a product. Whole numbers this small are exact in f32, in any order of summation.
const PRODUCT_TOLERANCE: f64 = 0.0;

/// What the self-test found on a device.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct SelfTest {
    /// Largest absolute error of the stored model's log-probabilities, in nats.
    pub log_probability_error: f64,
    /// Largest absolute error of the matrix products.
    pub product_error: f64,
    /// Milliseconds that the test took.
    pub ms: f64,
}

#[derive(Deserialize)]
struct Expected {
    cases: Vec<ExpectedCase>,
}

#[derive(Deserialize)]
struct ExpectedCase {
    input_ids: Vec<u32>,
    /// `token_logprobs[t]` is `log p(input_ids[t + 1] | input_ids[..=t])`.
    token_logprobs: Vec<f64>,
}

/// Tests a device, with products in the shapes of the model that `summary` describes.
pub(crate) async fn run(device: &OpenDevice, summary: &Summary) -> Result<SelfTest, EngineError> {
    let started = now_ms();
    let log_probability_error = stored_model(device).await?;
    refuse_above(device, "the stored model", log_probability_error, LOG_PROBABILITY_TOLERANCE)?;
    let up = product(device, summary.hidden_size, summary.intermediate_size).await?;
    let down = product(device, summary.intermediate_size, summary.hidden_size).await?;
    let product_error = up.max(down);
    refuse_above(device, "a matrix product", product_error, PRODUCT_TOLERANCE)?;
    Ok(SelfTest { log_probability_error, product_error, ms: now_ms() - started })
}

fn refuse_above(device: &OpenDevice, case: &'static str, error: f64, tolerance: f64) -> Result<(), EngineError> {
    // Not `error > tolerance`: NaN must be refused too.
    if error <= tolerance {
        return Ok(());
    }
    Err(EngineError::SelfTest { device: device.report.name.clone(), case, largest_error: error, tolerance })
}

/// The larger of two errors, where NaN is larger than all.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Largest absolute error of the stored model's log-probabilities, in nats.
async fn stored_model(device: &OpenDevice) -> Result<f64, EngineError> {
    let checkpoint = Checkpoint::from_gguf(&Source::memory("the self-test's model", MODEL)).await?;
    let metadata = checkpoint.metadata().cloned().unwrap_or_default();
    let description = GgufDescription { checkpoint: &checkpoint, metadata: &metadata, rope_factors: &[] };
    let architecture = describe(Description::Gguf(description))?;
    let cancel = Cancel::default();
    let (forward, ..) =
        Forward::load(&checkpoint, architecture.as_ref(), device.clone(), Dtype::Auto, None, &cancel, &mut |_, _| {})
            .await?;
    let expected: Expected = serde_json::from_str(EXPECTED)
        .map_err(|e| device.failed(format!("the self-test's answers are damaged: {e}")))?;
    let rows: Vec<Row<'_>> = expected
        .cases
        .iter()
        .map(|case| Row { ids: &case.input_ids, types: &[], values: (1..case.input_ids.len()).collect(), pooled: None })
        .collect();
    let found = forward.read(&rows, forward.summary.layers, BUDGET, None, &Cancel::default(), &mut |_| ()).await?;
    let mut error = 0.0;
    for (case, found) in expected.cases.iter().zip(&found) {
        let found = &found.values;
        if found.len() != case.token_logprobs.len() {
            return Ok(f64::NAN);
        }
        for (&want, &found) in case.token_logprobs.iter().zip(found) {
            error = worse(error, (f64::from(found) - want).abs());
        }
    }
    Ok(error)
}

/// Largest absolute error of `[rows, inner] x [inner, columns]` for small whole numbers. The matrices are made
/// on the device; the host computes the same sums for some places of the result.
async fn product(device: &OpenDevice, inner: usize, columns: usize) -> Result<f64, EngineError> {
    const ROWS: usize = 33;
    /// Most columns. With more, the kernel does the same, and the matrix would need memory beside a large
    /// model.
    const MOST_COLUMNS: usize = 256;
    let columns = columns.min(MOST_COLUMNS);
    const PLACES: usize = 64;
    // Periods without a common factor with each other or with powers of two.
    let left = |i: usize| (i % 7) as i64 - 3;
    let right = |i: usize| (i % 11) as i64 - 5;
    let matrix = |rows: usize, columns: usize, period: i32, shift: i32| -> Tensor<2> {
        let places = Tensor::<1, Int>::arange(0..(rows * columns) as i64, &device.device);
        places.remainder_scalar(period).sub_scalar(shift).float().reshape([rows, columns])
    };
    let a = matrix(ROWS, inner, 7, 3);
    let b = matrix(columns, inner, 11, 5);
    let found = device.read_back(project(a, b, None).reshape([ROWS * columns])).await?;
    let mut error = 0.0;
    for place in 0..PLACES {
        let at = (place * 7919) % (ROWS * columns);
        let (row, column) = (at / columns, at % columns);
        let want: i64 = (0..inner).map(|k| left(row * inner + k) * right(column * inner + k)).sum();
        error = worse(error, (f64::from(found[at]) - want as f64).abs());
    }
    Ok(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceChoice;
    use pollster::block_on;

    #[test]
    fn a_device_that_is_off_is_refused_with_both_numbers() {
        let device = block_on(crate::device::open(DeviceChoice::Cpu)).expect("the CPU");
        assert!(refuse_above(&device, "a case", 9e-4, LOG_PROBABILITY_TOLERANCE).is_ok());
        for error in [2e-3, f64::INFINITY, f64::NAN] {
            let message =
                refuse_above(&device, "a case", error, LOG_PROBABILITY_TOLERANCE).expect_err("refused").to_string();
            assert!(message.contains("a case") && message.contains("1e-3"), "{message}");
        }
        assert!(worse(f64::NAN, 1.0).is_nan() && worse(1.0, f64::NAN).is_nan());
    }
}
