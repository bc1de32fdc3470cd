//! The typed reader: takes keys out of TOML tables by name, checks type and range, and collects every error.
//!
//! A little past 500 lines: one method per kind of value, and the words of its errors beside it.

use super::{
    ConfigError,
    places::{Places, join},
    suggest::closest,
};
use crate::base::{
    ByteSize, Port,
    units::{human_duration, parse_duration},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    net::IpAddr,
    ops::{Range, RangeInclusive},
    path::PathBuf,
    time::Duration,
};
use toml::de::{DeArray, DeTable, DeValue};

/// One reading of one document: where keys stand, what went wrong so far, which keys exist at all.
pub(super) struct Reading {
    pub places: Places,
    errors: RefCell<Vec<ConfigError>>,
    /// Keys the reader asked for, with `*` for names the user chose.
    known: RefCell<BTreeSet<String>>,
    /// What is applied already: rules about values that came later do not count.
    applied: bool,
}

impl Reading {
    pub fn new(places: Places, applied: bool) -> Self {
        Self { places, errors: RefCell::default(), known: RefCell::default(), applied }
    }

    /// Notes an error; the same words about the same key are noted once. Past a thousand the file is no configuration.
    pub fn report(&self, error: ConfigError) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < 1_000 && !errors.contains(&error) {
            errors.push(error);
        }
    }

    /// An error about `key`, placed at its value when the file holds it.
    pub fn fault(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::new(key, message).at(self.span(key))
    }

    /// Bytes of the value of `key`.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        self.places.get(key).map(|place| place.value.clone())
    }

    /// Whether `key` could not be read: then what was put in its place proves nothing.
    pub fn failed(&self, key: &str) -> bool {
        self.errors.borrow().iter().any(|error| error.key == key)
    }

    /// The first of `keys` that the file holds, or else the last of them.
    pub fn written<'k>(&self, keys: &[&'k str]) -> &'k str {
        keys.iter().find(|key| self.places.get(key).is_some()).or(keys.last()).copied().unwrap_or("")
    }

    pub fn into_parts(self) -> (Vec<ConfigError>, BTreeSet<String>) {
        (self.errors.into_inner(), self.known.into_inner())
    }
}

/// One table of the document; a missing one reads as empty, so defaults have one source.
pub(super) struct Section<'r, 'd> {
    pub reading: &'r Reading,
    table: Option<&'r DeTable<'d>>,
    /// `kafka.brokers.1`.
    pub path: String,
    /// `kafka.brokers.*`.
    pattern: String,
    asked: RefCell<Vec<String>>,
}

/// What one value turned out to be: the wrong type, or of the right type and wrong for a reason.
pub(super) enum Bad {
    Type,
    Because(String),
}

impl From<String> for Bad {
    fn from(why: String) -> Self {
        Bad::Because(why)
    }
}

impl<'r, 'd> Section<'r, 'd> {
    /// The whole document.
    pub fn top(reading: &'r Reading, document: &'r DeTable<'d>) -> Self {
        Self { reading, table: Some(document), path: String::new(), pattern: String::new(), asked: RefCell::default() }
    }

    /// `kafka.brokers.1` + `heap`.
    pub fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Whether the file holds `key` here, of whatever type.
    pub fn holds(&self, key: &str) -> bool {
        self.table.is_some_and(|t| t.contains_key(key))
    }

    /// The names in this table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.table.into_iter().flat_map(|t| t.keys()).map(|name| name.get_ref().as_ref())
    }

    fn ask(&self, key: &str) -> Option<&'r DeValue<'d>> {
        self.asked.borrow_mut().push(key.to_owned());
        self.reading.known.borrow_mut().insert(join(&self.pattern, key));
        self.table?.get(key).map(toml::Spanned::get_ref)
    }

    /// The table at `key`.
    pub fn sub(&self, key: &str) -> Section<'r, 'd> {
        self.table_at(key, key)
    }

    /// The table at a name that the user chose.
    pub fn named(&self, name: &str) -> Section<'r, 'd> {
        self.table_at(name, "*")
    }

    fn table_at(&self, key: &str, pattern: &str) -> Section<'r, 'd> {
        self.asked.borrow_mut().push(key.to_owned());
        let path = self.key(key);
        let table = match self.table.and_then(|t| t.get(key)).map(toml::Spanned::get_ref) {
            None => None,
            Some(DeValue::Table(table)) => Some(table),
            Some(other) => {
                let error = self.reading.fault(&path, format!("is {}, not a table", type_word(other)));
                self.reading.report(error.hint(format!("write [{path}] and its keys below it")));
                None
            }
        };
        Section { reading: self.reading, table, path, pattern: join(&self.pattern, pattern), asked: RefCell::default() }
    }

    /// The tables of a list of tables (`[[kafka.topic]]`), in the order of the file. Each reads like any other table.
    pub fn tables(&self, key: &str) -> Vec<Section<'r, 'd>> {
        let path = self.key(key);
        let Some(value) = self.ask(key) else { return Vec::new() };
        let all_tables = |items: &'r DeArray<'d>| items.iter().map(|item| item.get_ref().as_table()).collect();
        let Some(tables) = value.as_array().and_then(all_tables) else {
            let error = self.reading.fault(&path, format!("is {}, not a list of tables", type_word(value)));
            self.reading.report(error.hint(format!("write [[{path}]] with two brackets, and its keys below it")));
            return Vec::new();
        };
        let pattern = join(&self.pattern, key);
        let tables: Vec<&'r DeTable<'d>> = tables;
        let section = |(nth, table): (usize, &'r DeTable<'d>)| Section {
            reading: self.reading,
            table: Some(table),
            path: format!("{path}[{nth}]"),
            pattern: pattern.clone(),
            asked: RefCell::default(),
        };
        tables.into_iter().enumerate().map(section).collect()
    }

    /// Reads `key` with `read`; `allowed` says in a few words what may stand there.
    pub fn value<T>(
        &self,
        key: &str,
        allowed: impl Display,
        read: impl FnOnce(&DeValue<'d>) -> Result<T, Bad>,
    ) -> Option<T> {
        let value = self.ask(key)?;
        let why = match read(value) {
            Ok(read) => return Some(read),
            Err(Bad::Type) => format!("is {}", type_word(value)),
            Err(Bad::Because(why)) => why,
        };
        self.reading.report(self.reading.fault(&self.key(key), why).label(format!("allowed: {allowed}")));
        None
    }

    /// A text for which `check` finds no fault.
    pub fn text(
        &self,
        key: &str,
        allowed: impl Display,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<String> {
        self.value(key, allowed, |value| {
            let text = value.as_str().ok_or(Bad::Type)?;
            no_control(text)?;
            check(text)?;
            Ok(text.to_owned())
        })
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.value(key, names.join(", "), |value| {
            let text = value.as_str().ok_or(Bad::Type)?;
            words.iter().find(|(word, _)| *word == text).map(|(_, t)| *t).ok_or_else(|| {
                let meant = closest(text, names.iter().copied());
                Bad::Because(format!("{text:?} is none of the known words{}", did_you_mean(meant)))
            })
        })
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.value(key, "true or false", |value| value.as_bool().ok_or(Bad::Type))
    }

    /// A whole number within `range`.
    pub fn count(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.value(key, format!("{} to {}", range.start(), range.end()), |value| {
            let number = integer(value).ok_or(Bad::Type)?;
            u64::try_from(number)
                .ok()
                .filter(|n| range.contains(n))
                .ok_or_else(|| Bad::Because(format!("{number} is out of range")))
        })
    }

    /// A TCP port.
    pub fn port(&self, key: &str) -> Option<Port> {
        self.value(key, "a port, 1 to 65535", port)
    }

    /// An IP address.
    pub fn address(&self, key: &str) -> Option<IpAddr> {
        self.value(key, "an IP address such as \"127.0.0.1\", or \"0.0.0.0\" for every IPv4 interface", |value| {
            let text = value.as_str().ok_or(Bad::Type)?;
            text.parse().map_err(|_| Bad::Because(format!("{text:?} is not an IP address")))
        })
    }

    /// A byte size within `range`: text with a unit, or a number of bytes.
    pub fn size(&self, key: &str, range: RangeInclusive<ByteSize>) -> Option<ByteSize> {
        self.value(key, format!("\"{}\" to \"{}\"", range.start(), range.end()), |value| {
            let size = match (value.as_str(), integer(value)) {
                (Some(text), _) => ByteSize::parse(text)?,
                (None, Some(n)) => ByteSize(u64::try_from(n).map_err(|_| format!("{n} is not a number of bytes"))?),
                (None, None) => return Err(Bad::Type),
            };
            in_range(size, &range, |s| s.to_string())
        })
    }

    /// A duration within `range`: text with a unit.
    pub fn time(&self, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let allowed = format!("{} to {}", short_time(*range.start()), short_time(*range.end()));
        self.value(key, allowed, |value| {
            if let Some(n) = integer(value) {
                return Err(Bad::Because(format!("{n} has no unit; write \"{n}s\" or \"{n}ms\"")));
            }
            let time = parse_duration(value.as_str().ok_or(Bad::Type)?)?;
            in_range(time, &range, human_duration)
        })
    }

    /// An absolute, plain path.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.value(key, "an absolute path", |value| Ok(plain_path(value.as_str().ok_or(Bad::Type)?)?))
    }

    /// A list whose items are read by `item`; a bad item is reported at its own place and left out.
    pub fn list<T>(
        &self,
        key: &str,
        allowed: impl Display,
        item: impl Fn(&DeValue<'d>) -> Result<T, Bad>,
    ) -> Option<Vec<T>> {
        let items = self.value(key, format!("a list of {allowed}"), |value| {
            Ok(value.as_array().ok_or(Bad::Type)?.iter().map(|i| item(i.get_ref())).collect::<Vec<_>>())
        })?;
        // The array's items once more, only for the type words of errors.
        let values = self.table.and_then(|t| t.get(key)).and_then(|v| v.get_ref().as_array());
        let mut good = Vec::new();
        for (i, read) in items.into_iter().enumerate() {
            let why = match read {
                Ok(read) => {
                    good.push(read);
                    continue;
                }
                Err(Bad::Because(why)) => why,
                Err(Bad::Type) => {
                    format!(
                        "is {}",
                        values.and_then(|v| v.get(i)).map_or("of the wrong type", |v| type_word(v.get_ref()))
                    )
                }
            };
            let error = self.reading.fault(&self.key(&format!("{key}[{i}]")), why);
            self.reading.report(error.label(format!("allowed: {allowed}")));
        }
        Some(good)
    }

    /// A list of texts without NUL bytes.
    pub fn texts(&self, key: &str) -> Option<Vec<String>> {
        self.list(key, "texts", |value| {
            let text = value.as_str().ok_or(Bad::Type)?;
            no_nul(text)?;
            Ok(text.to_owned())
        })
    }

    /// A table of texts, numbers and booleans (written as `booleans`: no, yes) that is passed through as texts, which `check`
    /// accepts. Each name goes through `name`, which hands back the name to use or a refusal (message, hint).
    ///
    /// `log.retention.hours = 72` without quotes is a table in a table to TOML; it is read as the property that is meant.
    pub fn passed_through(
        &self,
        key: &str,
        booleans: [&str; 2],
        check: fn(&str) -> Result<(), String>,
        name: impl Fn(&str) -> Result<String, (String, String)>,
    ) -> BTreeMap<String, String> {
        self.passed_through_if(key, booleans, check, name, |_, _| Ok(()))
    }

    /// The same, with names whose values are looked at, too; not in what is applied already.
    pub fn passed_through_if(
        &self,
        key: &str,
        booleans: [&str; 2],
        check: fn(&str) -> Result<(), String>,
        name: impl Fn(&str) -> Result<String, (String, String)>,
        value: impl Fn(&str, &str) -> Result<(), (String, String)>,
    ) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        self.reading.known.borrow_mut().insert(join(&self.pattern, key));
        let section = self.sub(key);
        let mut leaves = Vec::new();
        if let Some(table) = section.table {
            collect("", table, &mut leaves);
        }
        for (written, given) in leaves {
            let path = join(&section.path, &written);
            let used = match name(&written) {
                Ok(used) => used,
                Err((message, hint)) => {
                    let place = self.reading.places.get(&path).map(|place| place.key.clone());
                    self.reading.report(ConfigError::new(&path, message).at(place).hint(hint));
                    continue;
                }
            };
            match plain_text(given, booleans, check) {
                Ok(text) => {
                    if let Err((why, hint)) = value(&used, &text)
                        && !self.reading.applied
                    {
                        self.reading.report(self.reading.fault(&path, why).hint(hint));
                    }
                    if out.insert(used.clone(), text).is_some() {
                        self.reading.report(self.reading.fault(&path, format!("{used} is set twice")));
                    }
                }
                Err(why) => {
                    let error = self.reading.fault(&path, why);
                    self.reading.report(error.label("allowed: a text, a number, true or false"));
                }
            }
        }
        out
    }

    /// Refuses every key that nobody asked for.
    pub fn finish(self) {
        self.finish_with(|_| None);
    }

    /// The same; `hint` may explain a known mistake.
    pub fn finish_with(self, hint: impl Fn(&str) -> Option<String>) {
        let asked = self.asked.into_inner();
        let Some(table) = self.table else { return };
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if asked.iter().any(|a| a == name) {
                continue;
            }
            let mut known: Vec<&str> = asked.iter().map(String::as_str).collect();
            known.sort_unstable();
            known.dedup();
            let mut error = ConfigError::new(join(&self.path, name), "unknown key").at(Some(key.span()));
            if let Some(meant) = closest(name, known.iter().copied()) {
                error = error.label(format!("did you mean {meant}?"));
            }
            let known = if known.is_empty() {
                "nothing is allowed here".into()
            } else {
                format!("known here: {}", known.join(", "))
            };
            self.reading.report(error.hint(hint(name).unwrap_or(known)));
        }
    }
}

/// Dotted leaves of a table.
fn collect<'t, 'd>(prefix: &str, table: &'t DeTable<'d>, out: &mut Vec<(String, &'t DeValue<'d>)>) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => collect(&path, inner, out),
            leaf => out.push((path, leaf)),
        }
    }
}

/// A value as the text that goes into a product's own file.
fn plain_text(
    value: &DeValue<'_>,
    [no, yes]: [&str; 2],
    check: fn(&str) -> Result<(), String>,
) -> Result<String, String> {
    match value {
        DeValue::String(text) => check(text).map(|()| text.to_string()),
        DeValue::Integer(_) => match integer(value) {
            Some(number) => Ok(number.to_string()),
            None => Err("the number is too large".into()),
        },
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(b) => Ok(if *b { yes } else { no }.to_owned()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(format!("is {}, which has no text form here", type_word(value)))
        }
    }
}

/// The value of a TOML integer that fits.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i128> {
    let number = value.as_integer()?;
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A port as a TOML value.
pub(super) fn port(value: &DeValue<'_>) -> Result<Port, Bad> {
    let number = integer(value).ok_or(Bad::Type)?;
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(Port(port)),
        _ => Err(Bad::Because(format!("{number} is not a port"))),
    }
}

/// An absolute path without `..`, with one spelling, of characters that every product here can take: a comma separates
/// directories in Kafka's `log.dirs`, a colon separates entries of a class path and of `LD_LIBRARY_PATH`.
pub fn plain_path(text: &str) -> Result<PathBuf, String> {
    no_control(text)?;
    if !text.starts_with('/') {
        return Err(format!("{text:?} is not an absolute path"));
    }
    if let Some(bad) = text.chars().find(|c| matches!(c, ',' | ':')) {
        return Err(format!("{text:?} holds {bad:?}, which separates paths in Kafka's and Java's lists"));
    }
    let path: PathBuf = std::path::Path::new(text).components().collect();
    if path.components().any(|c| c == std::path::Component::ParentDir) {
        return Err(format!("{text:?} holds \"..\""));
    }
    if path == std::path::Path::new("/") {
        return Err("the root of the file system is not a place for this".into());
    }
    Ok(path)
}

/// Refuses line breaks and other control characters.
pub(super) fn no_control(text: &str) -> Result<(), String> {
    match text.chars().find(|c| c.is_control()) {
        Some(bad) => Err(format!("holds the control character {bad:?}")),
        None => Ok(()),
    }
}

/// Refuses NUL, which ends a text for the kernel.
pub(super) fn no_nul(text: &str) -> Result<(), String> {
    if text.contains('\0') { Err("holds a NUL character".into()) } else { Ok(()) }
}

/// `; did you mean "x"?` or nothing.
pub(super) fn did_you_mean(meant: Option<&str>) -> String {
    meant.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default()
}

fn in_range<T: PartialOrd + Copy>(value: T, range: &RangeInclusive<T>, show: impl Fn(T) -> String) -> Result<T, Bad> {
    if value < *range.start() {
        Err(Bad::Because(format!("{} is too small", show(value))))
    } else if value > *range.end() {
        Err(Bad::Because(format!("{} is too large", show(value))))
    } else {
        Ok(value)
    }
}

/// `"500ms"`, `"30s"`, `"1h"`, `"7d"`: the largest unit that is exact.
fn short_time(time: Duration) -> String {
    let ms = time.as_millis();
    for (unit, word) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if ms > 0 && ms.is_multiple_of(unit) {
            return format!("\"{}{word}\"", ms / unit);
        }
    }
    if ms == 0 { "\"0s\"".into() } else { format!("\"{ms}ms\"") }
}

fn type_word(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
