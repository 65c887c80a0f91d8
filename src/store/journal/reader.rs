//! What the store held when it was opened, for threads that read it while commits go on.
//!
//! A start gives every shard its records back partition by partition, in an order that is not known before: whoever is
//! spoken to comes first. So a reader finds the records of one partition alone, which stand together under each kind. It
//! never sees what was committed later: it has a copy of the overlays, and the tree is left alone while there is one
//! ([`Journaled::tidy`](super::Journaled)).
//!
//! It does not list names that are none of ours, unless they have no kind at all.

use std::sync::Arc;

use super::{Name, Overlay, Pairs, covered, parse};
use crate::store::StoreError;
use crate::store::record::Restored;
use crate::words::id::Partition;

/// A tree as a reader sees it, on any thread.
pub trait View: Clone + Send + 'static {
    /// All records from this name on, in the order of their names.
    fn from(&self, name: &str) -> Pairs<'_>;
}

type Pair = Result<(Vec<u8>, Vec<u8>), StoreError>;

/// See the module.
#[derive(Clone)]
pub struct Reader<V> {
    view: V,
    overlays: Arc<[Overlay; 2]>,
    kinds: Arc<[String]>,
    /// Says that there is a reader.
    _reading: Arc<()>,
}

impl<V: View> Reader<V> {
    /// A reader of the tree with these overlays, the newest first; and the names that it found to be of no kind.
    pub(super) fn new(
        view: V,
        overlays: [Overlay; 2],
        reading: Arc<()>,
    ) -> Result<(Reader<V>, Vec<String>), StoreError> {
        let (overlays, kinds) = (Arc::new(overlays), Arc::from([]));
        let mut reader = Reader { view, overlays, kinds, _reading: reading };
        let (kinds, nameless) = reader.find_kinds()?;
        reader.kinds = kinds.into();
        Ok((reader, nameless))
    }

    /// The records of a partition.
    pub fn partition(&self, partition: Partition) -> impl Iterator<Item = Result<Restored, StoreError>> + '_ {
        self.kinds.iter().flat_map(move |kind| {
            let first = format!("{kind}/{:02x}/", partition.0);
            let pairs = self.from(&first);
            let is_within = move |pair: &Pair| match pair {
                Ok((name, _)) => name.starts_with(first.as_bytes()),
                Err(_) => true,
            };
            pairs.take_while(is_within).map(|pair| pair.and_then(parse))
        })
    }

    fn from(&self, name: &str) -> Pairs<'_> {
        let first = Name::from(name.to_owned());
        let [newest, older] = &*self.overlays;
        covered(newest.range(first.clone()..), covered(older.range(first..), self.view.from(name)))
    }

    /// The first names of all kinds, each looked for behind the last of the kind before.
    fn find_kinds(&self) -> Result<(Vec<String>, Vec<String>), StoreError> {
        let (mut kinds, mut nameless, mut next) = (Vec::new(), Vec::new(), String::new());
        while let Some((name, _)) = self.from(&next).next().transpose()? {
            let name = String::from_utf8_lossy(&name).into_owned();
            match name.split_once('/') {
                Some((kind, _)) => {
                    // No name of the kind has this after its kind, and all others have something else.
                    next = format!("{kind}0");
                    kinds.push(kind.to_owned());
                }
                None => {
                    next = format!("{name}\0");
                    nameless.push(name);
                }
            }
        }
        Ok((kinds, nameless))
    }
}
