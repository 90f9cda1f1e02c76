//! Rotary position embeddings (Su et al., 2021, arXiv:2104.09864) and the ways to stretch them to longer texts,
//! computed in f32 as transformers does (`modeling_rope_utils.py`).

use burn::tensor::Device;
use rewardscope_kernels::Turns;
use serde_json::Value;

use crate::ModelError;

/// The frequencies of a rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    /// The base of the frequencies, `theta^(-2i / turned)` radians per position.
    pub theta: f64,
    pub scaling: Scaling,
    /// Number of a head's coordinates that are rotated; the others stay.
    pub turned: usize,
}

/// How the frequencies are changed for positions beyond the trained ones.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scaling {
    None,
    /// Every frequency is divided by this factor.
    Linear(f64),
    Llama3(Llama3),
    Yarn(Yarn),
    LongRope(LongRope),
    /// Each frequency is divided by its own factor, as in a GGUF.
    Factors(Vec<f32>),
}

/// Llama 3's stretch of the low frequencies (arXiv:2407.21783).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Llama3 {
    pub factor: f64,
    pub low_freq_factor: f64,
    pub high_freq_factor: f64,
    /// Tokens of the longest texts in training.
    pub trained_tokens: f64,
}

/// YaRN (Peng et al., 2023, arXiv:2309.00071): low frequencies are stretched, high ones are not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Yarn {
    pub factor: f64,
    /// Factor of cosines and sines.
    pub attention_factor: f64,
    pub beta_fast: f64,
    pub beta_slow: f64,
    pub truncate: bool,
    /// Tokens of the longest texts in training.
    pub trained_tokens: f64,
}

/// LongRoPE (Ding et al., 2024, arXiv:2402.13753): each frequency is divided by its own factor, and by another one
/// where a text is longer than those of the training.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LongRope {
    pub short: Vec<f32>,
    pub long: Vec<f32>,
    /// Factor of cosines and sines.
    pub attention_factor: f64,
    /// Tokens of the longest texts in training.
    pub trained_tokens: usize,
}

fn holds_any(parameters: &&Value) -> bool {
    parameters.as_object().is_some_and(|all| !all.is_empty())
}

/// The parameters that transformers reads of the two: `rope_scaling`, the older key, where it holds any.
pub(crate) fn either<'a>(scaling: Option<&'a Value>, parameters: Option<&'a Value>) -> Option<&'a Value> {
    scaling.filter(holds_any).or(parameters)
}

/// What an absent `rope_theta` means.
pub(crate) fn default_theta() -> Option<f64> {
    Some(10_000.0)
}

/// What a configuration says about a rotary embedding.
pub(crate) struct RopeJson<'a> {
    /// The configuration's file, for messages.
    pub file: &'a str,
    /// `rope_parameters` (transformers 5) or `rope_scaling` (4).
    pub parameters: Option<&'a Value>,
    /// `rope_theta` beside them; `None` where it is null.
    pub theta: Option<f64>,
    /// Number of a head's coordinates that are rotated.
    pub turned: usize,
    /// `max_position_embeddings`
    pub most_tokens: usize,
    /// `original_max_position_embeddings` beside the parameters, which overrides the one in them.
    pub trained_tokens: Option<usize>,
}

impl RopeJson<'_> {
    /// Reads the rotary embedding.
    pub fn rope(&self) -> Result<Rope, ModelError> {
        let parameters = self.parameters.filter(holds_any);
        let theta = match parameters.and_then(|p| p.get("rope_theta")) {
            Some(theta) => theta.as_f64().ok_or_else(|| self.damaged("rope_theta", theta))?,
            None => self.theta.ok_or_else(|| self.damaged("rope_theta", &Value::Null))?,
        };
        if !(theta > 0.0 && theta.is_finite()) {
            return Err(self.damaged("rope_theta", &Value::from(theta)));
        }
        let scaling = match parameters {
            None => Scaling::None,
            Some(parameters) => self.scaling(parameters)?,
        };
        Ok(Rope { theta, scaling, turned: self.turned })
    }

    fn scaling(&self, parameters: &Value) -> Result<Scaling, ModelError> {
        let kind = parameters.get("rope_type").or_else(|| parameters.get("type"));
        let kind = match kind {
            None => "default",
            Some(kind) => kind.as_str().ok_or_else(|| self.damaged("rope_type", kind))?,
        };
        if kind != "default" && parameters.get("partial_rotary_factor").is_some_and(|part| part.as_f64() != Some(1.0)) {
            return Err(self.unsupported(format!("rope of type {kind:?} with a partial_rotary_factor")));
        }
        match kind {
            "default" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear(self.positive(parameters, "factor")?)),
            // It changes nothing for texts within the context, and longer texts are cut here.
            "dynamic" => self.positive(parameters, "factor").map(|_| Scaling::None),
            "llama3" => Ok(Scaling::Llama3(Llama3 {
                factor: self.positive(parameters, "factor")?,
                low_freq_factor: self.positive(parameters, "low_freq_factor")?,
                high_freq_factor: self.positive(parameters, "high_freq_factor")?,
                trained_tokens: self.trained(parameters)?,
            })),
            "yarn" => self.yarn(parameters).map(Scaling::Yarn),
            "longrope" => self.long_rope(parameters).map(Scaling::LongRope),
            other => Err(self.unsupported(format!("rope of type {other:?}"))),
        }
    }

    /// `_compute_yarn_parameters`
    fn yarn(&self, parameters: &Value) -> Result<Yarn, ModelError> {
        let trained_tokens = self.trained(parameters)?;
        let factor = match parameters.get("factor") {
            Some(Value::Null) => self.most_tokens as f64 / trained_tokens,
            _ => self.positive(parameters, "factor")?,
        };
        let scale = |scale: f64, by: f64| if scale <= 1.0 { 1.0 } else { 0.1 * by * scale.ln() + 1.0 };
        let [mscale, all] = ["mscale", "mscale_all_dim"].map(|key| self.truthy(parameters, key));
        let attention_factor = match (self.optional(parameters, "attention_factor")?, mscale?, all?) {
            (Some(factor), ..) => factor,
            (None, Some(mscale), Some(all)) => scale(factor, mscale) / scale(factor, all),
            (None, ..) => scale(factor, 1.0),
        };
        Ok(Yarn {
            factor,
            attention_factor,
            beta_fast: self.truthy(parameters, "beta_fast")?.unwrap_or(32.0),
            beta_slow: self.truthy(parameters, "beta_slow")?.unwrap_or(1.0),
            truncate: match parameters.get("truncate") {
                None => true,
                Some(truncate) => truncate.as_bool().ok_or_else(|| self.damaged("truncate", truncate))?,
            },
            trained_tokens,
        })
    }

    /// `_compute_longrope_parameters`
    fn long_rope(&self, parameters: &Value) -> Result<LongRope, ModelError> {
        let factors = |key: &str| -> Result<Vec<f32>, ModelError> {
            let value = parameters.get(key).unwrap_or(&Value::Null);
            let values: Option<Vec<f32>> =
                value.as_array().and_then(|all| all.iter().map(|x| Some(x.as_f64()? as f32)).collect());
            values
                .filter(|values| values.len() == self.turned / 2 && values.iter().all(|x| *x > 0.0))
                .ok_or_else(|| self.damaged(key, value))
        };
        let trained_tokens = self.trained(parameters)?;
        let factor = match self.optional(parameters, "factor")? {
            Some(factor) => factor,
            None => self.most_tokens as f64 / trained_tokens,
        };
        let attention_factor = match self.optional(parameters, "attention_factor")? {
            Some(factor) => factor,
            None if factor <= 1.0 => 1.0,
            None => (1.0 + factor.ln() / trained_tokens.ln()).sqrt(),
        };
        Ok(LongRope {
            short: factors("short_factor")?,
            long: factors("long_factor")?,
            attention_factor,
            trained_tokens: trained_tokens as usize,
        })
    }

    /// Tokens of the longest texts in training: as the key beside the parameters says, else the key in them, else the
    /// context.
    fn trained(&self, parameters: &Value) -> Result<f64, ModelError> {
        if let Some(trained) = self.trained_tokens {
            return Ok(trained as f64);
        }
        match parameters.get("original_max_position_embeddings") {
            None => Ok(self.most_tokens as f64),
            Some(_) => self.positive(parameters, "original_max_position_embeddings"),
        }
    }

    fn positive(&self, parameters: &Value, key: &str) -> Result<f64, ModelError> {
        let value = parameters.get(key).unwrap_or(&Value::Null);
        value.as_f64().filter(|x| *x > 0.0 && x.is_finite()).ok_or_else(|| self.damaged(key, value))
    }

    fn optional(&self, parameters: &Value, key: &str) -> Result<Option<f64>, ModelError> {
        match parameters.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| self.damaged(key, value)),
        }
    }

    /// A number; 0 counts as absent, as with Python's `or`.
    fn truthy(&self, parameters: &Value, key: &str) -> Result<Option<f64>, ModelError> {
        Ok(self.optional(parameters, key)?.filter(|value| *value != 0.0))
    }

    fn damaged(&self, key: &str, found: &Value) -> ModelError {
        ModelError::Config {
            file: self.file.to_owned(),
            expected: format!("{key} of a rotary embedding of {} coordinates", self.turned),
            found: found.to_string().chars().take(80).collect(),
        }
    }

    fn unsupported(&self, found: String) -> ModelError {
        ModelError::Unsupported { file: self.file.to_owned(), found }
    }
}

impl Rope {
    /// Texts of more tokens than this have other frequencies; `None` where all texts have the same.
    pub fn long_after(&self) -> Option<usize> {
        match &self.scaling {
            Scaling::LongRope(scaling) => Some(scaling.trained_tokens),
            _ => None,
        }
    }

    /// One frequency for each pair of coordinates, in radians per position. `is_long` asks for those of long texts.
    fn frequencies(&self, is_long: bool) -> Vec<f32> {
        let exponents = (0..self.turned / 2).map(|i| (2 * i) as f32 / self.turned as f32);
        let powers = exponents.map(|exponent| (self.theta as f32).powf(exponent));
        let plain = powers.clone().map(|power| 1.0 / power);
        match &self.scaling {
            Scaling::None => plain.collect(),
            Scaling::Linear(factor) => plain.map(|frequency| frequency / *factor as f32).collect(),
            Scaling::Llama3(scaling) => plain.map(|frequency| scaling.of(frequency)).collect(),
            Scaling::Yarn(scaling) => scaling.of(&powers.collect::<Vec<_>>(), self.theta, self.turned),
            Scaling::LongRope(scaling) => {
                let factors = if is_long { &scaling.long } else { &scaling.short };
                powers.zip(factors).map(|(power, factor)| 1.0 / (factor * power)).collect()
            }
            Scaling::Factors(factors) => plain.zip(factors).map(|(frequency, factor)| frequency / factor).collect(),
        }
    }

    /// The rotations of tokens at these positions; token `i` stands in a text of `lengths[i]` tokens.
    pub fn turns(&self, positions: &[usize], lengths: &[usize], device: &Device) -> Turns {
        let short = self.frequencies(false);
        let long = self.long_after().map(|after| (after, self.frequencies(true)));
        let scale = match &self.scaling {
            Scaling::Yarn(scaling) => scaling.attention_factor as f32,
            Scaling::LongRope(scaling) => scaling.attention_factor as f32,
            _ => 1.0,
        };
        let of = |token: usize| match &long {
            Some((after, long)) if lengths[token] > *after => long.as_slice(),
            _ => short.as_slice(),
        };
        Turns::of(positions, of, scale, device)
    }

    /// The embedding as `rope_parameters` of a `config.json`.
    pub fn to_json(&self) -> Value {
        let mut rope = match &self.scaling {
            Scaling::None => serde_json::json!({ "rope_type": "default" }),
            Scaling::Linear(factor) => serde_json::json!({ "rope_type": "linear", "factor": factor }),
            Scaling::Llama3(scaling) => serde_json::json!({
                "rope_type": "llama3",
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.trained_tokens as u64,
            }),
            Scaling::Yarn(scaling) => serde_json::json!({
                "rope_type": "yarn",
                "factor": scaling.factor,
                "attention_factor": scaling.attention_factor,
                "beta_fast": scaling.beta_fast,
                "beta_slow": scaling.beta_slow,
                "truncate": scaling.truncate,
                "original_max_position_embeddings": scaling.trained_tokens as u64,
            }),
            Scaling::LongRope(scaling) => serde_json::json!({
                "rope_type": "longrope",
                "short_factor": scaling.short,
                "long_factor": scaling.long,
                "attention_factor": scaling.attention_factor,
                "original_max_position_embeddings": scaling.trained_tokens,
            }),
            // Only longrope has one factor for each frequency; here they are the same for short and long texts.
            Scaling::Factors(factors) => serde_json::json!({
                "rope_type": "longrope",
                "short_factor": factors,
                "long_factor": factors,
                "attention_factor": 1.0,
            }),
        };
        rope["rope_theta"] = self.theta.into();
        rope
    }
}

impl Llama3 {
    /// One frequency, changed: `_compute_llama3_parameters`.
    fn of(&self, frequency: f32) -> f32 {
        let context = self.trained_tokens as f32;
        let (factor, low, high) = (self.factor as f32, self.low_freq_factor as f32, self.high_freq_factor as f32);
        let wavelength = 2.0 * std::f32::consts::PI / frequency;
        if wavelength > context / low {
            frequency / factor
        } else if wavelength < context / high {
            frequency
        } else {
            let smooth = (context / wavelength - low) / (high - low);
            (1.0 - smooth) * frequency / factor + smooth * frequency
        }
    }
}

impl Yarn {
    /// All frequencies: `_compute_yarn_parameters`, from `powers`, which are `theta^(2i / turned)`.
    fn of(&self, powers: &[f32], theta: f64, turned: usize) -> Vec<f32> {
        let dimension = |rotations: f64| {
            turned as f64 * (self.trained_tokens / (rotations * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln())
        };
        let (mut low, mut high) = (dimension(self.beta_fast), dimension(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(turned as f64 - 1.0));
        if low == high {
            high += 0.001;
        }
        let (low, span) = (low as f32, (high - low) as f32);
        let of = |(i, power): (usize, &f32)| {
            let kept = 1.0 - ((i as f32 - low) / span).clamp(0.0, 1.0);
            1.0 / (self.factor as f32 * power) * (1.0 - kept) + 1.0 / power * kept
        };
        powers.iter().enumerate().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, trained_tokens: 256.0 };
        let plain = Rope { theta: 500000.0, scaling: Scaling::None, turned: 8 }.frequencies(false);
        let scaled = Rope { theta: 500000.0, scaling: Scaling::Llama3(scaling), turned: 8 }.frequencies(false);
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[3], plain[3] / 8.0);
        assert!(scaled[1] < plain[1] && scaled[1] > plain[1] / 8.0);
    }

    #[test]
    fn long_texts_have_frequencies_of_their_own() {
        let scaling =
            LongRope { short: vec![1.0, 2.0], long: vec![3.0, 4.0], attention_factor: 1.0, trained_tokens: 9 };
        let rope = Rope { theta: 100.0, scaling: Scaling::LongRope(scaling), turned: 4 };
        assert_eq!(rope.frequencies(false), [1.0, 1.0 / 20.0]);
        assert_eq!(rope.frequencies(true), [1.0 / 3.0, 1.0 / 40.0]);
        assert_eq!(rope.long_after(), Some(9));
    }

    #[test]
    fn what_a_stretch_needs_is_named() {
        let of = |json: &str| {
            let parameters: Value = serde_json::from_str(json).expect("JSON");
            let json = RopeJson {
                file: "config.json",
                parameters: Some(&parameters),
                theta: Some(100.0),
                turned: 4,
                most_tokens: 64,
                trained_tokens: None,
            };
            json.rope().map_err(|e| e.to_string())
        };
        for (json, named) in [
            (r#"{"rope_type":"linear"}"#, "factor"),
            (r#"{"rope_type":"yarn","factor":"x"}"#, "factor"),
            (r#"{"rope_type":"longrope","short_factor":[1,2],"long_factor":[1]}"#, "long_factor"),
            (r#"{"rope_type":"wavy"}"#, "wavy"),
            (r#"{"rope_theta":null}"#, "rope_theta"),
        ] {
            let message = of(json).expect_err(json);
            assert!(message.contains(named), "{json}: {message}");
        }
        assert_eq!(of(r#"{"rope_type":"dynamic","factor":2}"#).expect("read").scaling, Scaling::None);
    }
}
