//! Beginnings of texts whose keys and values are kept from one call to the next: a radix tree over token ids. What was
//! used the longest ago goes first when there are too many.

use rewardscope_models::State;

/// The keys and values of beginnings of texts, in bounded memory.
pub struct PrefixTree {
    nodes: Vec<Node>,
    /// Places of `nodes` that hold none.
    free: Vec<usize>,
    /// The first nodes of all texts.
    roots: Vec<usize>,
    bytes: u64,
    most_bytes: u64,
    /// Counts uses.
    now: u64,
}

/// Tokens that follow those of the node's parent.
#[derive(Default)]
struct Node {
    ids: Vec<u32>,
    state: State,
    parent: Option<usize>,
    children: Vec<usize>,
    used: u64,
}

/// The part of a text that a tree has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Nodes from the first token on, and how many of each one's tokens.
    pub nodes: Vec<(usize, usize)>,
    /// Number of tokens.
    pub tokens: usize,
}

impl PrefixTree {
    /// An empty tree that holds at most this many bytes of keys and values.
    pub fn new(most_bytes: u64) -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), roots: Vec::new(), bytes: 0, most_bytes, now: 0 }
    }

    /// Bytes of keys and values that it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of tokens that it holds.
    pub fn tokens(&self) -> usize {
        self.nodes.iter().map(|node| node.ids.len()).sum()
    }

    /// What it has of the first `most` tokens of a text.
    pub(super) fn find(&mut self, ids: &[u32], most: usize) -> Known {
        self.now += 1;
        let ids = &ids[..most.min(ids.len())];
        let mut known = Known::default();
        let mut children = &self.roots;
        while let Some(&at) = children.iter().find(|&&at| self.nodes[at].ids.first() == ids.get(known.tokens))
            && known.tokens < ids.len()
        {
            let node = &self.nodes[at];
            let same = node.ids.iter().zip(&ids[known.tokens..]).take_while(|(a, b)| a == b).count();
            known.nodes.push((at, same));
            known.tokens += same;
            if same < node.ids.len() {
                break;
            }
            children = &node.children;
        }
        for &(at, _) in &known.nodes {
            self.nodes[at].used = self.now;
        }
        known
    }

    /// The keys and values of a node.
    pub(super) fn state(&self, node: usize) -> &State {
        &self.nodes[node].state
    }

    /// Adds what follows the known part of a text: `ids` are the tokens, `state` has a row for each. Then drops what was
    /// used the longest ago, until there is room.
    pub(super) fn insert(&mut self, known: &Known, ids: &[u32], state: State) {
        if ids.is_empty() || state.bytes() > self.most_bytes {
            return;
        }
        self.now += 1;
        let parent = known.nodes.last().map(|&(at, taken)| self.split(at, taken));
        self.bytes += state.bytes();
        let node = Node { ids: ids.to_vec(), state, parent, children: Vec::new(), used: self.now };
        let at = self.put(node);
        self.siblings(parent).push(at);
        // Where only what comes before it is left, it goes itself.
        while self.bytes > self.most_bytes && (self.drop_oldest(Some(at)) || self.drop_oldest(None)) {}
    }

    /// Makes a node of its first `taken` tokens the parent of the rest, if there is any. Gives the parent.
    fn split(&mut self, at: usize, taken: usize) -> usize {
        let count = self.nodes[at].ids.len();
        if taken >= count {
            return at;
        }
        let node = &mut self.nodes[at];
        let rest = node.ids.split_off(taken);
        let whole = std::mem::take(&mut node.state);
        node.state = whole.select(&[0..taken]);
        let children = std::mem::take(&mut node.children);
        let used = node.used;
        let state = whole.select(&[taken..count]);
        let below = self.put(Node { ids: rest, state, parent: Some(at), children, used });
        for child in self.nodes[below].children.clone() {
            self.nodes[child].parent = Some(below);
        }
        self.nodes[at].children.push(below);
        at
    }

    fn put(&mut self, node: Node) -> usize {
        match self.free.pop() {
            Some(at) => {
                self.nodes[at] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }

    fn siblings(&mut self, parent: Option<usize>) -> &mut Vec<usize> {
        match parent {
            Some(parent) => &mut self.nodes[parent].children,
            None => &mut self.roots,
        }
    }

    /// Drops the node without children that was used the longest ago, but not `kept`. False where there is none.
    fn drop_oldest(&mut self, kept: Option<usize>) -> bool {
        let is_leaf =
            |(at, node): &(usize, &Node)| Some(*at) != kept && !node.ids.is_empty() && node.children.is_empty();
        let leaves = self.nodes.iter().enumerate().filter(is_leaf);
        let Some((at, _)) = leaves.min_by_key(|(_, node)| node.used) else {
            return false;
        };
        let node = std::mem::take(&mut self.nodes[at]);
        self.bytes -= node.state.bytes();
        self.siblings(node.parent).retain(|&child| child != at);
        self.free.push(at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceChoice, OpenDevice};

    fn cpu() -> OpenDevice {
        pollster::block_on(crate::device::open(DeviceChoice::Cpu)).expect("the CPU")
    }

    fn add(tree: &mut PrefixTree, device: &OpenDevice, ids: &[u32]) {
        let known = tree.find(ids, ids.len());
        let left = ids[known.tokens..].to_vec();
        tree.insert(&known, &left, State::of_zeros(1, left.len(), 2, &device.device));
    }

    #[test]
    fn beginnings_are_found_split_and_dropped() {
        // A row has 2 keys and 2 values of 4 bytes: 16 bytes.
        let (mut tree, device) = (PrefixTree::new(16 * 10), cpu());
        add(&mut tree, &device, &[1, 2, 3, 4]);
        add(&mut tree, &device, &[1, 2, 5]);
        add(&mut tree, &device, &[7, 8]);
        assert_eq!((tree.tokens(), tree.bytes()), (4 + 1 + 2, 16 * 7));
        assert_eq!(tree.find(&[1, 2, 3, 9], 4).tokens, 3);
        assert_eq!(tree.find(&[1, 2, 5, 6], 4).tokens, 3);
        assert_eq!(tree.find(&[1, 2, 5, 6], 2).tokens, 2);
        assert_eq!(tree.find(&[2], 1), Known::default());
        assert_eq!(tree.find(&[], 0), Known::default());
        // [7, 8] was used the longest ago, then the end [3, 4].
        add(&mut tree, &device, &[9, 9, 9, 9, 9]);
        assert_eq!((tree.find(&[7, 8], 2).tokens, tree.find(&[1, 2, 3], 3).tokens), (0, 3));
        add(&mut tree, &device, &[6, 6, 6, 6, 6]);
        assert!(tree.bytes() <= 16 * 10, "{}", tree.bytes());
        assert_eq!(tree.find(&[6, 6, 6, 6, 6], 5).tokens, 5);
        // Of a text that does not fit behind its own beginning, the beginning stays.
        add(&mut tree, &device, &[6, 6, 6, 6, 6, 1, 2, 3, 4, 5, 6]);
        assert_eq!(tree.find(&[6, 6, 6, 6, 6, 1], 6).tokens, 5);
        // More than it may hold is not kept.
        add(&mut tree, &device, &[4; 11]);
        assert_eq!(tree.find(&[4; 11], 11).tokens, 0);
    }

    #[test]
    fn what_a_tree_has_is_what_was_added() {
        // A fixed seed: texts over three tokens, so that they share much.
        let (mut state, mut tree, mut texts, device) = (7u64, PrefixTree::new(u64::MAX), Vec::new(), cpu());
        for _ in 0..300 {
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize
            };
            let text: Vec<u32> = (0..random() % 9 + 1).map(|_| (random() % 3) as u32).collect();
            let expected = |texts: &[Vec<u32>]| {
                let same = |other: &Vec<u32>| text.iter().zip(other).take_while(|(a, b)| a == b).count();
                texts.iter().map(same).max().unwrap_or_default()
            };
            assert_eq!(tree.find(&text, text.len()).tokens, expected(&texts), "{text:?}");
            add(&mut tree, &device, &text);
            texts.push(text.clone());
            assert_eq!(tree.find(&text, text.len()).tokens, text.len());
            assert_eq!(tree.bytes(), 16 * tree.tokens() as u64);
        }
    }
}
