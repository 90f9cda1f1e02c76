//! How many tokens a batch takes.

use rewardscope_models::Summary;

use crate::device::{DeviceKind, OpenDevice};

/// For a GPU: most tokens in one batch, and most bytes of a layer's activations for them.
const BATCH_GPU: (usize, u64) = (4096, 256 << 20);

/// The same for the CPU, where larger batches save no time but cost memory.
const BATCH_CPU: (usize, u64) = (1024, 96 << 20);

/// Minimum of tokens in one batch: fewer leave most of a device idle.
const LEAST_BATCH_TOKENS: u64 = 64;

/// Bytes of a layer's activations for one token. The residual, its norms, queries, keys, values and the output
/// of attention exist at once; then both halves of the feed-forward layer, their product and its result.
pub(crate) fn bytes_a_token(summary: &Summary) -> u64 {
    4 * (3 * summary.intermediate_size as u64 + 8 * summary.hidden_size as u64)
}

/// Most tokens in one batch, for this device and the width of this model.
pub(crate) fn batch_tokens(device: &OpenDevice, summary: &Summary) -> usize {
    let (most, most_bytes) = match device.report.kind {
        DeviceKind::Gpu => BATCH_GPU,
        DeviceKind::Cpu => BATCH_CPU,
    };
    let (hidden, inner) = (summary.hidden_size as u64, summary.intermediate_size as u64);
    // A kernel reads each activation as one buffer.
    let bound = device.most_bound_bytes() / (4 * inner.max(hidden));
    let budget = (most_bytes / bytes_a_token(summary)).min(bound).max(LEAST_BATCH_TOKENS);
    usize::try_from(budget).unwrap_or(most).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rewardscope_models::Head;

    #[test]
    fn batches_are_as_large_as_a_models_width_allows() {
        let device = pollster::block_on(crate::device::open(crate::DeviceChoice::Cpu)).expect("the CPU");
        let of = |device: &OpenDevice, hidden_size: usize, intermediate_size: usize| {
            let summary = Summary {
                architecture: "any",
                head: Head::Score,
                labels: 1,
                label: 0,
                context_tokens: 8192,
                vocab_size: 1000,
                hidden_size,
                intermediate_size,
                layers: 1,
                pad_token_id: None,
                is_causal: true,
                long_after: None,
                token_types: None,
            };
            batch_tokens(device, &summary)
        };
        assert_eq!(of(&device, 576, 1536), 1024);
        // Llama 3.1 8B: 300 kB a token.
        assert_eq!(of(&device, 4096, 14_336), 332);
        let device = device.limited(u64::MAX, 1 << 20);
        assert_eq!(of(&device, 576, 1536), 170);
        assert_eq!(of(&device, 4096, 14_336), 64);
    }
}
