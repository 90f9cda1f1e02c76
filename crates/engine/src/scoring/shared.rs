//! Texts of many prompts in common batches, in which each beginning is computed once: it is kept from an earlier call
//! ([`PrefixTree`]), or it is that of a text before it in the batch.

use std::collections::HashMap;
use std::ops::Range;

use rewardscope_models::{Batch, State};

use crate::Cancel;
use crate::error::EngineError;
use crate::scoring::forward::{Forward, Placed, Readings, Row};
use crate::scoring::prefix_tree::{Known, PrefixTree};
use crate::scoring::score::{Detail, Score};
use crate::scoring::scorer::Scorer;
use crate::scoring::sequence::TokenSequence;

/// Tokens that are known and needed in a batch, at most, for each that may be computed in it.
const KNOWN: usize = 4;

/// Where the first tokens of a row come from.
struct Source {
    /// What the tree has of it.
    known: Known,
    /// An earlier row of the batch, and how many tokens are the same; more than the tree has.
    like: Option<(usize, usize)>,
    /// How many of its first tokens come from the tree, by way of the rows that it begins like.
    root: usize,
}

impl Source {
    /// The position of the first token that is computed for the row.
    fn start(&self) -> usize {
        self.like.map_or(self.known.tokens, |(_, tokens)| tokens)
    }
}

/// A run of a row's tokens: the position of the first, and the rows of their keys.
type Run = (usize, Range<usize>);

impl Forward {
    /// Reads what each row asks for, as [`Forward::read`] does, of rows that may begin in different ways. A batch has at
    /// most `budget` tokens that are computed, but at least one row. Of each row, the first `kept` tokens are kept in
    /// `tree` for later calls.
    pub(super) async fn read_shared(
        &self,
        rows: &[Row<'_>],
        kept: &[usize],
        budget: usize,
        tree: &mut PrefixTree,
        cancel: &Cancel,
    ) -> Result<Vec<Readings>, EngineError> {
        let mut readings = Vec::with_capacity(rows.len());
        while readings.len() < rows.len() {
            cancel.check()?;
            let first = readings.len();
            let sources = self.sources(&rows[first..], budget, tree);
            let rows = &rows[first..first + sources.len()];
            let (prefix, runs, placed) = placed(rows, &sources, tree);
            let kept: Vec<usize> =
                kept[first..].iter().zip(rows).map(|(&kept, row)| if self.may_share(row) { kept } else { 0 }).collect();
            let is_new = |(kept, source): (&usize, &Source)| *kept > source.known.tokens;
            let keeps_state = kept.iter().zip(&sources).any(is_new);
            let all = self.summary.layers;
            let state = self.read_placed(&placed, prefix.as_ref(), all, keeps_state, &mut readings).await?;
            for ((row, runs), &kept) in rows.iter().zip(&runs).zip(&kept) {
                let Some(state) = &state else {
                    break;
                };
                let known = tree.find(row.ids, kept);
                let wanted = known.tokens..kept.min(row.ids.len());
                if !wanted.is_empty() {
                    let own = state.select(&cut(runs, wanted.clone()));
                    tree.insert(&known, &row.ids[wanted], own);
                }
            }
            crate::device::pause().await;
        }
        Ok(readings)
    }

    /// Whether the states of a row's tokens do not depend on what follows them.
    fn may_share(&self, row: &Row<'_>) -> bool {
        self.shares(&[row.ids])
    }

    /// Where the first tokens of the rows of the next batch come from; as many rows as fit.
    fn sources(&self, rows: &[Row<'_>], budget: usize, tree: &mut PrefixTree) -> Vec<Source> {
        let (mut sources, mut tokens): (Vec<Source>, usize) = (Vec::new(), 0);
        // Nodes of the tree that are needed, with the number of their tokens that are.
        let mut nodes: HashMap<usize, usize> = HashMap::new();
        for row in rows {
            let (known, like) = match self.may_share(row) {
                false => (Known::default(), None),
                true => {
                    // States that are read must be computed in this batch.
                    let first = self.first_read(row);
                    let known = tree.find(row.ids, first);
                    let like = self.like(row, first, &rows[..sources.len()], &sources);
                    (known, like)
                }
            };
            let like = like.filter(|(_, same)| *same > known.tokens);
            let root = like.map_or(known.tokens, |(other, same)| sources[other].root.min(same));
            let source = Source { known, like, root };
            tokens += row.ids.len() - source.start();
            if source.like.is_none() {
                for &(node, taken) in &source.known.nodes {
                    let most = nodes.entry(node).or_default();
                    *most = taken.max(*most);
                }
            }
            // Keys and values that are known take memory, too, and so does each row.
            let is_full = tokens > budget || sources.len() >= budget || nodes.values().sum::<usize>() > KNOWN * budget;
            if is_full && !sources.is_empty() {
                break;
            }
            sources.push(source);
        }
        sources
    }

    /// The row among `earlier` that begins with the most tokens of `row`, whose states are read from `first` on.
    fn like(&self, row: &Row<'_>, first: usize, earlier: &[Row<'_>], sources: &[Source]) -> Option<(usize, usize)> {
        let mut found: Option<(usize, usize)> = None;
        for (at, other) in earlier.iter().enumerate().filter(|(_, other)| self.may_share(other)) {
            let best = found.map_or(0, |(_, same)| same);
            // Only one that also has the next token begins with more of it.
            if other.ids.get(best) != row.ids.get(best) {
                continue;
            }
            let same = row.ids.iter().zip(other.ids).take_while(|(a, b)| a == b).count();
            // Of what the tree has of the other row, nothing can be read.
            let same = if sources[at].root > first { same.min(first) } else { same };
            if same > best {
                found = Some((at, same));
            }
            if same == row.ids.len() {
                break;
            }
        }
        found
    }
}

/// The kept state that the rows continue, the runs of each row's tokens, and the rows' places in a batch.
fn placed<'a>(
    rows: &'a [Row<'a>],
    sources: &[Source],
    tree: &PrefixTree,
) -> (Option<State>, Vec<Vec<Run>>, Placed<'a>) {
    // The nodes that are needed, each once, and how many of its tokens.
    let mut nodes: Vec<(usize, usize)> = Vec::new();
    for source in sources.iter().filter(|source| source.like.is_none()) {
        for &(node, taken) in &source.known.nodes {
            match nodes.iter_mut().find(|(known, _)| *known == node) {
                Some((_, most)) => *most = (*most).max(taken),
                None => nodes.push((node, taken)),
            }
        }
    }
    let parts: Vec<(&State, Range<usize>)> = nodes.iter().map(|&(node, taken)| (tree.state(node), 0..taken)).collect();
    let known: usize = nodes.iter().map(|(_, taken)| taken).sum();
    let prefix = (known > 0).then(|| State::joined(&parts));
    let place_of =
        |node: usize| -> usize { nodes.iter().take_while(|(known, _)| *known != node).map(|(_, taken)| taken).sum() };
    let mut batch = Batch::after(known);
    let (mut all, mut runs, mut computed): (Vec<Vec<Run>>, Vec<Vec<Run>>, Vec<usize>) = Default::default();
    for (row, source) in rows.iter().zip(sources) {
        let mut own: Vec<Run> = match source.like {
            Some((other, same)) => {
                let until = |(first, keys): &Run| {
                    let count = keys.len().min(same.saturating_sub(*first));
                    (*first, keys.start..keys.start + count)
                };
                all[other].iter().map(until).filter(|(_, keys)| !keys.is_empty()).collect()
            }
            None => {
                let mut first = 0;
                let of = |&(node, taken): &(usize, usize)| {
                    let place = place_of(node);
                    first += taken;
                    (first - taken, place..place + taken)
                };
                source.known.nodes.iter().map(of).collect()
            }
        };
        let start = source.start();
        let before = own.iter().map(|(_, keys)| keys.clone()).collect();
        let tokens = batch.push(&row.ids[start..], row.types.get(start..).unwrap_or_default(), before);
        computed.push(tokens.len());
        own.push((start, batch.rows(tokens)));
        let in_batch = |(first, keys): &Run| {
            let first_token = keys.start.checked_sub(known)?;
            Some((*first, first_token..first_token + keys.len()))
        };
        runs.push(own.iter().filter_map(in_batch).collect());
        all.push(own);
    }
    (prefix, all, Placed { batch, rows, runs, computed })
}

/// The rows of the keys of some positions.
fn cut(runs: &[Run], positions: Range<usize>) -> Vec<Range<usize>> {
    let of = |(first, keys): &Run| {
        let from = positions.start.clamp(*first, first + keys.len()) - first;
        let to = positions.end.clamp(*first, first + keys.len()) - first;
        keys.start + from..keys.start + to
    };
    runs.iter().map(of).filter(|keys| !keys.is_empty()).collect()
}

impl Scorer {
    /// Checks that token sequences can be scored, before they are scored with others.
    ///
    /// # Errors
    /// As [`Self::score_tokens`], but for the device.
    pub fn check(&self, sequences: &[TokenSequence], detail: Detail) -> Result<(), EngineError> {
        if self.compares() {
            return Ok(());
        }
        self.rows(sequences, detail).map(|_| ())
    }

    /// The scores of token sequences of many prompts, in their order, as [`Self::score_tokens`] gives them for one. They
    /// go through the model in common batches. The beginning of each, up to its completion, is kept in `tree`: it is not
    /// computed again for later sequences of the same prompt. A tree belongs to one model.
    ///
    /// For a model that compares completions, or is measured against a reference, nothing is kept; the sequences of the
    /// former must be those of one prompt.
    ///
    /// # Errors
    /// As [`Self::score_tokens`].
    pub async fn score_shared(
        &self,
        sequences: &[TokenSequence],
        detail: Detail,
        tree: &mut PrefixTree,
        cancel: &Cancel,
    ) -> Result<Vec<Score>, EngineError> {
        if self.compares() || self.against.is_some() {
            return self.score_tokens(sequences, detail, cancel).await;
        }
        let rows = self.rows(sequences, detail)?;
        let kept: Vec<usize> = rows
            .iter()
            .zip(sequences)
            .map(|(row, sequence)| self.completion_start(sequence).min(self.forward.first_read(row)))
            .collect();
        let readings = self.forward.read_shared(&rows, &kept, self.batch_tokens, tree, cancel).await?;
        Ok(self.scores_of(sequences, &rows, readings))
    }
}
