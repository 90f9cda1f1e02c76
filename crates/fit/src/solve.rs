//! L2-regularised logistic regression without intercept on the differences of two feature vectors,
//! which is the Bradley-Terry likelihood (Bradley and Terry, 1952) of a linear reward:
//!
//! `L(w) = mean log(1 + exp(-w x)) + strength / 2 |w|^2`, `x = (chosen - rejected) / scale`.
//!
//! The solver is L-BFGS (Liu and Nocedal, 1989; Nocedal and Wright, 2006, algorithms 7.4 and 7.5) in f64. It solves
//! several problems over the same rows side by side: one pass over the rows serves all problems that are not solved
//! yet, with two matrix products per block. Cross-validation needs this to stream its rows, and no library's solver
//! offers it.

use std::collections::VecDeque;

use ndarray::{Array2, ArrayView2};

/// How many steps are remembered, each with its change of the gradient.
const MEMORY: usize = 10;

/// Limit of steps. A convex problem of this kind is solved in a few dozen steps; after this many, f64 cannot tell the
/// losses apart any more, and the point is as good as it gets.
const MOST_STEPS: usize = 2000;

/// `log(1 + exp(-margin))` without overflow.
pub(crate) fn log_loss(margin: f64) -> f64 {
    if margin > 0.0 { libm::log1p(libm::exp(-margin)) } else { libm::log1p(libm::exp(margin)) - margin }
}

/// `1 / (1 + exp(-x))` without overflow.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + libm::exp(-x))
    } else {
        let e = libm::exp(x);
        e / (1.0 + e)
    }
}

/// One problem and the state of its solver.
pub(crate) struct Problem {
    /// Whether row i counts.
    pub takes: Box<dyn Fn(usize) -> bool>,
    rows: usize,
    strength: f64,
    /// How near to the solution the weights must be, as a share of their norm.
    tolerance: f64,
    /// The point at which the next pass computes loss and gradient.
    trial: Vec<f64>,
    /// The best point so far with its loss and gradient.
    point: Vec<f64>,
    loss: f64,
    gradient: Vec<f64>,
    direction: Vec<f64>,
    step: f64,
    memory: VecDeque<Pair>,
    steps: usize,
    solved: bool,
    // Sums of the current pass.
    loss_sum: f64,
    gradient_sum: Vec<f64>,
}

/// A step and the change of the gradient along it.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// `1 / (step . change)`
    curvature: f64,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Problem {
    /// A problem over the rows that `takes` accepts, `rows` of them, with the starting point `start`.
    pub fn new(takes: Box<dyn Fn(usize) -> bool>, rows: usize, strength: f64, tolerance: f64, start: Vec<f64>) -> Self {
        let width = start.len();
        Self {
            takes,
            rows,
            strength,
            tolerance,
            trial: start,
            point: Vec::new(),
            loss: f64::INFINITY,
            gradient: Vec::new(),
            direction: Vec::new(),
            step: 1.0,
            memory: VecDeque::new(),
            steps: 0,
            solved: false,
            loss_sum: 0.0,
            gradient_sum: vec![0.0; width],
        }
    }

    /// The best weights so far; the solution once the problem is solved.
    pub fn weights(&self) -> &[f64] {
        &self.point
    }

    /// Adds the loss of the next block of rows, the first of which is row `first`. `margins` are `rows x trial`.
    /// Returns the factor of each row in the gradient.
    fn weigh(&mut self, first: usize, margins: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> {
        let n = self.rows.max(1) as f64;
        margins.enumerate().map(move |(i, margin)| {
            if !(self.takes)(first + i) {
                return 0.0;
            }
            self.loss_sum += log_loss(margin) / n;
            -sigmoid(-margin) / n
        })
    }

    /// After a pass: accepts or rejects the trial point, and chooses the next one.
    fn advance(&mut self) {
        let loss = self.loss_sum + 0.5 * self.strength * dot(&self.trial, &self.trial);
        let mut gradient = std::mem::replace(&mut self.gradient_sum, vec![0.0; self.trial.len()]);
        gradient.iter_mut().zip(&self.trial).for_each(|(g, w)| *g += self.strength * w);
        self.loss_sum = 0.0;
        self.steps += 1;
        let is_first = self.point.is_empty();
        // Armijo's rule. Near the solution the losses differ by less than f64 can hold; there a smaller gradient shows
        // that the step is right.
        let wanted = self.loss + 1e-4 * self.step * dot(&self.gradient, &self.direction);
        let noise = 1e-13 * loss.abs().max(1e-3);
        let is_enough = loss <= wanted
            || (loss <= self.loss + noise && dot(&gradient, &gradient) < dot(&self.gradient, &self.gradient));
        if !is_first && !is_enough {
            self.step *= 0.5;
            if self.step < 1e-10 || self.steps >= MOST_STEPS {
                self.solved = true;
                return;
            }
            self.try_next();
            return;
        }
        if !is_first {
            let step: Vec<f64> = self.trial.iter().zip(&self.point).map(|(a, b)| a - b).collect();
            let change: Vec<f64> = gradient.iter().zip(&self.gradient).map(|(a, b)| a - b).collect();
            let curvature = dot(&step, &change);
            // The penalty makes the problem strongly convex; only rounding can bring this to 0.
            if curvature > 0.0 {
                if self.memory.len() == MEMORY {
                    self.memory.pop_front();
                }
                self.memory.push_back(Pair { step, change, curvature: 1.0 / curvature });
            }
        }
        (self.point, self.loss, self.gradient) = (self.trial.clone(), loss, gradient);
        // Strong convexity: the solution is no further than |gradient| / strength.
        let distance = dot(&self.gradient, &self.gradient).sqrt() / self.strength;
        let norm = dot(&self.point, &self.point).sqrt();
        if distance <= self.tolerance * norm.max(1e-6) || self.steps >= MOST_STEPS {
            self.solved = true;
            return;
        }
        self.direction = self.descent();
        // While no curvature is known, the step is at most 1 long.
        self.step =
            if self.memory.is_empty() { 1.0 / dot(&self.gradient, &self.gradient).sqrt().max(1.0) } else { 1.0 };
        self.try_next();
    }

    fn try_next(&mut self) {
        self.trial = self.point.iter().zip(&self.direction).map(|(w, d)| w + self.step * d).collect();
    }

    /// The descent direction: minus the inverse Hessian times the gradient, with the Hessian as far as the memory knows
    /// it.
    fn descent(&self) -> Vec<f64> {
        let mut direction: Vec<f64> = self.gradient.iter().map(|g| -g).collect();
        let mut shares = Vec::with_capacity(self.memory.len());
        for pair in self.memory.iter().rev() {
            let share = pair.curvature * dot(&pair.step, &direction);
            direction.iter_mut().zip(&pair.change).for_each(|(d, y)| *d -= share * y);
            shares.push(share);
        }
        if let Some(last) = self.memory.back() {
            let scale = 1.0 / (last.curvature * dot(&last.change, &last.change));
            direction.iter_mut().for_each(|d| *d *= scale);
        }
        for (pair, share) in self.memory.iter().zip(shares.iter().rev()) {
            let back = pair.curvature * dot(&pair.change, &direction);
            direction.iter_mut().zip(&pair.step).for_each(|(d, s)| *d += (share - back) * s);
        }
        direction
    }
}

/// One pass over the rows for all problems that are not solved yet.
pub(crate) struct Pass<'a> {
    problems: Vec<&'a mut Problem>,
    /// `[width, problems]`
    trials: Array2<f64>,
    /// `[problems, width]`
    gradients: Array2<f64>,
}

impl<'a> Pass<'a> {
    /// Begins a pass; `None` when all problems are solved.
    pub fn begin(problems: &'a mut [Problem], width: usize) -> Option<Self> {
        let problems: Vec<&mut Problem> = problems.iter_mut().filter(|problem| !problem.solved).collect();
        if problems.is_empty() {
            return None;
        }
        let trials = Array2::from_shape_fn((width, problems.len()), |(i, p)| problems[p].trial[i]);
        let gradients = Array2::zeros((problems.len(), width));
        Some(Self { problems, trials, gradients })
    }

    /// Takes the next rows, `[rows, width]`, the first of which is row `first`.
    pub fn take(&mut self, first: usize, rows: ArrayView2<'_, f64>) {
        let margins = rows.dot(&self.trials);
        let mut shares = Array2::zeros((self.problems.len(), rows.nrows()));
        for (p, problem) in self.problems.iter_mut().enumerate() {
            let column = margins.column(p);
            for (share, weight) in shares.row_mut(p).iter_mut().zip(problem.weigh(first, column.iter().copied())) {
                *share = weight;
            }
        }
        ndarray::linalg::general_mat_mul(1.0, &shares, &rows, 1.0, &mut self.gradients);
    }

    /// Ends the pass after all rows were taken.
    pub fn end(self) {
        for (problem, gradient) in self.problems.into_iter().zip(self.gradients.rows()) {
            problem.gradient_sum = gradient.to_vec();
            problem.advance();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(problems: &mut [Problem], rows: &Array2<f64>) -> usize {
        let mut passes = 0;
        while let Some(mut pass) = Pass::begin(problems, rows.ncols()) {
            for first in (0..rows.nrows()).step_by(7) {
                let end = (first + 7).min(rows.nrows());
                pass.take(first, rows.slice(ndarray::s![first..end, ..]));
            }
            pass.end();
            passes += 1;
        }
        passes
    }

    fn rows() -> Array2<f64> {
        let mut random = rewardscope_benchmarks::statistics::SplitMix(5);
        let mut next = || random.bits() as f64 / u64::MAX as f64 - 0.5;
        // Columns of very different sizes, as after a poor standardisation.
        Array2::from_shape_fn((40, 6), |(_, j)| (next() + 0.1) * libm::pow(3.0, j as f64))
    }

    #[test]
    fn the_gradient_vanishes_at_the_solution() {
        let rows = rows();
        for strength in [1e-4, 1e-2, 1.0, 100.0] {
            let mut problem = [Problem::new(Box::new(|_| true), 40, strength, 1e-9, vec![0.0; 6])];
            let passes = solve(&mut problem, &rows);
            let w = problem[0].weights().to_vec();
            for (j, own) in w.iter().enumerate() {
                let data: f64 = rows
                    .rows()
                    .into_iter()
                    .map(|x| -sigmoid(-x.iter().zip(&w).map(|(x, w)| x * w).sum::<f64>()) * x[j] / 40.0)
                    .sum();
                assert!((data + strength * own).abs() < 1e-9, "{strength}: {data} {own} after {passes} passes");
            }
            assert!(passes < 300, "{passes} passes at {strength}");
        }
    }

    #[test]
    fn side_by_side_is_as_alone() {
        let rows = rows();
        let make = |strength: f64| Problem::new(Box::new(|i| i % 4 != 0), 30, strength, 1e-8, vec![0.0; 6]);
        let mut together = [make(0.1), make(0.001)];
        solve(&mut together, &rows);
        for (strength, beside) in [(0.1, &together[0]), (0.001, &together[1])] {
            let mut alone = [make(strength)];
            solve(&mut alone, &rows);
            for (a, b) in alone[0].weights().iter().zip(beside.weights()) {
                assert!((a - b).abs() < 1e-7 * (1.0 + a.abs()), "{a} {b}");
            }
        }
    }

    #[test]
    fn losses_do_not_overflow() {
        for margin in [-1e4, -30.0, 0.0, 30.0, 1e4] {
            let (loss, p) = (log_loss(margin), sigmoid(margin));
            assert!(loss.is_finite() && (0.0..=1.0).contains(&p));
        }
        assert_eq!((log_loss(-1e4), sigmoid(0.0)), (1e4, 0.5));
    }
}
