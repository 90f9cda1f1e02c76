//! Headers of weights: what was written is read, and no bytes stop the reader.

use std::collections::{BTreeMap, BTreeSet};

use pollster::block_on;
use proptest::collection::vec;
use proptest::prelude::*;
use rewardscope_store::Source;
use rewardscope_weights::safetensors::{Entry, header};
use rewardscope_weights::{Checkpoint, StoredType};

use crate::cases;

fn opened(bytes: Vec<u8>) -> Result<Checkpoint, String> {
    block_on(Checkpoint::from_safetensors(&Source::memory("model.safetensors", bytes))).map_err(|e| e.to_string())
}

fn tensors() -> impl Strategy<Value = Vec<Entry>> {
    let shape = vec(1usize..7, 1..4);
    let dtype =
        prop_oneof![Just(StoredType::F32), Just(StoredType::F16), Just(StoredType::BF16), Just(StoredType::F64)];
    vec(("[a-z]{1,6}(\\.[0-9]{1,2})?\\.weight", dtype, shape), 0..6).prop_map(|entries| {
        let mut names = BTreeSet::new();
        let unique = entries.into_iter().filter(|(name, ..)| names.insert(name.clone()));
        unique.map(|(name, dtype, shape)| Entry { name, dtype, shape }).collect()
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn what_was_written_is_read(entries in tensors(), fill in any::<u8>()) {
        let mut bytes = header(&entries, &BTreeMap::new());
        let data: u64 = entries.iter().map(Entry::bytes).sum();
        bytes.extend(vec![fill; data as usize]);
        let checkpoint = opened(bytes).map_err(TestCaseError::fail)?;
        prop_assert_eq!(checkpoint.tensors().len(), entries.len());
        for entry in &entries {
            let found = checkpoint.find(&entry.name).unwrap();
            prop_assert_eq!(&found.shape, &entry.shape);
            prop_assert_eq!(found.bytes(), entry.bytes());
            let rows = block_on(checkpoint.rows(found, 0, found.rows())).unwrap();
            prop_assert!(rows.len() as u64 == entry.bytes() && rows.iter().all(|byte| *byte == fill));
        }
    }

    #[test]
    fn a_cut_file_is_refused(entries in tensors(), cut in 1usize..64) {
        let mut bytes = header(&entries, &BTreeMap::new());
        bytes.extend(vec![0; entries.iter().map(Entry::bytes).sum::<u64>() as usize]);
        bytes.truncate(bytes.len().saturating_sub(cut));
        prop_assert!(opened(bytes).is_err());
    }

    #[test]
    fn no_bytes_stop_the_readers(bytes in vec(any::<u8>(), 0..200), promised in 0u64..300) {
        let mut file = promised.to_le_bytes().to_vec();
        file.extend(&bytes);
        let _ = opened(file);
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(&bytes);
        let _ = block_on(Checkpoint::from_gguf(&Source::memory("model.gguf", file)));
    }
}
