//! DeBERTa-v2 and v3 (He et al., 2020, arXiv:2006.03654; 2021, arXiv:2111.09543): attention that scores contents and
//! relative positions separately. Positions far away share buckets. PairRM (Jiang et al., 2023, arXiv:2306.02561) is the
//! same with a head that compares two completions.
//!
//! Matches `transformers/models/deberta_v2/modeling_deberta_v2.py`, and `llm_blender/pair_ranker/pairrm.py`.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rewardscope_kernels::{Activation, products};
use serde::Deserialize;

use crate::architectures::bert::AfterAttention;
use crate::batch::Queries;
use crate::config::{ConfigJson, Labels, id};
use crate::layers::{Embedding, LayerNorm, Linear, split_heads};
use crate::{
    Architecture, Batch, Description, Entry, Head, Hidden, ModelError, Network, State, Summary, Tensors, Wanted,
    json_only,
};

/// The context as a multiple of the trained length, where positions are relative only.
const UNTRAINED: usize = 8;

/// Most tasks of a head that are taken.
const MOST_TASKS: usize = 1024;

/// What absent keys mean: `configuration_deberta_v2.py`.
pub(crate) const DEFAULTS: &str = r#"{
    "vocab_size": 128100, "hidden_size": 1536, "num_hidden_layers": 24, "num_attention_heads": 24,
    "intermediate_size": 6144, "hidden_act": "gelu", "max_position_embeddings": 512,
    "type_vocab_size": 0, "layer_norm_eps": 1e-7, "relative_attention": false,
    "max_relative_positions": -1, "pad_token_id": 0, "position_biased_input": true,
    "pos_att_type": null, "pooler_hidden_act": "gelu"
}"#;

#[derive(Deserialize)]
struct Keys {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    hidden_act: String,
    relative_attention: bool,
    max_relative_positions: Option<i64>,
    position_buckets: Option<i64>,
    #[serde(default)]
    share_att_key: bool,
    pos_att_type: Option<PositionAttention>,
    norm_rel_ebd: Option<String>,
    position_biased_input: bool,
    conv_kernel_size: Option<i64>,
    embedding_size: Option<usize>,
    attention_head_size: Option<usize>,
    pooler_hidden_size: Option<usize>,
    pooler_hidden_act: String,
    pad_token_id: Option<i64>,
    n_tasks: Option<usize>,
    #[serde(flatten)]
    labels: Labels,
}

/// `pos_att_type`: `"c2p|p2c"` in the first configurations, a list in later ones.
#[derive(Deserialize)]
#[serde(untagged)]
enum PositionAttention {
    Joined(String),
    List(Vec<String>),
}

impl PositionAttention {
    fn has(&self, kind: &str) -> bool {
        match self {
            Self::Joined(kinds) => kinds.split('|').any(|k| k.trim() == kind),
            Self::List(kinds) => kinds.iter().any(|k| k == kind),
        }
    }
}

struct Deberta {
    summary: Summary,
    /// What the names of the backbone's tensors begin with.
    stem: &'static str,
    reads: Reads,
    heads: usize,
    layer_norm_eps: f64,
    activation: Activation,
    distances: Distances,
    share_att_key: bool,
    content_to_position: bool,
    position_to_content: bool,
    norm_relative: bool,
    /// Entries of the absolute position embedding, where it is added to the inputs (`position_biased_input`).
    positions: Option<usize>,
    types: usize,
}

/// What makes outputs of the last layer's states.
#[derive(Debug, Clone, Copy)]
enum Reads {
    /// A pooler with this activation, and a classifier over the first token.
    Classifier(Activation),
    /// PairRM's head of so many tasks, whose mean counts.
    Pair { tasks: usize },
}

pub(crate) fn parse(entry: &Entry, description: Description<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let (file, json) = json_only(entry, description)?;
    let config: Keys = ConfigJson::read(file, json, DEFAULTS)?.keys()?;
    let unsupported = |found: String| ModelError::Unsupported { file: file.to_owned(), found };
    let activation =
        |name: &str| Activation::named(name).ok_or_else(|| unsupported(format!("the activation {name:?}")));
    if !config.relative_attention {
        return Err(unsupported("a DeBERTa without relative_attention".to_owned()));
    }
    if config.conv_kernel_size.is_some_and(|size| size > 0) {
        return Err(unsupported("a DeBERTa with a convolution (conv_kernel_size)".to_owned()));
    }
    let other_width = |width: Option<usize>, usual: usize| width.is_some_and(|width| width != usual);
    let head_dim = config.hidden_size / config.num_attention_heads.max(1);
    if other_width(config.embedding_size, config.hidden_size)
        || other_width(config.pooler_hidden_size, config.hidden_size)
        || other_width(config.attention_head_size, head_dim)
    {
        return Err(unsupported(
            "a DeBERTa whose embedding_size, pooler_hidden_size or attention_head_size differs".to_owned(),
        ));
    }
    let is_pair = entry.head == Head::Pair;
    let tasks = config.n_tasks.filter(|tasks| (1..=MOST_TASKS).contains(tasks));
    let (stem, reads) = match (is_pair, tasks) {
        (false, _) => ("deberta", Reads::Classifier(activation(&config.pooler_hidden_act)?)),
        (true, Some(tasks)) => ("pretrained_model", Reads::Pair { tasks }),
        (true, None) => return Err(unsupported(format!("a PairRM with n_tasks {:?}", config.n_tasks))),
    };
    let summary = Summary {
        architecture: entry.name,
        head: entry.head,
        labels: config.labels.of(entry.head),
        label: 0,
        // Relative positions have no limit, and transformers sets none where there are no absolute ones. This limit is
        // far beyond the trained length; it is there because memory grows with the square of the length.
        context_tokens: if config.position_biased_input {
            config.max_position_embeddings
        } else {
            config.max_position_embeddings.saturating_mul(UNTRAINED)
        },
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        layers: config.num_hidden_layers,
        pad_token_id: id(config.pad_token_id),
        is_causal: false,
        long_after: None,
        token_types: Some(config.type_vocab_size).filter(|&types| types > 0),
    };
    summary.check(file, &[config.num_attention_heads])?;
    if head_dim * config.num_attention_heads != config.hidden_size {
        return Err(ModelError::Config {
            file: file.to_owned(),
            expected: "a hidden size of equal heads".to_owned(),
            found: format!("{} over {}", config.hidden_size, config.num_attention_heads),
        });
    }
    let positive = |n: Option<i64>| n.filter(|&n| n > 0 && n < 1 << 20).map(|n| n as usize);
    let farthest = positive(config.max_relative_positions).unwrap_or(config.max_position_embeddings);
    let buckets = positive(config.position_buckets);
    let kinds = config.pos_att_type.unwrap_or(PositionAttention::List(Vec::new()));
    Ok(Box::new(Deberta {
        summary,
        stem,
        reads,
        heads: config.num_attention_heads,
        layer_norm_eps: config.layer_norm_eps,
        activation: activation(&config.hidden_act)?,
        distances: Distances { buckets, farthest, span: buckets.unwrap_or(farthest) },
        share_att_key: config.share_att_key,
        content_to_position: kinds.has("c2p"),
        position_to_content: kinds.has("p2c"),
        norm_relative: config.norm_rel_ebd.is_some_and(|kinds| kinds.to_lowercase().contains("layer_norm")),
        positions: config.position_biased_input.then_some(config.max_position_embeddings),
        types: config.type_vocab_size,
    }))
}

/// How the model counts the distance of two tokens.
#[derive(Debug, Clone, Copy)]
struct Distances {
    /// Number of buckets. Distances beyond half of it share buckets: the farther, the more of them share one. `None`
    /// where every distance counts by itself.
    buckets: Option<usize>,
    /// The farthest distance that is told apart.
    farthest: usize,
    /// Half of the relative embedding's entries.
    span: usize,
}

impl Distances {
    /// A distance, or the bucket of a far one: `make_log_bucket_position`, with f32 logarithms as there.
    fn of(self, distance: i64) -> i64 {
        let Some(buckets) = self.buckets else {
            return distance;
        };
        let middle = (buckets / 2) as i64;
        if distance.abs() <= middle {
            return distance;
        }
        let (far, middle_f) = (distance.abs() as f32, middle as f32);
        let share = (far / middle_f).ln() / ((self.farthest as f32 - 1.0) / middle_f).ln();
        let bucket = (share * (middle_f - 1.0)).ceil() + middle_f;
        bucket as i64 * distance.signum()
    }

    /// Rows of the relative embedding for every query and key, `[seq * seq]`: those of `sign * (query - key)`.
    fn rows(self, seq: usize, sign: i64) -> Vec<i32> {
        let last = 2 * self.span as i64 - 1;
        let row = |query: usize, key: usize| {
            (sign * self.of(query as i64 - key as i64) + self.span as i64).clamp(0, last) as i32
        };
        (0..seq).flat_map(|query| (0..seq).map(move |key| row(query, key))).collect()
    }
}

impl Architecture for Deberta {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn summary_mut(&mut self) -> &mut Summary {
        &mut self.summary
    }

    fn build(&self, tensors: &mut Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError> {
        let Summary { vocab_size, hidden_size: hidden, layers, labels, .. } = self.summary;
        let norm =
            |tensors: &mut Tensors, name: &str| LayerNorm::take(tensors, name, hidden, self.layer_norm_eps, true);
        let stem = self.stem;
        let words = Embedding::take(tensors, &format!("{stem}.embeddings.word_embeddings"), [vocab_size, hidden])?;
        let table = |tensors: &mut Tensors, part: &str, entries: usize| {
            Embedding::take_table(tensors, &format!("{stem}.embeddings.{part}_embeddings"), [entries, hidden])
        };
        let positions = self.positions.map(|entries| table(tensors, "position", entries)).transpose()?;
        let types = (self.types > 0).then(|| table(tensors, "token_type", self.types)).transpose()?;
        let embedding_norm = norm(tensors, &format!("{stem}.embeddings.LayerNorm"))?;
        let (rows, name) = (2 * self.distances.span, format!("{stem}.encoder.rel_embeddings"));
        let relative = Embedding::take_table(tensors, &name, [rows, hidden])?;
        let name = format!("{stem}.encoder.LayerNorm");
        let relative_norm = self.norm_relative.then(|| norm(tensors, &name)).transpose()?;
        let built: Result<Vec<Layer>, ModelError> = (0..layers)
            .map(|layer| {
                let at = format!("{stem}.encoder.layer.{layer}");
                let mut linear =
                    |part: &str| Linear::take(tensors, &format!("{at}.attention.self.{part}"), [hidden, hidden], true);
                let (query, key) = (linear("query_proj")?, linear("key_proj")?);
                let own = !self.share_att_key;
                let position_key = (own && self.content_to_position).then(|| linear("pos_key_proj")).transpose()?;
                let position_query = (own && self.position_to_content).then(|| linear("pos_query_proj")).transpose()?;
                let values = format!("{at}.attention.self.value_proj");
                Ok(Layer {
                    query,
                    key,
                    value: Linear::take_values(tensors, &values, [hidden, hidden], true)?,
                    position_key,
                    position_query,
                    after: AfterAttention::take(tensors, &at, &self.summary, self.layer_norm_eps, self.activation)?,
                })
            })
            .collect();
        Ok(Box::new(DebertaNetwork {
            words,
            positions,
            types,
            embedding_norm,
            relative,
            relative_norm,
            layers: built?,
            head: ReadHead::take(tensors, self.reads, hidden, labels)?,
            heads: self.heads,
            distances: self.distances,
            content_to_position: self.content_to_position,
            position_to_content: self.position_to_content,
            device: device.clone(),
        }))
    }
}

/// The head, built.
enum ReadHead {
    /// `classifier(activation(pooler(x)))`, `x` the first token's state.
    Classifier { pooler: Linear, activation: Activation, classifier: Linear },
    /// For each completion the mean over the tasks of `out(tanh(dense([x, y])))`, `x` the state of the token that begins
    /// the prompt, `y` that of the token that begins the completion.
    Pair { dense: Linear, out: Linear },
}

impl ReadHead {
    fn take(tensors: &mut Tensors, reads: Reads, hidden: usize, labels: usize) -> Result<Self, ModelError> {
        let mut linear = |name: &str, shape: [usize; 2]| Linear::take_head(tensors, name, shape, true);
        Ok(match reads {
            Reads::Classifier(activation) => Self::Classifier {
                pooler: linear("pooler.dense", [hidden, hidden])?,
                activation,
                classifier: linear("classifier", [labels, hidden])?,
            },
            // Numbered as in a torch Sequential, where dropout and tanh have numbers too.
            Reads::Pair { tasks } => Self::Pair {
                dense: linear("head_layer.1", [hidden, 2 * hidden])?,
                out: linear("head_layer.4", [tasks, hidden])?,
            },
        })
    }

    /// `[sequences, hidden]`, or `[3 * sequences, hidden]` for pairs, to `[sequences, outputs]`.
    fn outputs(&self, states: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Classifier { pooler, activation, classifier } => {
                classifier.forward(activation.of(pooler.forward(states)))
            }
            Self::Pair { dense, out } => {
                let [tokens, width] = states.dims();
                let parts = states.reshape([tokens / 3, 3 * width]);
                let part = |at: usize| parts.clone().narrow(1, at * width, width);
                let output = |completion: usize| {
                    let joined = Tensor::cat(vec![part(0), part(completion)], 1);
                    out.forward(dense.forward(joined).tanh()).mean_dim(1)
                };
                Tensor::cat(vec![output(1), output(2)], 1)
            }
        }
    }
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    position_key: Option<Linear>,
    position_query: Option<Linear>,
    after: AfterAttention,
}

struct DebertaNetwork {
    words: Embedding,
    positions: Option<Embedding>,
    types: Option<Embedding>,
    embedding_norm: LayerNorm,
    /// `[2 * span, hidden]`: one vector for each distance or bucket, negative ones first.
    relative: Embedding,
    relative_norm: Option<LayerNorm>,
    layers: Vec<Layer>,
    head: ReadHead,
    heads: usize,
    distances: Distances,
    content_to_position: bool,
    position_to_content: bool,
    device: Device,
}

/// What all layers share in one batch.
struct Shared {
    /// The relative embedding, normed where the model does so: `[2 * span, hidden]`.
    relative: Tensor<2>,
    /// `[longest, longest]`: the relative embedding's row by query and key.
    content_to_position: Tensor<2, Int>,
    /// The same by key and query, `[longest, longest]`.
    position_to_content: Tensor<2, Int>,
    /// Tokens of each sequence.
    spans: Vec<std::ops::Range<usize>>,
}

impl DebertaNetwork {
    /// The attention, `[tokens, hidden]` to the same. Each sequence is computed by itself, because its scores depend on
    /// distances, which packing does not keep.
    fn attend(&self, layer: &Layer, x: Tensor<2>, shared: &Shared) -> Tensor<2> {
        let q = layer.query.forward(x.clone());
        let k = layer.key.forward(x.clone());
        let v = layer.value.forward(x);
        let relative = |own: &Option<Linear>, shared_with: &Linear| {
            split_heads(own.as_ref().unwrap_or(shared_with).forward(shared.relative.clone()), self.heads)
        };
        let by_key = self.content_to_position.then(|| relative(&layer.position_key, &layer.key));
        let by_query = self.position_to_content.then(|| relative(&layer.position_query, &layer.query));
        let mixed = shared.spans.iter().map(|span| {
            let own = |x: &Tensor<2>| split_heads(x.clone().narrow(0, span.start, span.len()), self.heads);
            self.attend_one([own(&q), own(&k), own(&v)], &by_key, &by_query, shared)
        });
        Tensor::cat(mixed.collect(), 0)
    }

    /// The attention of one sequence: queries, keys and values, each `[heads, tokens, head_dim]`, to
    /// `[tokens, hidden]`. `by_key` and `by_query` are `[heads, 2 * span, head_dim]`.
    fn attend_one(
        &self,
        [q, k, v]: [Tensor<3>; 3],
        by_key: &Option<Tensor<3>>,
        by_query: &Option<Tensor<3>>,
        shared: &Shared,
    ) -> Tensor<2> {
        let [heads, seq, head_dim] = q.dims();
        let scale = ((head_dim * (1 + by_key.iter().len() + by_query.iter().len())) as f64).powf(-0.5);
        let rows = |table: &Tensor<2, Int>| -> Tensor<3, Int> {
            table.clone().narrow(0, 0, seq).narrow(1, 0, seq).unsqueeze::<3>().expand([heads, seq, seq])
        };
        let mut scores = products(q.clone(), k.clone());
        if let Some(keys) = by_key {
            scores = scores + products(q, keys.clone()).gather(2, rows(&shared.content_to_position));
        }
        if let Some(queries) = by_query {
            let by_key = products(k, queries.clone()).gather(2, rows(&shared.position_to_content));
            scores = scores + by_key.swap_dims(1, 2);
        }
        let weights = softmax(scores.mul_scalar(scale), 2);
        products(weights, v.swap_dims(1, 2)).swap_dims(0, 1).reshape([seq, heads * head_dim])
    }
}

impl Network for DebertaNetwork {
    fn hidden(&self, batch: &Batch<'_>, _state: Option<&State>, wanted: Wanted<'_>) -> Hidden {
        let spans: Vec<_> = batch.spans().collect();
        let mut x = self.words.of(&batch.ids());
        if let Some(positions) = &self.positions {
            let ids: Vec<u32> = batch.positions().into_iter().map(|position| position as u32).collect();
            x = x + positions.of(&ids);
        }
        if let Some(types) = &self.types {
            x = x + types.of(&batch.types());
        }
        let mut x = self.embedding_norm.forward(x);
        let relative = match &self.relative_norm {
            Some(norm) => norm.forward(self.relative.all()),
            None => self.relative.all(),
        };
        let longest = spans.iter().map(ExactSizeIterator::len).max().unwrap_or_default();
        let table = |sign: i64| {
            Tensor::from_data(TensorData::new(self.distances.rows(longest, sign), [longest, longest]), &self.device)
        };
        let shared = Shared { relative, content_to_position: table(1), position_to_content: table(-1), spans };
        let read = Queries::of(batch, wanted.tokens, &self.device);
        let mut tapped = None;
        for (layer, done) in self.layers.iter().zip(1..) {
            let mut mixed = self.attend(layer, x.clone(), &shared);
            if done == self.layers.len() {
                (x, mixed) = (read.select(x), read.select(mixed));
            }
            x = layer.after.forward(x, mixed);
            if wanted.tap == Some(done) {
                tapped = Some(read.select(x.clone()));
            }
        }
        Hidden { last: x, tapped, state: None }
    }

    fn outputs(&self, hidden: Tensor<2>, _counts: &[usize]) -> Tensor<2> {
        self.head.outputs(hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_distances_are_told_apart_and_far_ones_share_buckets() {
        let distances = Distances { buckets: Some(16), farthest: 64, span: 16 };
        let found: Vec<i64> = [0, 1, -8, 8, 9, 10, 63, -63].map(|d| distances.of(d)).to_vec();
        assert_eq!(found, [0, 1, -8, 8, 9, 9, 15, -15]);
    }
}
