//! Matrices as they are stored on a device: in f32, or packed into words of 32 bits and unpacked where they are
//! used.

use burn::backend::Dispatch;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::packing::Packing;
use crate::{Operations, project, traffic};

/// A matrix `[rows, columns]` on a device, in f32 or packed.
#[derive(Debug, Clone)]
pub struct Stored(Form);

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a model has a few hundred of them")]
enum Form {
    Plain(Tensor<2>),
    Packed {
        packing: Packing,
        /// `[rows, columns / per_word]`
        words: Tensor<2, Int>,
        /// `[rows, columns / GROUP]`; where the packing has no groups, `words` again.
        pairs: Tensor<2, Int>,
    },
    /// Parts of the matrix, one below the other, for devices that cannot read the whole matrix at once.
    Parts(Vec<Stored>),
}

impl Stored {
    /// A matrix in f32.
    pub fn plain(values: Tensor<2>) -> Self {
        Self(Form::Plain(values))
    }

    /// A packed matrix: `words` is `[rows, columns / per_word]`. Where the packing has groups, `pairs` is
    /// `[rows, columns / GROUP]`; see [`Packed`](crate::Packed).
    pub fn packed(packing: Packing, words: Tensor<2, Int>, pairs: Option<Tensor<2, Int>>) -> Self {
        let pairs = pairs.unwrap_or_else(|| words.clone());
        Self(Form::Packed { packing, words, pairs })
    }

    /// One matrix from several that have the same number of columns, one below the other.
    pub fn parts(parts: Vec<Self>) -> Self {
        match <[Self; 1]>::try_from(parts) {
            Ok([only]) => only,
            Err(parts) => Self(Form::Parts(parts)),
        }
    }

    /// Number of rows and of columns.
    pub fn dims(&self) -> [usize; 2] {
        match &self.0 {
            Form::Parts(parts) => {
                let columns = parts.first().map_or(0, |part| part.dims()[1]);
                [parts.iter().map(|part| part.dims()[0]).sum(), columns]
            }
            Form::Plain(values) => values.dims(),
            Form::Packed { packing, words, .. } => {
                let [rows, words] = words.dims();
                [rows, words * packing.per_word()]
            }
        }
    }

    /// The device that holds the matrix.
    pub fn device(&self) -> Device {
        match &self.0 {
            Form::Plain(values) => values.device(),
            Form::Packed { words, .. } => words.device(),
            Form::Parts(parts) => parts.first().map_or_else(Device::flex, Self::device),
        }
    }

    /// `x matrix^T + bias`: `x` is `[tokens, columns]`, `bias` is `[rows]`, the result is `[tokens, rows]`.
    pub fn project(&self, x: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
        match &self.0 {
            Form::Parts(parts) => {
                let mut first = 0;
                let outputs = parts.iter().map(|part| {
                    let rows = part.dims()[0];
                    let own = bias.clone().map(|bias| bias.narrow(0, first, rows));
                    first += rows;
                    part.project(x.clone(), own)
                });
                Tensor::cat(outputs.collect(), 1)
            }
            Form::Plain(values) => project(x, values.clone(), bias),
            Form::Packed { packing, words, pairs } => {
                let ([tokens, columns], [rows, _]) = (x.dims(), self.dims());
                traffic::product([1, tokens, rows, columns], Some(*packing));
                let has_bias = bias.is_some();
                let x = x.into_dispatch();
                let bias = bias.map_or_else(|| x.clone(), Tensor::into_dispatch);
                let (words, pairs) = (words.clone().into_dispatch(), pairs.clone().into_dispatch());
                Tensor::from_dispatch(<Dispatch as Operations>::project_packed(
                    x, words, pairs, bias, has_bias, *packing,
                ))
            }
        }
    }

    /// The rows with these numbers, in the order of `ids`, in f32: `[ids, columns]`.
    pub fn rows(&self, ids: &[u32]) -> Tensor<2> {
        let index = |places: Vec<i32>| {
            let count = places.len();
            Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &self.device())
        };
        if let Form::Parts(parts) = &self.0 {
            // Rows are collected part by part, then put into the order of `ids`.
            let mut places = vec![0; ids.len()];
            let (mut first, mut given, mut found) = (0, 0, Vec::new());
            for part in parts {
                let rows = part.dims()[0];
                let own = ids.iter().enumerate().filter(|(_, id)| (first..first + rows).contains(&(**id as usize)));
                let own: Vec<(usize, u32)> = own.map(|(place, &id)| (place, id - first as u32)).collect();
                first += rows;
                if own.is_empty() {
                    continue;
                }
                for (place, _) in &own {
                    places[*place] = given;
                    given += 1;
                }
                found.push(part.rows(&own.iter().map(|(_, id)| *id).collect::<Vec<_>>()));
            }
            return Tensor::cat(found, 0).select(0, index(places));
        }
        let index = index(ids.iter().map(|&id| id as i32).collect());
        match &self.0 {
            Form::Parts(_) => unreachable!("returned above"),
            Form::Plain(values) => values.clone().select(0, index),
            Form::Packed { packing, words, pairs } => {
                // Only the words of these rows are unpacked.
                let words = words.clone().select(0, index.clone());
                let pairs = if packing.has_groups() { pairs.clone().select(0, index) } else { words.clone() };
                unpack(words, pairs, *packing)
            }
        }
    }

    /// The whole matrix in f32: `[rows, columns]`.
    pub fn all(&self) -> Tensor<2> {
        match &self.0 {
            Form::Plain(values) => values.clone(),
            Form::Packed { packing, words, pairs } => unpack(words.clone(), pairs.clone(), *packing),
            Form::Parts(parts) => Tensor::cat(parts.iter().map(Self::all).collect(), 0),
        }
    }
}

/// All values of a packed matrix in f32: `[rows, columns]`.
fn unpack(words: Tensor<2, Int>, pairs: Tensor<2, Int>, packing: Packing) -> Tensor<2> {
    let (words, pairs) = (words.into_dispatch(), pairs.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Operations>::unpack(words, pairs, packing))
}
