//! Rotary position embeddings (Su et al., 2021, arXiv:2104.09864) and the ways to stretch them,
//! computed in f32 as transformers does (`modeling_rope_utils.py`).

use burn::tensor::Device;
use rewardscope_kernels::Turns;
use serde::Deserialize;
use serde_json::Value;

use crate::ModelError;

/// The frequencies of a rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    pub theta: f64,
    pub scaling: Scaling,
    /// Coordinates of a head that turn; the others stay.
    pub turned: usize,
}

/// How positions beyond the trained ones are reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scaling {
    None,
    /// Every frequency is divided by so much.
    Linear(f64),
    Llama3(Llama3Scaling),
}

/// Llama 3's stretch of the low frequencies (arXiv:2407.21783).
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Llama3Scaling {
    pub factor: f64,
    pub low_freq_factor: f64,
    pub high_freq_factor: f64,
    pub original_max_position_embeddings: usize,
}

impl Rope {
    /// From `rope_parameters` (transformers 5), or `rope_scaling` beside `theta` (transformers 4).
    pub fn from_json(
        file: &str,
        parameters: Option<&Value>,
        theta: Option<f64>,
        turned: usize,
    ) -> Result<Self, ModelError> {
        let parameters = parameters.filter(|value| !value.is_null());
        let theta = parameters.and_then(|p| p.get("rope_theta")?.as_f64()).or(theta).unwrap_or(10000.0);
        let kind = parameters.and_then(|p| p.get("rope_type").or_else(|| p.get("type"))?.as_str());
        let damaged = |found: String| ModelError::Config {
            file: file.to_owned(),
            expected: format!("{} rope parameters", kind.unwrap_or_default()),
            found,
        };
        if !(theta > 0.0 && theta.is_finite()) {
            return Err(damaged(format!("a theta of {theta}")));
        }
        let scaling = match (kind, parameters) {
            (None | Some("default"), _) | (_, None) => Scaling::None,
            (Some("linear"), Some(parameters)) => match parameters.get("factor").and_then(Value::as_f64) {
                Some(factor) if factor > 0.0 => Scaling::Linear(factor),
                _ => return Err(damaged("no positive factor".to_owned())),
            },
            (Some("llama3"), Some(parameters)) => {
                Scaling::Llama3(Llama3Scaling::deserialize(parameters).map_err(|e| damaged(e.to_string()))?)
            }
            (Some(other), _) => {
                return Err(ModelError::Unsupported {
                    file: file.to_owned(),
                    found: format!("rope scaling of type {other:?}"),
                });
            }
        };
        Ok(Self { theta, scaling, turned })
    }

    /// One frequency for each pair of coordinates, in radians a position.
    fn frequencies(&self) -> Vec<f32> {
        let plain = (0..self.turned / 2).map(|i| 1.0 / (self.theta as f32).powf((2 * i) as f32 / self.turned as f32));
        match &self.scaling {
            Scaling::None => plain.collect(),
            Scaling::Linear(factor) => plain.map(|frequency| frequency / *factor as f32).collect(),
            Scaling::Llama3(scaling) => plain.map(|frequency| scaling.of(frequency)).collect(),
        }
    }

    /// The turns of tokens at these positions.
    pub fn turns(&self, positions: &[usize], device: &Device) -> Turns {
        Turns::new(positions, &self.frequencies(), device)
    }

    /// As `rope_parameters` write it.
    pub fn to_json(&self) -> Value {
        let mut rope = serde_json::json!({ "rope_type": "default", "rope_theta": self.theta });
        match &self.scaling {
            Scaling::None => {}
            Scaling::Linear(factor) => {
                rope["rope_type"] = "linear".into();
                rope["factor"] = (*factor).into();
            }
            Scaling::Llama3(scaling) => {
                rope["rope_type"] = "llama3".into();
                rope["factor"] = scaling.factor.into();
                rope["low_freq_factor"] = scaling.low_freq_factor.into();
                rope["high_freq_factor"] = scaling.high_freq_factor.into();
                rope["original_max_position_embeddings"] = scaling.original_max_position_embeddings.into();
            }
        }
        rope
    }
}

impl Llama3Scaling {
    /// `_compute_llama3_parameters`
    fn of(&self, frequency: f32) -> f32 {
        let context = self.original_max_position_embeddings as f32;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = Llama3Scaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 256,
        };
        let plain = Rope { theta: 500000.0, scaling: Scaling::None, turned: 8 }.frequencies();
        let scaled = Rope { theta: 500000.0, scaling: Scaling::Llama3(scaling), turned: 8 }.frequencies();
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[3], plain[3] / 8.0);
        assert!(scaled[1] < plain[1] && scaled[1] > plain[1] / 8.0);
    }
}
