//! Which activation and which norm a kernel computes.

/// An activation function. It is applied to each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)` (Elfwing et al., 2017, arXiv:1702.03118).
    Silu,
    /// `x Phi(x)`, where Phi is the cumulative distribution function of the standard normal distribution
    /// (Hendrycks and Gimpel, 2016, arXiv:1606.08415).
    Gelu,
    /// GELU's approximation, `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// The activation that transformers calls `name` (`activations.py`); `None` where it is not supported.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Self::Silu),
            "gelu" => Some(Self::Gelu),
            "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Some(Self::GeluTanh),
            "tanh" => Some(Self::Tanh),
            _ => None,
        }
    }
}

/// Which norm. The value is epsilon, which keeps the divisor above zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Norm {
    /// `x / sqrt(mean(x^2) + epsilon) * weight + bias` (Zhang and Sennrich, 2019, arXiv:1910.07467, without a
    /// bias).
    RootMeanSquare(f64),
    /// `(x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias` (Ba et al., 2016,
    /// arXiv:1607.06450).
    Layer(f64),
}
