//! The decoder that Llama's successors share: pre-norm layers of rotary attention and a gated feed-forward layer. The
//! file of each architecture reads its configuration and sets the decoder's switches; what the switches do is here.

use burn::tensor::{Device, Int, Tensor};
use rewardscope_kernels::{Activation, Heads, Sight, Turns, attention, rotate};
use serde_json::Value;

use crate::batch::{Keys, Queries};
use crate::decoder_config::{Decoder, LayerKind};
use crate::head::{HeadPlan, OutputHead};
use crate::layers::{Embedding, Linear, RmsNorm, log_probability};
use crate::{
    Architecture, Batch, Head, Hidden, ModelError, Network, RowOrder, State, Summary, Tensors, Wanted, classifier,
};

impl Architecture for Decoder {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn summary_mut(&mut self) -> &mut Summary {
        &mut self.summary
    }

    fn read_by(&mut self, layers: usize, head: HeadPlan) -> Result<(), ModelError> {
        self.summary.head = Head::Score;
        (self.summary.labels, self.summary.label) = (head.outputs(), 0);
        self.summary.layers = layers.min(self.summary.layers);
        self.head = Some(head);
        Ok(())
    }

    fn tied_head(&self) -> Option<&'static str> {
        (self.summary.head == Head::LanguageModel && self.tie_word_embeddings).then_some("lm_head.weight")
    }

    fn untie(&mut self) {
        self.tie_word_embeddings = false;
    }

    fn classifier_config(&self) -> Value {
        match self.classifier {
            "" => Value::Null,
            class => classifier(&self.config, class, &self.summary),
        }
    }

    fn stored_name(&self, name: &str) -> Option<String> {
        // llama.cpp has one name for the norm before the feed-forward layer. transformers has two, and gives the first
        // of them to the norm after the attention where a model has both.
        let after = if self.norm_after { "post_attention_norm" } else { "ffn_norm" };
        let name = name.replace("post_attention_layernorm", after);
        Some(self.names?.iter().fold(name, |name, (from, to)| name.replace(from, to)))
    }

    fn build(&self, tensors: &mut Tensors, device: &Device) -> Result<Box<dyn Network>, ModelError> {
        Ok(Box::new(DecoderNetwork::new(self, tensors, device)?))
    }
}

/// The projections to queries, keys and values.
#[derive(Debug)]
enum Projections {
    /// To queries, to keys, to values.
    Apart(Box<[Linear; 3]>),
    /// For each head of keys: the queries that go with it, then the keys, then the values.
    Fused(Box<Linear>),
}

impl Projections {
    /// `[tokens, hidden]` to queries `[queries, heads * head_dim]`, and keys and values
    /// `[tokens, key heads * head_dim]`.
    fn forward(&self, x: Tensor<2>, heads: Heads, queries: &Queries) -> [Tensor<2>; 3] {
        match self {
            Self::Apart(apart) => {
                let [q_proj, k_proj, v_proj] = apart.as_ref();
                [q_proj.forward(queries.select(x.clone())), k_proj.forward(x.clone()), v_proj.forward(x)]
            }
            Self::Fused(all) => {
                let group = heads.queries / heads.keys;
                let fused = all.forward(x);
                let [tokens, width] = fused.dims();
                let head_dim = width / (heads.keys * (group + 2));
                let fused: Tensor<3> = fused.reshape([tokens, heads.keys, (group + 2) * head_dim]);
                let part = |first: usize, count: usize| -> Tensor<2> {
                    let part = fused.clone().narrow(2, first * head_dim, count * head_dim);
                    part.reshape([tokens, heads.keys * count * head_dim])
                };
                [queries.select(part(0, group)), part(group, 1), part(group + 1, 1)]
            }
        }
    }
}

#[derive(Debug)]
struct Attention {
    projections: Projections,
    o_proj: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
}

#[derive(Debug)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    activation: Activation,
}

impl Mlp {
    /// `down(act(gate(x)) * up(x))`: `[tokens, hidden]` to the same.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let gate = self.gate_proj.forward(x.clone());
        self.down_proj.forward(self.activation.gate(gate, self.up_proj.forward(x)))
    }
}

#[derive(Debug)]
struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    attention_after: Option<RmsNorm>,
    feed_forward_before: RmsNorm,
    mlp: Mlp,
    feed_forward_after: Option<RmsNorm>,
    /// An index into [`DecoderNetwork::kinds`].
    kind: usize,
}

#[derive(Debug)]
struct Weights {
    embed_tokens: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: OutputHead,
}

struct DecoderNetwork {
    weights: Weights,
    kinds: Vec<LayerKind>,
    heads: usize,
    key_value_heads: usize,
    query_scale: f64,
    attention_softcap: Option<f64>,
    logit_softcap: Option<f64>,
    /// Whether the head's outputs are logits of tokens.
    is_vocabulary: bool,
    embedding_scale: Option<f64>,
    is_causal: bool,
    device: Device,
}

/// What all layers of one kind share in one batch.
struct Shared {
    heads: Heads,
    /// The rotations of every token.
    turns: Turns,
    /// The rotations of the tokens that are read.
    last_turns: Turns,
}

/// The norm of each head, where there is one: `[tokens, heads * head_dim]` to the same.
fn normed(norm: &Option<RmsNorm>, x: Tensor<2>, heads: usize) -> Tensor<2> {
    match norm {
        Some(norm) => norm.of_heads(x, heads),
        None => x,
    }
}

impl Layer {
    /// The attention's result, which is added to the residual stream: `[tokens, hidden]` to `[queries, hidden]`.
    fn attend(&self, x: Tensor<2>, layer: usize, shared: &Shared, queries: &Queries, keys: &mut Keys<'_>) -> Tensor<2> {
        let attention_of = &self.self_attn;
        let heads = shared.heads;
        let [q, k, v] = attention_of.projections.forward(x, heads, queries);
        let turns = if queries.tokens.is_some() { &shared.last_turns } else { &shared.turns };
        let q = rotate(normed(&attention_of.q_norm, q, heads.queries), turns, heads.queries);
        let k = rotate(normed(&attention_of.k_norm, k, heads.keys), &shared.turns, heads.keys);
        let [k, v] = keys.of(layer, k, v);
        attention_of.o_proj.forward(attention(q, k, v, &queries.plan, heads))
    }

    /// The layer's input and output are residual streams, `[tokens, hidden]` and `[queries, hidden]`. Each is the sum
    /// of two tensors, which stay apart because the next norm adds them.
    fn forward(
        &self,
        (x, added): (Tensor<2>, Option<Tensor<2>>),
        layer: usize,
        shared: &Shared,
        queries: &Queries,
        keys: &mut Keys<'_>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let after = |norm: &Option<RmsNorm>, x: Tensor<2>| match norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let (x, input) = match added {
            Some(added) => self.input_layernorm.add(x, added),
            None => (x.clone(), self.input_layernorm.forward(x)),
        };
        let attended = after(&self.attention_after, self.attend(input, layer, shared, queries, keys));
        let (x, input) = self.feed_forward_before.add(queries.select(x), attended);
        (x, Some(after(&self.feed_forward_after, self.mlp.forward(input))))
    }
}

impl DecoderNetwork {
    fn new(config: &Decoder, tensors: &mut Tensors, device: &Device) -> Result<Self, ModelError> {
        let Summary { vocab_size, hidden_size, intermediate_size, layers, .. } = config.summary;
        let (heads, key_value_heads, head_dim) =
            (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let (queries, keys) = (heads * head_dim, key_value_heads * head_dim);
        let norm = |tensors: &mut Tensors, name: &str, width: usize| {
            RmsNorm::take(tensors, name, width, config.rms_norm_eps, config.norm_plus_one)
        };
        let rotary = |heads| {
            if config.rotary_pairs { RowOrder::RotaryPairs { heads } } else { RowOrder::AsStored }
        };
        let embed_tokens = Embedding::take(tensors, "model.embed_tokens", [vocab_size, hidden_size])?;
        let mut built = Vec::with_capacity(layers);
        for (layer, &kind) in config.layer_kinds.iter().enumerate().take(layers) {
            let at = |part: &str| format!("model.layers.{layer}.{part}");
            let bias = config.qkv_bias;
            let (q, k) = ([queries, hidden_size], [keys, hidden_size]);
            let input_layernorm = norm(tensors, &at("input_layernorm"), hidden_size)?;
            let projections = if config.qkv_fused {
                let all = [queries + 2 * keys, hidden_size];
                Projections::Fused(Box::new(Linear::take_values(tensors, &at("self_attn.qkv_proj"), all, bias)?))
            } else {
                Projections::Apart(Box::new([
                    Linear::take_ordered(tensors, &at("self_attn.q_proj"), q, bias, rotary(heads))?,
                    Linear::take_ordered(tensors, &at("self_attn.k_proj"), k, bias, rotary(key_value_heads))?,
                    Linear::take_values(tensors, &at("self_attn.v_proj"), k, bias)?,
                ]))
            };
            let self_attn = Attention {
                projections,
                o_proj: Linear::take(tensors, &at("self_attn.o_proj"), [hidden_size, queries], config.output_bias)?,
                q_norm: config.qk_norm.then(|| norm(tensors, &at("self_attn.q_norm"), head_dim)).transpose()?,
                k_norm: config.qk_norm.then(|| norm(tensors, &at("self_attn.k_norm"), head_dim)).transpose()?,
            };
            // Where results are normed too, this is the norm after the attention; in Llama it is the norm before the
            // feed-forward layer.
            let second = norm(tensors, &at("post_attention_layernorm"), hidden_size)?;
            let (attention_after, feed_forward_before) = if config.norm_after {
                (Some(second), norm(tensors, &at("pre_feedforward_layernorm"), hidden_size)?)
            } else {
                (None, second)
            };
            let (wide, narrow) = ([intermediate_size, hidden_size], [hidden_size, intermediate_size]);
            let mlp = Mlp {
                gate_proj: Linear::take(tensors, &at("mlp.gate_proj"), wide, config.mlp_bias)?,
                up_proj: Linear::take(tensors, &at("mlp.up_proj"), wide, config.mlp_bias)?,
                down_proj: Linear::take(tensors, &at("mlp.down_proj"), narrow, config.mlp_bias)?,
                activation: config.activation,
            };
            let feed_forward_after =
                config.norm_after.then(|| norm(tensors, &at("post_feedforward_layernorm"), hidden_size)).transpose()?;
            built.push(Layer {
                input_layernorm,
                self_attn,
                attention_after,
                feed_forward_before,
                mlp,
                feed_forward_after,
                kind,
            });
        }
        let norm = norm(tensors, "model.norm", hidden_size)?;
        let head =
            OutputHead::take(tensors, &config.summary, config.head.as_ref(), "lm_head", config.tie_word_embeddings)?;
        Ok(Self {
            weights: Weights { embed_tokens, layers: built, norm, head },
            kinds: config.kinds.clone(),
            heads,
            key_value_heads,
            query_scale: config.query_scale,
            attention_softcap: config.attention_softcap,
            logit_softcap: config.logit_softcap,
            is_vocabulary: config.head.as_ref().is_some_and(|head| head.is_vocabulary),
            embedding_scale: config.embedding_scale,
            is_causal: config.summary.is_causal,
            device: device.clone(),
        })
    }

    /// `[tokens, hidden]` to `[tokens, outputs]` or `[tokens, vocab]`.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.weights.head.forward(hidden, &self.weights.embed_tokens)
    }

    /// Logits of tokens within the bound that some models have.
    fn bounded(&self, logits: Tensor<2>) -> Tensor<2> {
        match self.logit_softcap {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        }
    }
}

impl Network for DecoderNetwork {
    fn hidden(&self, batch: &Batch<'_>, state: Option<&State>, wanted: Wanted<'_>) -> Hidden {
        let (all, last) = (Queries::all(batch), Queries::of(batch, wanted.tokens, &self.device));
        let (positions, lengths) = (batch.positions(), batch.lengths());
        let read = |of: &[usize]| -> Vec<usize> { wanted.tokens.iter().map(|&token| of[token]).collect() };
        let (read_positions, read_lengths) = (read(&positions), read(&lengths));
        let shared = |kind: &LayerKind| Shared {
            heads: Heads {
                queries: self.heads,
                keys: self.key_value_heads,
                scale: self.query_scale,
                softcap: self.attention_softcap,
                sight: if self.is_causal { Sight::Back(kind.window) } else { Sight::Around(kind.window) },
            },
            turns: kind.rope.turns(&positions, &lengths, &self.device),
            last_turns: kind.rope.turns(&read_positions, &read_lengths, &self.device),
        };
        let shared: Vec<Shared> = self.kinds.iter().map(shared).collect();
        let mut keys = Keys::new(state, wanted.keeps_state);
        let mut x = self.weights.embed_tokens.of(&batch.ids());
        if let Some(scale) = self.embedding_scale {
            x = x.mul_scalar(scale);
        }
        let normed = |(x, added): (Tensor<2>, Option<Tensor<2>>)| match added {
            Some(added) => self.weights.norm.add(x, added).1,
            None => self.weights.norm.forward(x),
        };
        let mut x = (x, None);
        let mut tapped = None;
        let count = self.weights.layers.len();
        for (at, layer) in self.weights.layers.iter().enumerate() {
            let queries = if at + 1 == count { &last } else { &all };
            x = layer.forward(x, at, &shared[layer.kind], queries, &mut keys);
            if wanted.tap == Some(at + 1) {
                tapped = Some(normed((last.select(x.0.clone()), x.1.clone().map(|added| last.select(added)))));
            }
        }
        let last = normed(x);
        Hidden { last, tapped, state: keys.into_state() }
    }

    fn outputs(&self, hidden: Tensor<2>, _counts: &[usize]) -> Tensor<2> {
        let outputs = self.logits(hidden);
        if self.is_vocabulary { self.bounded(outputs) } else { outputs }
    }

    fn log_probability(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        log_probability(hidden, targets, |rows| self.bounded(self.logits(rows)))
    }
}
