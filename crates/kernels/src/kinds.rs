//! Which activation and which norm a kernel computes.

/// A function of each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`
    Silu,
    /// `x Phi(x)`, Phi the normal distribution.
    Gelu,
    /// Its approximation with a hyperbolic tangent.
    GeluTanh,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// By transformers' name (`activations.py`).
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

/// Which norm, with what keeps it from dividing by zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Norm {
    /// `x / sqrt(mean(x^2) + epsilon) * weight + bias` (Zhang and Sennrich, 2019,
    /// arXiv:1910.07467, where there is no bias).
    RootMeanSquare(f64),
    /// `(x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias` (Ba et al., 2016,
    /// arXiv:1607.06450).
    Layer(f64),
}
