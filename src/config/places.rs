//! Where each key stands in the text: spans for errors, lines for later messages.

use std::{collections::BTreeMap, ops::Range};
use toml::de::{DeTable, DeValue};

/// The spans of one key, byte offsets into the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The key itself, or the last part of a table's header.
    pub key: Range<usize>,
    /// The value; the key again for a table, whose value may lie all over the file.
    pub value: Range<usize>,
    line: usize,
}

/// Key path (`kafka.brokers.1.external_port`, `command.ui.argv[0]`) to place.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    name: String,
    map: BTreeMap<String, Place>,
    /// (list, text of an item) to the item's path.
    items: BTreeMap<(String, String), String>,
}

impl Places {
    /// Notes every key of a parsed document.
    pub fn of(name: &str, text: &str, document: &DeTable<'_>) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect::<Vec<_>>();
        let mut places = Self { name: name.to_owned(), ..Self::default() };
        places.table("", document, &starts);
        places
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>, starts: &[usize]) {
        for (key, value) in table {
            let path = join(prefix, key.get_ref());
            let value_span = if value.get_ref().is_table() { key.span() } else { value.span() };
            self.put(path.clone(), key.span(), value_span, starts);
            match value.get_ref() {
                DeValue::Table(inner) => self.table(&path, inner, starts),
                DeValue::Array(items) => {
                    for (i, item) in items.iter().enumerate() {
                        let item_path = format!("{path}[{i}]");
                        if let Some(text) = item.get_ref().as_str() {
                            self.items.entry((path.clone(), text.to_owned())).or_insert_with(|| item_path.clone());
                        }
                        if let DeValue::Table(inner) = item.get_ref() {
                            self.table(&item_path, inner, starts);
                        }
                        self.put(item_path, key.span(), item.span(), starts);
                    }
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => {}
            }
        }
    }

    fn put(&mut self, path: String, key: Range<usize>, value: Range<usize>, starts: &[usize]) {
        let line = starts.partition_point(|start| *start <= value.start);
        self.map.insert(path, Place { key, value, line });
    }

    /// The spans of `key`, if the file holds it.
    pub fn get(&self, key: &str) -> Option<&Place> {
        self.map.get(key)
    }

    /// The path of the first item of `list` that reads `text`.
    pub fn item(&self, list: &str, text: &str) -> Option<String> {
        self.items.get(&(list.to_owned(), text.to_owned())).cloned()
    }

    /// The line of `key`'s value, from 1.
    pub fn line(&self, key: &str) -> Option<usize> {
        self.get(key).map(|place| place.line)
    }

    /// The file's name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// `kafka` + `bind` = `kafka.bind`.
pub(super) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}
